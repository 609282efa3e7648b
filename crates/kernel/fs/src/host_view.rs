//! Which part of the machine's own files a guest may see, and the few files made in their place.
//!
//! Interpreters, libraries and what they read yes; accounts, keys, home directories, what an administrator puts beside the
//! packages (`/opt`, `/usr/local/etc`, `/usr/local/share`, `/usr/src`), configuration that may hold tokens (`npmrc`,
//! `pip.conf`, `gitconfig`, `profile`) and anything that not every user of the machine may read, no.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use base_abi::general::O_WRONLY;
use base_abi::structs::Timespec;
use kernel_vfs::{Credentials, Errno, FileSystem, Inode, NewNode, Result, SetAttr, SetTime};

use crate::hostdir::{Exposure, HostTreeError};
use crate::{Budget, BudgetLimits, Filter, HostTree, Ownership, RootAttr, TmpFs};

/// What of the machine's root is shown; a name ending in `*` stands for all that begin so.
const SHOWN: &[&str] = &[
    "bin",
    "sbin",
    "lib*",
    "usr/bin",
    "usr/sbin",
    "usr/lib*",
    "usr/share",
    "usr/include",
    "usr/local/bin",
    "usr/local/sbin",
    "usr/local/lib*",
    "usr/local/include",
    "usr/local/go",
    "usr/local/share/ca-certificates",
    "etc/ld.so.cache",
    "etc/ld.so.conf",
    "etc/ld.so.conf.d",
    "etc/localtime",
    "etc/timezone",
    "etc/nsswitch.conf",
    "etc/host.conf",
    "etc/gai.conf",
    "etc/ssl/certs",
    "etc/ssl/openssl.cnf",
    "etc/ca-certificates.conf",
    "etc/pki/tls/certs",
    "etc/pki/ca-trust/extracted",
    "etc/alternatives",
    "etc/mime.types",
    "etc/services",
    "etc/protocols",
    "etc/os-release",
    "etc/debian_version",
    "etc/inputrc",
    "etc/locale*",
    "etc/magic*",
    "etc/perl",
    "etc/terminfo",
    "etc/java-*",
    "etc/.java",
    "etc/python*",
    "etc/fonts",
];

/// What of the view this machine has: absolute paths that are no links. A jail lets just these be read.
#[derive(Debug, Default)]
pub struct Shown {
    /// Directories with all that is below them, and files.
    pub whole: Vec<PathBuf>,
    /// Directories on the way to them, of which a guest sees only these names.
    pub on_the_way: Vec<PathBuf>,
}

/// What of the view this machine has; looked at once in a process, and in its children by fork not again.
pub fn shown() -> &'static Shown {
    static SHOWN_HERE: OnceLock<Shown> = OnceLock::new();
    SHOWN_HERE.get_or_init(|| {
        let mut shown = Shown::default();
        shown.look(Path::new("/"), &Filter::paths(SHOWN));
        shown
    })
}

impl Shown {
    fn look(&mut self, directory: &Path, filter: &Filter) {
        for name in filter.names() {
            match name.strip_suffix(b"*") {
                None => self.add(&directory.join(OsStr::from_bytes(name)), filter, name),
                Some(start) => {
                    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
                    let names = entries.map(|entry| entry.file_name());
                    for found in names.filter(|found| found.as_bytes().starts_with(start)) {
                        self.add(&directory.join(&found), filter, found.as_bytes());
                    }
                }
            }
        }
    }

    /// Links are given out as text, and what they lead to is shown or not by its own path.
    fn add(&mut self, path: &Path, filter: &Filter, name: &[u8]) {
        let Ok(found) = fs::symlink_metadata(path) else {
            return;
        };
        match filter.child(name) {
            _ if found.is_symlink() => {}
            Some(Filter::All) => self.whole.push(path.to_owned()),
            Some(below) if found.is_dir() => {
                self.on_the_way.push(path.to_owned());
                self.look(path, &below);
            }
            _ => {}
        }
    }
}

/// What the made files say.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Name of the sandbox, for `/etc/hostname` and `/etc/hosts`.
    pub hostname: String,
    /// User of the first process; gets an account when it is not 0.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// The machine's own programs and libraries, read only.
///
/// # Errors
/// [`HostTreeError`] when the host's root cannot be opened.
pub fn host_layer() -> std::result::Result<Arc<HostTree>, HostTreeError> {
    HostTree::open(
        Path::new("/"),
        Filter::paths(SHOWN),
        Ownership::AsOnHost,
        Exposure::WorldReadable,
    )
}

/// A layer with the directories every root file system needs, and `hosts`, `hostname` and `resolv.conf`.
/// Goes above the layers of an image.
///
/// # Errors
/// Never in practice; the layer is small.
pub fn essentials(identity: &Identity) -> Result<Arc<TmpFs>> {
    let fs = TmpFs::new(Budget::new(SMALL), RootAttr::default())?;
    let root = fs.root();
    for path in ["proc", "sys", "dev", "etc", "run", "var"] {
        directory(&root, path, 0o755)?;
    }
    directory(&root, "tmp", 0o1777)?;
    directory(&root, "var/tmp", 0o1777)?;
    let name = &identity.hostname;
    text(&root, "etc/hostname", &format!("{name}\n"))?;
    text(
        &root,
        "etc/hosts",
        &format!(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t{name}\n"
        ),
    )?;
    text(&root, "etc/resolv.conf", "nameserver 127.0.0.1\n")?;
    Ok(fs)
}

/// As [`essentials`], with accounts and the directories of a plain system: what goes above [`host_layer`].
///
/// # Errors
/// Never in practice; the layer is small.
pub fn host_essentials(identity: &Identity) -> Result<Arc<TmpFs>> {
    let fs = essentials(identity)?;
    let root = fs.root();
    for path in [
        "home",
        "mnt",
        "opt",
        "srv",
        "var/lib",
        "var/log",
        "var/cache",
    ] {
        directory(&root, path, 0o755)?;
    }
    directory(&root, "root", 0o700)?;
    link(&root, "var/run", b"/run")?;
    link(&root, "etc/mtab", b"/proc/self/mounts")?;
    let mut passwd = String::from(
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    );
    let mut group = String::from("root:x:0:\ntty:x:5:\nnogroup:x:65534:\n");
    let (uid, gid) = (identity.uid, identity.gid);
    if uid != 0 && uid != 65_534 {
        passwd.push_str(&format!("user:x:{uid}:{gid}:user:/tmp:/bin/sh\n"));
    }
    if gid != 0 && gid != 65_534 {
        group.push_str(&format!("user:x:{gid}:\n"));
    }
    text(&root, "etc/passwd", &passwd)?;
    text(&root, "etc/group", &group)?;
    text(&root, "etc/shells", "/bin/sh\n/bin/bash\n")?;
    Ok(fs)
}

const SMALL: BudgetLimits = BudgetLimits {
    bytes: 1 << 20,
    inodes: 256,
};

/// Makes a directory of a tree being built; its parents must exist. One that is there stays.
///
/// # Errors
/// `ENOENT`, `ENOSPC`.
pub fn directory(root: &Arc<dyn Inode>, path: &str, mode: u32) -> Result<()> {
    match make(root, path, NewNode::Directory, mode) {
        Err(Errno::EEXIST) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Makes a link of a tree being built.
///
/// # Errors
/// `ENOENT`, `EEXIST`, `ENOSPC`.
pub fn link(root: &Arc<dyn Inode>, path: &str, target: &[u8]) -> Result<()> {
    make(root, path, NewNode::Symlink(target), 0o777).map(|_| ())
}

/// Makes a file of a tree being built, mode 0644. It was last changed at the epoch: such a file is not the same in
/// every sandbox (its name is in it), and whoever restores a guest that has it open must not take it for another one.
///
/// # Errors
/// `ENOENT`, `EEXIST`, `ENOSPC`.
pub fn text(root: &Arc<dyn Inode>, path: &str, text: &str) -> Result<()> {
    let inode = make(root, path, NewNode::Regular, 0o644)?;
    let file = Arc::clone(&inode).open(O_WRONLY)?;
    let written = file.write_at(0, text.as_bytes())?;
    if written < text.len() {
        return Err(Errno::ENOSPC);
    }
    inode.set_attr(&SetAttr {
        mtime: Some(SetTime::At(Timespec::default())),
        ..SetAttr::default()
    })
}

fn make(root: &Arc<dyn Inode>, path: &str, node: NewNode<'_>, mode: u32) -> Result<Arc<dyn Inode>> {
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut dir = Arc::clone(root);
    for component in above.split('/').filter(|c| !c.is_empty()) {
        dir = dir.lookup(component.as_bytes())?;
    }
    dir.create(name.as_bytes(), node, mode, &Credentials::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_shown(path: &str) -> bool {
        let layer = host_layer().unwrap();
        let found = path.split('/').try_fold(layer.root(), |directory, name| {
            directory.lookup(name.as_bytes())
        });
        found.is_ok()
    }

    #[test]
    fn programs_are_shown_and_what_an_administrator_keeps_is_not() {
        assert!(is_shown("usr/bin/python3") || is_shown("usr/bin/sh") || is_shown("usr/bin/env"));
        for hidden in [
            "opt",
            "usr/src",
            "usr/local/etc",
            "usr/local/share/man",
            "etc/npmrc",
            "etc/pip.conf",
            "etc/gitconfig",
            "etc/profile",
            "etc/environment",
            "etc/shadow",
            "etc/machine-id",
            "root",
            "home",
            "var",
            "srv",
            "tmp",
        ] {
            assert!(!is_shown(hidden), "{hidden}");
        }
    }

    #[test]
    fn the_jail_opens_what_is_shown_and_nothing_beside_it() {
        let shown = shown();
        for path in &shown.whole {
            let name = path.strip_prefix("/").unwrap().to_str().unwrap();
            assert!(
                fs::symlink_metadata(path).is_ok_and(|found| !found.is_symlink()),
                "{name}"
            );
            let by_pattern = |pattern: &&str| match pattern.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == *pattern,
            };
            assert!(SHOWN.iter().any(by_pattern), "{name}");
        }
        for way in &shown.on_the_way {
            assert!(
                shown.whole.iter().any(|path| path.starts_with(way)) || way.ends_with("share"),
                "{way:?}"
            );
        }
    }
}
