//! The same operations on the host's own file system and on ours: results, errors and trees must agree.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use base_abi::general as abi;
use kernel_fs::{Budget, BudgetLimits, HostTree, RootAttr, TmpFs};
use kernel_vfs::{
    At, Credentials, Errno, FileSystem, FileType, FsContext, LastLink, MountFlags, MountTable,
    OpenHow, RenameMode, Vfs, Whence,
};
use proptest::prelude::*;
use rustix::fs::{self, AtFlags, FallocateFlags, Mode, OFlags, RenameFlags, SeekFrom};

const LIMITS: BudgetLimits = BudgetLimits {
    bytes: 64 << 20,
    inodes: 10_000,
};

#[derive(Clone, Debug)]
enum Op {
    Mkdir(String),
    Rmdir(String),
    Unlink(String),
    Symlink(String, String),
    Link(String, String),
    Rename(String, String, RenameKind),
    Open(String, u32),
    Write(String, u64, usize),
    Append(String, usize),
    Read(String, u64, usize),
    Truncate(String, u64),
    Allocate(String, u32, u64, u64),
    Seek(String, u64, bool),
    Stat(String, bool),
    ReadLink(String),
    List(String),
    Chmod(String, u32),
}

#[derive(Clone, Copy, Debug)]
enum RenameKind {
    Replace,
    NoReplace,
    Exchange,
}

/// What an operation gave, in a form both sides can produce.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed(Errno),
    Number(u64),
    Bytes(Vec<u8>),
    Names(Vec<(String, u8)>),
    Status { mode: u32, nlink: u64, size: u64 },
}

fn pattern(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64)
        .map(|i| (i.wrapping_mul(31).wrapping_add(seed) % 251) as u8 + 1)
        .collect()
}

// ---- the host ----

fn host_error(error: rustix::io::Errno) -> Outcome {
    Outcome::Failed(Errno::from_raw(error.raw_os_error()))
}

fn host(root: &OwnedFd, op: &Op) -> Outcome {
    host_try(root, op).unwrap_or_else(host_error)
}

fn host_open(root: &OwnedFd, path: &str, flags: u32) -> Result<OwnedFd, rustix::io::Errno> {
    let flags = OFlags::from_bits_retain(flags | abi::O_CLOEXEC);
    fs::openat(root, path, flags, Mode::from_raw_mode(0o644))
}

fn host_try(root: &OwnedFd, op: &Op) -> Result<Outcome, rustix::io::Errno> {
    let done = |()| Outcome::Done;
    let file = |fd: OwnedFd| std::fs::File::from(fd);
    let io = |e: std::io::Error| {
        rustix::io::Errno::from_raw_os_error(e.raw_os_error().unwrap_or(abi_eio()))
    };
    match op {
        Op::Mkdir(p) => fs::mkdirat(root, p, Mode::from_raw_mode(0o755)).map(done),
        Op::Rmdir(p) => fs::unlinkat(root, p, AtFlags::REMOVEDIR).map(done),
        Op::Unlink(p) => fs::unlinkat(root, p, AtFlags::empty()).map(done),
        Op::Symlink(t, p) => fs::symlinkat(t, root, p).map(done),
        Op::Link(a, b) => fs::linkat(root, a, root, b, AtFlags::empty()).map(done),
        Op::Rename(a, b, kind) => {
            let flags = match kind {
                RenameKind::Replace => RenameFlags::empty(),
                RenameKind::NoReplace => RenameFlags::NOREPLACE,
                RenameKind::Exchange => RenameFlags::EXCHANGE,
            };
            fs::renameat_with(root, a, root, b, flags).map(done)
        }
        Op::Open(p, flags) => host_open(root, p, *flags).map(|_| Outcome::Done),
        Op::Write(p, at, len) => {
            let f = file(host_open(root, p, abi::O_WRONLY)?);
            let n = f.write_at(&pattern(*len, *at), *at).map_err(io)?;
            Ok(Outcome::Number(n as u64))
        }
        Op::Append(p, len) => {
            use std::io::Write;
            let mut f = file(host_open(root, p, abi::O_WRONLY | abi::O_APPEND)?);
            Ok(Outcome::Number(
                f.write(&pattern(*len, 7)).map_err(io)? as u64
            ))
        }
        Op::Read(p, at, len) => {
            let f = file(host_open(root, p, abi::O_RDONLY)?);
            let mut buf = vec![0; *len];
            let n = f.read_at(&mut buf, *at).map_err(io)?;
            buf.truncate(n);
            Ok(Outcome::Bytes(buf))
        }
        Op::Truncate(p, len) => {
            let f = host_open(root, p, abi::O_WRONLY)?;
            fs::ftruncate(f, *len).map(done)
        }
        Op::Allocate(p, mode, at, len) => {
            let f = host_open(root, p, abi::O_WRONLY)?;
            fs::fallocate(f, FallocateFlags::from_bits_retain(*mode), *at, *len).map(done)
        }
        Op::Seek(p, at, data) => {
            let f = host_open(root, p, abi::O_RDONLY)?;
            let to = if *data {
                SeekFrom::Data(*at)
            } else {
                SeekFrom::Hole(*at)
            };
            fs::seek(f, to).map(Outcome::Number)
        }
        Op::Stat(p, follow) => {
            let flags = if *follow {
                AtFlags::empty()
            } else {
                AtFlags::SYMLINK_NOFOLLOW
            };
            let s = fs::statat(root, p, flags)?;
            let dir = FileType::from_mode(s.st_mode) == Some(FileType::Directory);
            Ok(Outcome::Status {
                mode: s.st_mode,
                nlink: s.st_nlink,
                size: if dir { 0 } else { s.st_size.cast_unsigned() },
            })
        }
        Op::ReadLink(p) => {
            fs::readlinkat(root, p, Vec::new()).map(|t| Outcome::Bytes(t.into_bytes()))
        }
        Op::List(p) => {
            let fd = host_open(root, p, abi::O_DIRECTORY)?;
            let mut names = Vec::new();
            for entry in fs::Dir::read_from(fd.as_fd())? {
                let entry = entry?;
                let kind = entry.file_type().as_raw_mode() >> 12;
                names.push((
                    entry.file_name().to_string_lossy().into_owned(),
                    u8::try_from(kind).unwrap_or(0),
                ));
            }
            names.sort();
            Ok(Outcome::Names(names))
        }
        Op::Chmod(p, mode) => {
            fs::chmodat(root, p, Mode::from_raw_mode(*mode), AtFlags::empty()).map(done)
        }
    }
}

fn abi_eio() -> i32 {
    Errno::EIO.raw()
}

// ---- ours ----

struct Ours {
    fs: FsContext,
    who: Credentials,
}

impl Ours {
    fn new(fs: Arc<dyn FileSystem>, who: Credentials) -> Ours {
        let table =
            MountTable::new(Arc::<Vfs>::default(), fs, "none", MountFlags::empty()).unwrap();
        Ours {
            fs: FsContext::new(table),
            who,
        }
    }

    fn run(&self, op: &Op) -> Outcome {
        self.attempt(op).unwrap_or_else(Outcome::Failed)
    }

    fn attempt(&self, op: &Op) -> Result<Outcome, Errno> {
        let at = At::cwd(&self.fs, &self.who);
        let done = |()| Outcome::Done;
        let open = |path: &str, flags: u32| {
            let how = OpenHow {
                flags,
                mode: 0o644,
                ..OpenHow::default()
            };
            at.open(path.as_bytes(), how)
        };
        let find = |path: &str, last| at.find(path.as_bytes(), last);
        match op {
            Op::Mkdir(p) => at.mkdir(p.as_bytes(), 0o755).map(done),
            Op::Rmdir(p) => at.rmdir(p.as_bytes()).map(done),
            Op::Unlink(p) => at.unlink(p.as_bytes()).map(done),
            Op::Symlink(t, p) => at.symlink(t.as_bytes(), p.as_bytes()).map(done),
            Op::Link(a, b) => {
                let from = find(a, LastLink::Keep)?;
                at.link(&from, b.as_bytes()).map(done)
            }
            Op::Rename(a, b, kind) => {
                let mode = match kind {
                    RenameKind::Replace => RenameMode::Replace,
                    RenameKind::NoReplace => RenameMode::NoReplace,
                    RenameKind::Exchange => RenameMode::Exchange,
                };
                at.rename(a.as_bytes(), &at, b.as_bytes(), mode).map(done)
            }
            Op::Open(p, flags) => open(p, *flags).map(|_| Outcome::Done),
            Op::Write(p, to, len) => {
                let n = open(p, abi::O_WRONLY)?.write_at(*to, &pattern(*len, *to))?;
                Ok(Outcome::Number(n as u64))
            }
            Op::Append(p, len) => {
                let n = open(p, abi::O_WRONLY | abi::O_APPEND)?.write(&pattern(*len, 7))?;
                Ok(Outcome::Number(n as u64))
            }
            Op::Read(p, from, len) => {
                let mut buf = vec![0; *len];
                let n = open(p, abi::O_RDONLY)?.read_at(*from, &mut buf)?;
                buf.truncate(n);
                Ok(Outcome::Bytes(buf))
            }
            Op::Truncate(p, len) => open(p, abi::O_WRONLY)?.file().truncate(*len).map(done),
            Op::Allocate(p, mode, from, len) => {
                let file = open(p, abi::O_WRONLY)?;
                file.file().allocate(*mode, *from, *len).map(done)
            }
            Op::Seek(p, from, data) => {
                let whence = if *data { Whence::Data } else { Whence::Hole };
                let from = i64::try_from(*from).unwrap();
                open(p, abi::O_RDONLY)?
                    .seek(from, whence)
                    .map(Outcome::Number)
            }
            Op::Stat(p, follow) => {
                let last = if *follow {
                    LastLink::Follow
                } else {
                    LastLink::Keep
                };
                let attr = find(p, last)?.attr()?;
                let dir = attr.file_type() == FileType::Directory;
                Ok(Outcome::Status {
                    mode: attr.mode,
                    nlink: attr.nlink,
                    size: if dir { 0 } else { attr.size },
                })
            }
            Op::ReadLink(p) => find(p, LastLink::Keep)?.read_link().map(Outcome::Bytes),
            Op::List(p) => {
                let dir = open(p, abi::O_DIRECTORY)?;
                let mut names = Vec::new();
                // In small pieces, as getdents64 with a small buffer reads.
                loop {
                    let mut room = 2;
                    dir.read_dir(&mut |entry| {
                        if room == 0 {
                            return false;
                        }
                        room -= 1;
                        let name = String::from_utf8_lossy(entry.name).into_owned();
                        names.push((name, entry.file_type as u8));
                        true
                    })?;
                    if room > 0 {
                        break;
                    }
                }
                names.sort();
                Ok(Outcome::Names(names))
            }
            Op::Chmod(p, mode) => find(p, LastLink::Follow)?.chmod(&self.who, *mode).map(done),
        }
    }
}

// ---- what is tried ----

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(String::from),
        1 => prop::sample::select(vec![".", "..", ""]).prop_map(String::from),
    ]
}

fn path() -> impl Strategy<Value = String> {
    let joined = prop::collection::vec(name(), 1..4).prop_map(|names| names.join("/"));
    let tail = prop_oneof![9 => Just(""), 1 => Just("/")];
    (joined, tail).prop_map(|(path, tail)| {
        // Stay inside the directory under test on the host.
        let mut depth = 0i32;
        let mut kept = Vec::new();
        for part in path.split('/') {
            match part {
                ".." if depth == 0 => continue,
                ".." => depth -= 1,
                "." | "" => {}
                _ => depth += 1,
            }
            kept.push(part);
        }
        let path = kept.join("/");
        let path = path.trim_start_matches('/');
        if path.is_empty() {
            String::from("a")
        } else {
            format!("{path}{tail}")
        }
    })
}

fn target() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a", "b", "c/d", "a/", "b/c", "./d", "missing", "a/b/c",
    ])
    .prop_map(String::from)
}

fn op() -> impl Strategy<Value = Op> {
    let offset = prop_oneof![Just(0), Just(10), Just(4096), 0u64..20_000, Just(1_500_000)];
    let len = prop_oneof![Just(0usize), Just(1), Just(4096), 0usize..10_000];
    let kind = prop::sample::select(vec![
        RenameKind::Replace,
        RenameKind::Replace,
        RenameKind::NoReplace,
        RenameKind::Exchange,
    ]);
    let flags = prop::sample::select(vec![
        abi::O_RDONLY,
        abi::O_RDWR,
        abi::O_WRONLY | abi::O_CREAT,
        abi::O_WRONLY | abi::O_CREAT | abi::O_EXCL,
        abi::O_WRONLY | abi::O_CREAT | abi::O_TRUNC,
        abi::O_RDONLY | abi::O_DIRECTORY,
        abi::O_RDONLY | abi::O_NOFOLLOW,
        abi::O_RDWR | abi::O_CREAT | abi::O_NOFOLLOW,
        abi::O_PATH,
        abi::O_PATH | abi::O_NOFOLLOW,
    ]);
    let modes = prop::sample::select(vec![0, 1, 3]);
    prop_oneof![
        4 => path().prop_map(Op::Mkdir),
        2 => path().prop_map(Op::Rmdir),
        2 => path().prop_map(Op::Unlink),
        2 => (target(), path()).prop_map(|(t, p)| Op::Symlink(t, p)),
        2 => (path(), path()).prop_map(|(a, b)| Op::Link(a, b)),
        5 => (path(), path(), kind).prop_map(|(a, b, k)| Op::Rename(a, b, k)),
        6 => (path(), flags).prop_map(|(p, f)| Op::Open(p, f)),
        3 => (path(), offset.clone(), len.clone()).prop_map(|(p, o, l)| Op::Write(p, o, l)),
        1 => (path(), len.clone()).prop_map(|(p, l)| Op::Append(p, l)),
        2 => (path(), offset.clone(), len.clone()).prop_map(|(p, o, l)| Op::Read(p, o, l)),
        1 => (path(), offset.clone()).prop_map(|(p, o)| Op::Truncate(p, o)),
        1 => (path(), modes, offset.clone(), len.prop_map(|l| l as u64 + 1))
            .prop_map(|(p, m, o, l)| Op::Allocate(p, m, o, l)),
        1 => (path(), offset, any::<bool>()).prop_map(|(p, o, d)| Op::Seek(p, o, d)),
        3 => (path(), any::<bool>()).prop_map(|(p, f)| Op::Stat(p, f)),
        1 => path().prop_map(Op::ReadLink),
        2 => path().prop_map(Op::List),
        1 => (path(), prop::sample::select(vec![0o600u32, 0o755, 0o644]))
            .prop_map(|(p, m)| Op::Chmod(p, m)),
    ]
}

/// The host's own tmpfs where there is one, since that is what is compared with.
fn scratch() -> tempfile::TempDir {
    match tempfile::tempdir_in("/dev/shm") {
        Ok(dir) => dir,
        Err(_) => tempfile::tempdir().unwrap(),
    }
}

fn opened(path: &std::path::Path) -> OwnedFd {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::open(path, flags, Mode::empty()).unwrap()
}

fn mode_of(dir: &tempfile::TempDir) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    dir.path().metadata().unwrap().permissions().mode() & 0o7777
}

fn caller(dir: &tempfile::TempDir) -> Credentials {
    use std::os::unix::fs::MetadataExt;
    let meta = dir.path().metadata().unwrap();
    Credentials {
        uid: meta.uid(),
        gid: meta.gid(),
        groups: Vec::new(),
        privileged: meta.uid() == 0,
    }
}

/// Every file there is, with what can be seen of it.
fn audit(run: &dyn Fn(&Op) -> Outcome) -> Vec<(String, Outcome)> {
    let mut seen = Vec::new();
    let mut stack = vec![String::from(".")];
    while let Some(path) = stack.pop() {
        let list = run(&Op::List(path.clone()));
        if let Outcome::Names(names) = &list {
            for (name, kind) in names {
                let below = format!("{path}/{name}");
                match kind {
                    4 if name != "." && name != ".." => stack.push(below.clone()),
                    8 => seen.push((below.clone(), run(&Op::Read(below.clone(), 0, 2_000_000)))),
                    10 => seen.push((below.clone(), run(&Op::ReadLink(below.clone())))),
                    _ => {}
                }
                if name != ".." {
                    seen.push((below.clone(), run(&Op::Stat(below, false))));
                }
            }
        }
        seen.push((path, list));
    }
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    seen
}

fn compare(root: &OwnedFd, ours: &Ours, ops: &[Op]) {
    for (index, op) in ops.iter().enumerate() {
        let (theirs, mine) = (host(root, op), ours.run(op));
        assert_eq!(
            mine,
            theirs,
            "ours against the host's: {op:?} after {:?}",
            &ops[..index]
        );
    }
    assert_eq!(
        audit(&|op| ours.run(op)),
        audit(&|op| host(root, op)),
        "{ops:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn tmpfs_behaves_as_the_hosts(ops in prop::collection::vec(op(), 1..60)) {
        let dir = scratch();
        let who = caller(&dir);
        let root = RootAttr { mode: mode_of(&dir), uid: who.uid, gid: who.gid };
        let fs = TmpFs::new(Budget::new(LIMITS), root).unwrap();
        compare(&opened(dir.path()), &Ours::new(fs, who), &ops);
    }

    /// A tree made by the first operations is a read-only layer for the others; a twin of it is
    /// what the host changes.
    #[test]
    fn an_overlay_behaves_as_one_file_system(
        before in prop::collection::vec(op(), 1..40),
        ops in prop::collection::vec(op(), 1..40),
    ) {
        let (layer, twin) = (scratch(), scratch());
        for dir in [&layer, &twin] {
            let root = opened(dir.path());
            for op in &before {
                host(&root, op);
            }
        }
        let untouched = audit(&|op| host(&opened(layer.path()), op));
        let image = HostTree::whole(layer.path()).unwrap();
        let fs = TmpFs::over(&[image.root()], Budget::new(LIMITS)).unwrap();
        compare(&opened(twin.path()), &Ours::new(fs, caller(&layer)), &ops);
        prop_assert_eq!(audit(&|op| host(&opened(layer.path()), op)), untouched);
    }
}
