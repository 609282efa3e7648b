//! The machine's own files below a writable layer, as a function sees them.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use base_abi::general::{O_CREAT, O_DIRECTORY, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY};
use kernel_fs::host_view::{self, Identity};
use kernel_fs::{Budget, BudgetLimits, HostTree, TmpFs};
use kernel_vfs::{
    At, Credentials, Errno, FileSystem, FsContext, LastLink, MountFlags, MountTable, OpenHow, Vfs,
};

const LIMITS: BudgetLimits = BudgetLimits {
    bytes: 64 << 20,
    inodes: 10_000,
};

fn root() -> Credentials {
    Credentials {
        privileged: true,
        ..Credentials::default()
    }
}

fn over(layers: &[Arc<dyn FileSystem>]) -> FsContext {
    let roots: Vec<_> = layers.iter().map(|l| l.root()).collect();
    let fs = TmpFs::over(&roots, Budget::new(LIMITS)).unwrap();
    let table = MountTable::new(Arc::<Vfs>::default(), fs, "overlay", MountFlags::empty()).unwrap();
    FsContext::new(table)
}

fn host() -> FsContext {
    let identity = Identity {
        hostname: "box".into(),
        uid: 1000,
        gid: 1000,
    };
    over(&[
        host_view::host_layer().unwrap(),
        host_view::host_essentials(&identity).unwrap(),
    ])
}

fn image(path: &Path) -> FsContext {
    over(&[HostTree::whole(path).unwrap()])
}

fn open(flags: u32) -> OpenHow {
    OpenHow {
        flags,
        mode: 0o644,
        ..OpenHow::default()
    }
}

fn read(fs: &FsContext, path: &str) -> Result<Vec<u8>, Errno> {
    let who = root();
    let file = At::cwd(fs, &who).open(path.as_bytes(), open(O_RDONLY))?;
    let mut out = Vec::new();
    let mut buf = [0; 4096];
    loop {
        match file.read(&mut buf)? {
            0 => return Ok(out),
            n => out.extend_from_slice(&buf[..n]),
        }
    }
}

fn names(fs: &FsContext, path: &str) -> Vec<String> {
    let who = root();
    let dir = At::cwd(fs, &who)
        .open(path.as_bytes(), open(O_DIRECTORY))
        .unwrap();
    let mut names = Vec::new();
    dir.read_dir(&mut |entry| {
        names.push(String::from_utf8_lossy(entry.name).into_owned());
        true
    })
    .unwrap();
    names.sort();
    names
}

#[test]
fn programs_are_there_and_secrets_are_not() {
    let fs = host();
    assert_eq!(&read(&fs, "/bin/sh").unwrap()[..4], b"\x7fELF");
    assert!(read(&fs, "/etc/ld.so.cache").is_ok());
    for hidden in [
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/ssl/private",
        "/etc/ssh",
        "/root/.bashrc",
        "/root/.cargo",
        "/home/user",
        "/var/lib/dpkg",
        "/proc/1",
    ] {
        assert_eq!(read(&fs, hidden), Err(Errno::ENOENT), "{hidden}");
    }
    assert!(names(&fs, "/etc").iter().all(|n| n != "shadow"));
    let passwd = String::from_utf8(read(&fs, "/etc/passwd").unwrap()).unwrap();
    assert!(passwd.contains("user:x:1000"));
    assert_eq!(read(&fs, "/etc/hostname").unwrap(), b"box\n");
}

#[test]
fn the_upper_layer_takes_the_changes() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    std::fs::write(dir.path().join("d/f"), b"below").unwrap();
    std::fs::write(dir.path().join("d/g"), b"gone").unwrap();
    let fs = image(dir.path());
    let who = root();
    let at = At::cwd(&fs, &who);
    let ino = at
        .find(b"/d/f", LastLink::Keep)
        .unwrap()
        .attr()
        .unwrap()
        .ino;
    let file = at.open(b"/d/f", open(O_RDWR)).unwrap();
    assert_eq!(file.write_at(5, b" and above").unwrap(), 10);
    assert_eq!(read(&fs, "/d/f").unwrap(), b"below and above");
    at.unlink(b"/d/g").unwrap();
    assert_eq!(read(&fs, "/d/g"), Err(Errno::ENOENT));
    at.rename(b"/d", &at, b"/e", kernel_vfs::RenameMode::Replace)
        .unwrap();
    assert_eq!(read(&fs, "/d/f"), Err(Errno::ENOENT));
    assert_eq!(read(&fs, "/e/f").unwrap(), b"below and above");
    assert_eq!(names(&fs, "/e"), [".", "..", "f"]);
    assert_eq!(names(&fs, "/"), [".", "..", "e"]);
    let after = at.find(b"/e/f", LastLink::Keep).unwrap();
    assert_eq!(after.attr().unwrap().ino, ino);
    at.mkdir(b"/d", 0o755).unwrap();
    assert_eq!(names(&fs, "/d"), [".", ".."]);
    assert_eq!(std::fs::read(dir.path().join("d/f")).unwrap(), b"below");
    assert_eq!(std::fs::read(dir.path().join("d/g")).unwrap(), b"gone");
}

#[test]
fn links_of_an_image_never_lead_out_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), b"s").unwrap();
    symlink("/etc/passwd", dir.path().join("absolute")).unwrap();
    symlink("../../../../../../../../etc/passwd", dir.path().join("up")).unwrap();
    symlink(outside.path(), dir.path().join("dir")).unwrap();
    symlink("/proc/self/root/etc/passwd", dir.path().join("magic")).unwrap();
    let fs = image(dir.path());
    for path in [
        "/absolute",
        "/up",
        "/dir/secret",
        "/magic",
        "/../../etc/passwd",
        "/./../etc/passwd",
    ] {
        assert_eq!(read(&fs, path), Err(Errno::ENOENT), "{path}");
    }
    // The same text leads to the guest's own file when there is one.
    let who = root();
    let at = At::cwd(&fs, &who);
    at.mkdir(b"/etc", 0o755).unwrap();
    let file = at
        .open(b"/etc/passwd", open(O_WRONLY | O_CREAT | O_TRUNC))
        .unwrap();
    file.write(b"ours").unwrap();
    assert_eq!(read(&fs, "/absolute").unwrap(), b"ours");
    assert_eq!(read(&fs, "/up").unwrap(), b"ours");
}

#[test]
fn a_directory_swapped_for_a_link_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("f"), b"secret").unwrap();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    std::fs::write(dir.path().join("d/f"), b"fine").unwrap();
    let fs = image(dir.path());
    // Looked up as a directory, replaced by a link before anything in it is opened.
    let who = root();
    let at = At::cwd(&fs, &who);
    at.find(b"/d", LastLink::Keep).unwrap();
    std::fs::rename(dir.path().join("d"), dir.path().join("old")).unwrap();
    symlink(outside.path(), dir.path().join("d")).unwrap();
    assert!(read(&fs, "/d/f").is_err());
}

#[test]
fn many_open_files_need_few_host_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..1500 {
        std::fs::write(dir.path().join(format!("f{i}")), format!("{i}")).unwrap();
    }
    let fs = image(dir.path());
    let who = root();
    let at = At::cwd(&fs, &who);
    let open: Vec<_> = (0..1500)
        .map(|i| {
            at.open(format!("/f{i}").as_bytes(), open(O_RDONLY))
                .unwrap()
        })
        .collect();
    let mut buf = [0; 16];
    for (i, file) in open.iter().enumerate() {
        let n = file.read(&mut buf).unwrap();
        assert_eq!(&buf[..n], format!("{i}").as_bytes());
    }
    let held = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(held < 600, "{held} host descriptors");
}

#[test]
fn layers_hide_what_is_below() {
    let low = tempfile::tempdir().unwrap();
    let high = tempfile::tempdir().unwrap();
    for (dir, file) in [("a", "x"), ("a", "y"), ("b", "z")] {
        std::fs::create_dir_all(low.path().join(dir)).unwrap();
        std::fs::write(low.path().join(dir).join(file), b"low").unwrap();
    }
    std::fs::create_dir(high.path().join("a")).unwrap();
    std::fs::write(high.path().join("a/y"), b"high").unwrap();
    std::fs::write(high.path().join("a/.wh.x"), b"").unwrap();
    std::fs::create_dir(high.path().join("b")).unwrap();
    std::fs::write(high.path().join("b/.wh..wh..opq"), b"").unwrap();
    std::fs::write(high.path().join("b/new"), b"high").unwrap();
    let fs = over(&[
        HostTree::whole(low.path()).unwrap(),
        HostTree::whole(high.path()).unwrap(),
    ]);
    assert_eq!(names(&fs, "/a"), [".", "..", "y"]);
    assert_eq!(names(&fs, "/b"), [".", "..", "new"]);
    assert_eq!(read(&fs, "/a/y").unwrap(), b"high");
    assert_eq!(read(&fs, "/a/x"), Err(Errno::ENOENT));
    assert_eq!(read(&fs, "/b/z"), Err(Errno::ENOENT));
}
