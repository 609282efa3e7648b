//! Which part of the machine's own files a guest may see, and the few files made in their place.
//!
//! Programs and libraries yes; accounts, keys, home directories and anything that not every user of
//! the machine may read, no.

use std::path::Path;
use std::sync::Arc;

use base_abi::general::O_WRONLY;
use base_abi::structs::Timespec;
use kernel_vfs::{Credentials, Errno, FileSystem, Inode, NewNode, Result, SetAttr, SetTime};

use crate::hostdir::{Exposure, HostTreeError};
use crate::{Budget, BudgetLimits, Filter, HostTree, Ownership, RootAttr, TmpFs};

/// What of the machine's root is shown; a name ending in `*` stands for all that begin so.
const SHOWN: &[&str] = &[
    "usr",
    "bin",
    "sbin",
    "lib*",
    "opt",
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
    "etc/node*",
    "etc/fonts",
    "etc/gitconfig",
    "etc/bash.bashrc",
    "etc/profile",
];

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
    for path in ["home", "mnt", "srv", "var/lib", "var/log", "var/cache"] {
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
