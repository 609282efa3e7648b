//! Walks: mounts, `..`, loops, bounds, permissions, and what a failing look-up costs.

use std::sync::Arc;

use base_abi::general::{O_CREAT, O_DIRECTORY, O_NOFOLLOW, O_PATH, O_RDONLY, O_TMPFILE, O_WRONLY};
use kernel_fs::synthetic::{Fixed, Node, SyntheticFs};
use kernel_fs::{Budget, BudgetLimits, RootAttr, TmpFs, dev};
use kernel_vfs::{
    Access, At, Credentials, Errno, FileSystem, FsContext, LastLink, MountFlags, MountTable,
    OpenHow, Path, RenameMode, Resolve, Unmount, Vfs,
};

const LIMITS: BudgetLimits = BudgetLimits {
    bytes: 1 << 20,
    inodes: 1000,
};

fn tmpfs() -> Arc<TmpFs> {
    TmpFs::new(Budget::new(LIMITS), RootAttr::default()).unwrap()
}

fn context() -> FsContext {
    let table =
        MountTable::new(Arc::<Vfs>::default(), tmpfs(), "none", MountFlags::empty()).unwrap();
    FsContext::new(table)
}

fn root() -> Credentials {
    Credentials {
        privileged: true,
        ..Credentials::default()
    }
}

fn user(uid: u32) -> Credentials {
    Credentials {
        uid,
        gid: uid,
        ..Credentials::default()
    }
}

fn how(flags: u32) -> OpenHow {
    OpenHow {
        flags,
        mode: 0o644,
        ..OpenHow::default()
    }
}

fn touch(at: &At<'_>, path: &str) {
    at.open(path.as_bytes(), how(O_CREAT | O_WRONLY)).unwrap();
}

fn find(at: &At<'_>, path: &str) -> Result<Path, Errno> {
    at.find(path.as_bytes(), LastLink::Follow)
}

#[test]
fn mounts_cover_and_uncover() {
    let (fs, who) = (context(), root());
    let at = At::cwd(&fs, &who);
    at.mkdir(b"/m", 0o755).unwrap();
    touch(&at, "/m/below");
    let point = find(&at, "/m").unwrap();
    let mount = fs
        .table()
        .mount(tmpfs(), "over", &point, MountFlags::NOSUID)
        .unwrap();
    drop(mount);
    assert_eq!(find(&at, "/m/below").unwrap_err(), Errno::ENOENT);
    touch(&at, "/m/above");
    assert!(find(&at, "/m/../m/above/").is_err());
    assert!(find(&at, "/m/../m/above").is_ok());
    assert_eq!(at.rmdir(b"/m"), Err(Errno::EBUSY));
    assert_eq!(
        at.rename(b"/m", &at, b"/n", RenameMode::Replace),
        Err(Errno::EBUSY)
    );
    touch(&at, "/f");
    assert_eq!(
        at.rename(b"/f", &at, b"/m/f", RenameMode::Replace),
        Err(Errno::EXDEV)
    );
    let info = String::from_utf8(fs.table().mountinfo(fs.root())).unwrap();
    assert!(info.contains(" / /m rw,nosuid"), "{info}");
    let held = find(&at, "/m/above").unwrap();
    let inside = find(&at, "/m").unwrap();
    assert_eq!(
        fs.table().unmount(inside, Unmount::IfUnused),
        Err(Errno::EBUSY)
    );
    drop(held);
    let inside = find(&at, "/m").unwrap();
    fs.table().unmount(inside, Unmount::IfUnused).unwrap();
    assert!(find(&at, "/m/below").is_ok());
}

#[test]
fn a_bind_mount_shows_one_tree_twice() {
    let (fs, who) = (context(), root());
    let at = At::cwd(&fs, &who);
    at.mkdir(b"/a", 0o755).unwrap();
    at.mkdir(b"/b", 0o755).unwrap();
    let (a, b) = (find(&at, "/a").unwrap(), find(&at, "/b").unwrap());
    fs.table().bind(&a, &b, MountFlags::RDONLY).unwrap();
    touch(&at, "/a/f");
    assert!(find(&at, "/b/f").is_ok());
    assert_eq!(at.unlink(b"/b/f"), Err(Errno::EROFS));
    at.unlink(b"/a/f").unwrap();
    assert_eq!(find(&at, "/b/f").unwrap_err(), Errno::ENOENT);
    let opened = at.open(b"/b/g", how(O_CREAT | O_WRONLY));
    assert_eq!(opened.err(), Some(Errno::EROFS));
}

#[test]
fn names_and_links_are_bounded() {
    let (fs, who) = (context(), root());
    let at = At::cwd(&fs, &who);
    let long = "x".repeat(256);
    assert_eq!(find(&at, &long).unwrap_err(), Errno::ENAMETOOLONG);
    assert_eq!(
        find(&at, &"a/".repeat(2048)).unwrap_err(),
        Errno::ENAMETOOLONG
    );
    at.symlink(b"loop", b"/loop").unwrap();
    assert_eq!(find(&at, "/loop").unwrap_err(), Errno::ELOOP);
    touch(&at, "/l0");
    for i in 0..41 {
        let (to, link) = (format!("l{i}"), format!("/l{}", i + 1));
        at.symlink(to.as_bytes(), link.as_bytes()).unwrap();
    }
    assert!(find(&at, "/l40").is_ok());
    assert_eq!(find(&at, "/l41").unwrap_err(), Errno::ELOOP);
    assert_eq!(find(&at, "").unwrap_err(), Errno::ENOENT);
    assert!(find(&at, "/../../..").unwrap().same(fs.root()));
}

#[test]
fn resolve_flags_bound_a_walk() {
    let (fs, who) = (context(), root());
    let at = At::cwd(&fs, &who);
    for dir in ["/d", "/d/e", "/m"] {
        at.mkdir(dir.as_bytes(), 0o755).unwrap();
    }
    touch(&at, "/d/f");
    touch(&at, "/f");
    at.symlink(b"/f", b"/d/absolute").unwrap();
    at.symlink(b"../f", b"/d/up").unwrap();
    at.symlink(b"f", b"/d/fine").unwrap();
    let d = find(&at, "/d").unwrap();
    let below = At::dir(&fs, &who, d.clone());
    let try_it = |path: &str, resolve| below.find_with(path.as_bytes(), LastLink::Follow, resolve);
    assert!(try_it("fine", Resolve::BENEATH).is_ok());
    assert!(try_it("e/../f", Resolve::BENEATH).is_ok());
    for out in ["absolute", "up", "..", "/d/f", "e/../../f"] {
        assert_eq!(
            try_it(out, Resolve::BENEATH).unwrap_err(),
            Errno::EXDEV,
            "{out}"
        );
    }
    assert_eq!(
        try_it("fine", Resolve::NO_SYMLINKS).unwrap_err(),
        Errno::ELOOP
    );
    // With the directory as the root, all ways out lead back in.
    for inside in ["absolute", "up", "/f", "../../f"] {
        let found = try_it(inside, Resolve::IN_ROOT).unwrap();
        assert!(found.same(&find(&at, "/d/f").unwrap()), "{inside}");
    }
    let m = find(&at, "/m").unwrap();
    fs.table()
        .mount(tmpfs(), "x", &m, MountFlags::empty())
        .unwrap();
    let crossed = at.find_with(b"m", LastLink::Follow, Resolve::NO_XDEV);
    assert_eq!(crossed.unwrap_err(), Errno::EXDEV);
}

#[test]
fn permissions_hold_for_ordinary_users() {
    let (fs, admin, alice, bob) = (context(), root(), user(1000), user(1001));
    let at = At::cwd(&fs, &admin);
    at.mkdir(b"/tmp", 0o755).unwrap();
    find(&at, "/tmp").unwrap().chmod(&admin, 0o1777).unwrap();
    at.mkdir(b"/private", 0o700).unwrap();
    let a = At::cwd(&fs, &alice);
    let b = At::cwd(&fs, &bob);
    assert_eq!(a.mkdir(b"/x", 0o755), Err(Errno::EACCES));
    assert_eq!(find(&a, "/private/x").unwrap_err(), Errno::EACCES);
    touch(&a, "/tmp/f");
    assert_eq!(b.unlink(b"/tmp/f"), Err(Errno::EPERM));
    assert_eq!(
        b.rename(b"/tmp/f", &b, b"/tmp/g", RenameMode::Replace),
        Err(Errno::EPERM)
    );
    assert_eq!(b.open(b"/tmp/f", how(O_WRONLY)).err(), Some(Errno::EACCES));
    let f = find(&b, "/tmp/f").unwrap();
    assert_eq!(f.chmod(&bob, 0o777), Err(Errno::EPERM));
    assert_eq!(f.chown(&alice, Some(1001), None), Err(Errno::EPERM));
    assert_eq!(f.access(&bob, Access::READ), Ok(()));
    assert_eq!(f.access(&bob, Access::WRITE), Err(Errno::EACCES));
    assert_eq!(f.executable(&admin), Err(Errno::EACCES));
    f.chmod(&alice, 0o600).unwrap();
    assert_eq!(b.open(b"/tmp/f", how(O_RDONLY)).err(), Some(Errno::EACCES));
    a.unlink(b"/tmp/f").unwrap();
}

#[test]
fn removed_directories_take_no_names() {
    let (mut fs, who) = (context(), root());
    At::cwd(&fs, &who).mkdir(b"/d", 0o755).unwrap();
    let d = find(&At::cwd(&fs, &who), "/d").unwrap();
    fs.set_cwd(d, &who).unwrap();
    assert_eq!(fs.getcwd().unwrap(), b"/d");
    let at = At::cwd(&fs, &who);
    at.rename(b"/d", &at, b"/e", RenameMode::Replace).unwrap();
    assert_eq!(fs.getcwd().unwrap(), b"/e");
    at.rmdir(b"/e").unwrap();
    assert_eq!(fs.getcwd(), Err(Errno::ENOENT));
    assert_eq!(fs.cwd().text(fs.root()), b"/e (deleted)");
    assert_eq!(
        at.open(b"f", how(O_CREAT | O_WRONLY)).err(),
        Some(Errno::ENOENT)
    );
    assert_eq!(at.mkdir(b"g", 0o755), Err(Errno::ENOENT));
    assert!(find(&at, "..").unwrap().same(fs.root()));
}

#[test]
fn nameless_files_can_be_given_a_name() {
    let (fs, who) = (context(), root());
    let at = At::cwd(&fs, &who);
    let file = at.open(b"/", how(O_TMPFILE | O_WRONLY)).unwrap();
    file.write(b"hello").unwrap();
    let place = file.location().unwrap().clone();
    assert_eq!(place.attr().unwrap().nlink, 0);
    assert!(place.text(fs.root()).ends_with(b" (deleted)"));
    at.link(&place, b"/named").unwrap();
    assert_eq!(find(&at, "/named").unwrap().attr().unwrap().size, 5);
    assert_eq!(place.attr().unwrap().nlink, 1);
}

#[test]
fn magic_links_lead_to_the_place_itself() {
    let (fs, who) = (context(), root());
    let at = At::cwd(&fs, &who);
    touch(&at, "/f");
    let held = find(&at, "/f").unwrap();
    let text = held.clone();
    let fs_root = fs.root().clone();
    let link = Node::magic(move || Ok(text.text(&fs_root)), move || Ok(held.clone()));
    let generated = Node::text(0o444, || Ok(b"made".to_vec()));
    let proc = SyntheticFs::new(
        "proc",
        0x9fa0,
        Node::directory(Fixed::new().with("fd", link).with("text", generated)),
    );
    at.mkdir(b"/proc", 0o555).unwrap();
    let point = find(&at, "/proc").unwrap();
    fs.table()
        .mount(proc, "proc", &point, MountFlags::empty())
        .unwrap();
    at.unlink(b"/f").unwrap();
    let shown = at.find(b"/proc/fd", LastLink::Keep).unwrap();
    assert_eq!(shown.read_link().unwrap(), b"/f (deleted)");
    assert_eq!(find(&at, "/proc/fd").unwrap().attr().unwrap().nlink, 0);
    assert!(at.open(b"/proc/fd", how(O_RDONLY)).is_ok());
    assert_eq!(
        at.open(b"/proc/fd", how(O_RDONLY | O_NOFOLLOW)).err(),
        Some(Errno::ELOOP)
    );
    let text = at.open(b"/proc/text", how(O_RDONLY)).unwrap();
    let mut buf = [0; 16];
    assert_eq!(text.read(&mut buf[..2]).unwrap(), 2);
    assert_eq!(text.read(&mut buf[2..]).unwrap(), 2);
    assert_eq!(&buf[..4], b"made");
    assert_eq!(
        at.open(b"/proc/new", how(O_CREAT | O_WRONLY)).err(),
        Some(Errno::EACCES)
    );
}

#[test]
fn devices_behave() {
    let (fs, who) = (context(), root());
    let at = At::cwd(&fs, &who);
    at.mkdir(b"/dev", 0o755).unwrap();
    let entropy = |buf: &mut [u8]| buf.fill(4);
    let drivers = &fs.table().vfs().drivers;
    let dev = dev::dev_fs(Budget::new(LIMITS), drivers, Arc::new(entropy)).unwrap();
    let point = find(&at, "/dev").unwrap();
    fs.table()
        .mount(dev, "dev", &point, MountFlags::NOSUID)
        .unwrap();
    let mut buf = [9; 8];
    let open = |name: &str| {
        at.open(name.as_bytes(), how(base_abi::general::O_RDWR))
            .unwrap()
    };
    assert_eq!(open("/dev/null").read(&mut buf), Ok(0));
    assert_eq!(open("/dev/null").write(b"abc"), Ok(3));
    assert_eq!(open("/dev/zero").read(&mut buf), Ok(8));
    assert_eq!(buf, [0; 8]);
    assert_eq!(open("/dev/full").write(b"abc"), Err(Errno::ENOSPC));
    assert_eq!(open("/dev/urandom").read(&mut buf), Ok(8));
    assert_eq!(buf, [4; 8]);
    let null = find(&at, "/dev/null").unwrap().attr().unwrap();
    assert_eq!((null.mode, null.rdev), (0o020_666, 0x103));
    let link = at.find(b"/dev/stdin", LastLink::Keep).unwrap();
    assert_eq!(link.read_link().unwrap(), b"/proc/self/fd/0");
}

#[test]
fn the_budget_bounds_bytes_and_inodes() {
    let budget = Budget::new(BudgetLimits {
        bytes: 64 << 10,
        inodes: 10,
    });
    let tmp = TmpFs::new(budget.clone(), RootAttr::default()).unwrap();
    let table = MountTable::new(Arc::<Vfs>::default(), tmp, "none", MountFlags::empty()).unwrap();
    let (fs, who) = (FsContext::new(table), root());
    let at = At::cwd(&fs, &who);
    let file = at.open(b"/f", how(O_CREAT | O_WRONLY)).unwrap();
    let data = vec![1; 100 << 10];
    assert_eq!(file.write(&data), Ok(64 << 10));
    assert_eq!(file.write(b"x"), Err(Errno::ENOSPC));
    assert_eq!(budget.bytes(), 64 << 10);
    file.file().truncate(0).unwrap();
    assert_eq!(budget.bytes(), 0);
    // A mapped file lives in a memory file, and is counted just so.
    file.write_at(0, &data[..10_000]).unwrap();
    file.file().memory_file().unwrap();
    assert_eq!(budget.bytes(), 12 << 10);
    let mut end = 0;
    while let Ok(n) = file.write_at(end, &data) {
        end += n as u64;
    }
    assert_eq!(end, 64 << 10);
    assert_eq!(budget.bytes(), 64 << 10);
    assert_eq!(file.write_at(200 << 10, b"x"), Err(Errno::ENOSPC));
    at.unlink(b"/f").unwrap();
    drop(file);
    assert_eq!((budget.bytes(), budget.inodes()), (0, 1));
    for i in 0..9 {
        at.mkdir(format!("/{i}").as_bytes(), 0o755).unwrap();
    }
    assert_eq!(at.mkdir(b"/x", 0o755), Err(Errno::ENOSPC));
    // Names are not free either.
    at.rmdir(b"/0").unwrap();
    at.rmdir(b"/1").unwrap();
    touch(&at, "/f");
    let f = find(&at, "/f").unwrap();
    at.link(&f, b"/g").unwrap();
    assert_eq!(at.link(&f, b"/h"), Err(Errno::ENOSPC));
    drop(f);
    at.unlink(b"/f").unwrap();
    at.unlink(b"/g").unwrap();
    assert_eq!(budget.inodes(), 8);
}

#[test]
fn a_deep_tree_is_dropped_without_recursion() {
    let deep = BudgetLimits {
        bytes: 1 << 20,
        inodes: 200_000,
    };
    let tmp = TmpFs::new(Budget::new(deep), RootAttr::default()).unwrap();
    let who = root();
    let mut dir = tmp.root();
    for _ in 0..100_000 {
        dir = dir
            .create(b"d", kernel_vfs::NewNode::Directory, 0o755, &who)
            .unwrap();
    }
    drop(dir);
    drop(tmp);

    // And through the walk, each directory removed while the innermost is held.
    let tmp = TmpFs::new(Budget::new(deep), RootAttr::default()).unwrap();
    let table = MountTable::new(Arc::<Vfs>::default(), tmp, "none", MountFlags::empty()).unwrap();
    let mut fs = FsContext::new(table);
    for _ in 0..50_000 {
        let at = At::cwd(&fs, &who);
        at.mkdir(b"d", 0o755).unwrap();
        let inner = at.find(b"d", LastLink::Keep).unwrap();
        fs.set_cwd(inner, &who).unwrap();
    }
    let innermost = fs.cwd().clone();
    loop {
        let parent = At::cwd(&fs, &who).find(b"..", LastLink::Keep).unwrap();
        if parent.same(fs.cwd()) {
            break;
        }
        At::dir(&fs, &who, parent.clone()).rmdir(b"d").unwrap();
        fs.set_cwd(parent, &who).unwrap();
    }
    assert!(innermost.dentry().is_deleted());
    drop(innermost);
}

#[test]
fn path_descriptors_do_nothing() {
    let (fs, who) = (context(), root());
    let at = At::cwd(&fs, &who);
    touch(&at, "/f");
    let path = at.open(b"/f", how(O_PATH)).unwrap();
    assert_eq!(path.read(&mut [0; 4]), Err(Errno::EBADF));
    assert!(path.file().stat().is_ok());
    assert_eq!(
        at.open(b"/f", how(O_PATH | O_DIRECTORY)).err(),
        Some(Errno::ENOTDIR)
    );
}

/// Prints what a failing stat of a known path costs; run with `--nocapture` in a release build.
#[test]
fn failing_stats_are_remembered() {
    let (fs, who) = (context(), root());
    let at = At::cwd(&fs, &who);
    for dir in ["/usr", "/usr/lib", "/usr/lib/python3"] {
        at.mkdir(dir.as_bytes(), 0o755).unwrap();
    }
    let path = b"/usr/lib/python3/missing.cpython-311-x86_64-linux-gnu.so";
    let rounds = 10_000;
    let begin = std::time::Instant::now();
    for _ in 0..rounds {
        assert_eq!(at.find(path, LastLink::Follow).unwrap_err(), Errno::ENOENT);
    }
    eprintln!("{} ns each", begin.elapsed().as_nanos() / rounds);
}

#[test]
fn names_in_use_outlive_the_forgetting_of_others() {
    let many = BudgetLimits {
        bytes: 1 << 20,
        inodes: 100_000,
    };
    let tmp = TmpFs::new(Budget::new(many), RootAttr::default()).unwrap();
    let table = MountTable::new(Arc::<Vfs>::default(), tmp, "none", MountFlags::empty()).unwrap();
    let (fs, who) = (FsContext::new(table), root());
    let at = At::cwd(&fs, &who);
    at.mkdir(b"/d", 0o755).unwrap();
    touch(&at, "/d/held");
    let held = find(&at, "/d/held").unwrap();
    for i in 0..40_000 {
        at.mknod(
            format!("/d/{i}").as_bytes(),
            kernel_vfs::FileType::Regular,
            0o644,
            0,
        )
        .unwrap();
        assert!(find(&at, &format!("/d/absent{i}")).is_err());
    }
    assert!(find(&at, "/d/held").unwrap().same(&held));
    at.rename(b"/d/held", &at, b"/d/moved", RenameMode::Replace)
        .unwrap();
    assert_eq!(held.text(fs.root()), b"/d/moved");
    for i in (0..40_000).step_by(1000) {
        let path = format!("/d/{i}");
        assert!(find(&at, &path).is_ok());
        at.unlink(path.as_bytes()).unwrap();
        assert_eq!(find(&at, &path).unwrap_err(), Errno::ENOENT);
    }
}
