//! Who may do what: every operation beside the host's, as ordinary users with any ids, groups and modes.
//!
//! The host answers a thread that took on the caller's ids (credentials(7)), which only root may; elsewhere nothing is compared.
#![expect(clippy::print_stderr, reason = "says why nothing was compared")]

use std::os::fd::OwnedFd;
use std::sync::Arc;

use base_abi::general::{O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_RDWR, O_WRONLY};
use kernel_fs::{Budget, BudgetLimits, RootAttr, TmpFs};
use kernel_vfs::{
    Access, At, Credentials, Errno, FsContext, LastLink, MountFlags, MountTable, OpenHow,
    RenameMode, SetTime, Vfs,
};
use proptest::prelude::*;
use rustix::fs::{self as host, AtFlags, Gid, Mode, OFlags, Timestamps, Uid};
use rustix::fs::{UTIME_NOW, UTIME_OMIT};

/// Ids that nobody has.
const FIRST_ID: u32 = 61_001;

#[derive(Clone, Copy, Debug)]
struct Owned {
    uid: u32,
    gid: u32,
    mode: u32,
}

#[derive(Clone, Debug)]
struct Case {
    directory: Owned,
    file: Owned,
    other: Owned,
    who: Credentials,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Open(u32),
    List,
    Create,
    Mkdir,
    Symlink,
    Unlink,
    Rename,
    Replace,
    Link,
    Chmod(u32),
    ChownGroup,
    Truncate,
    TouchNow,
    TouchThen,
    Access(u32),
    Search,
}

const OPS: [Op; 21] = [
    Op::Open(O_RDONLY),
    Op::Open(O_WRONLY),
    Op::Open(O_RDWR),
    Op::List,
    Op::Create,
    Op::Mkdir,
    Op::Symlink,
    Op::Unlink,
    Op::Rename,
    Op::Replace,
    Op::Link,
    Op::Chmod(0o600),
    Op::Chmod(0o2711),
    Op::ChownGroup,
    Op::Truncate,
    Op::TouchNow,
    Op::TouchThen,
    Op::Access(4),
    Op::Access(2),
    Op::Access(1),
    Op::Search,
];

const SECOND: i64 = 1_000_000;

/// One operation as one user, and what became of it: nothing, or the error number.
type Answer = Result<(), i32>;

fn host_setup(case: &Case) -> (tempfile::TempDir, OwnedFd) {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let dir = dir.unwrap();
    let open = |path: &std::path::Path| {
        host::open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
    };
    host::chmod(dir.path(), Mode::from_raw_mode(0o755)).unwrap();
    let root = open(dir.path());
    host::mkdirat(&root, "d", Mode::from_raw_mode(0o755)).unwrap();
    for (name, owned) in [("d/f", case.file), ("d/h", case.other)] {
        std::fs::write(dir.path().join(name), "text").unwrap();
        own(&root, name, owned);
    }
    own(&root, "d", case.directory);
    (dir, root)
}

fn own(root: &OwnedFd, name: &str, owned: Owned) {
    let (uid, gid) = (Uid::from_raw(owned.uid), Gid::from_raw(owned.gid));
    host::chownat(root, name, Some(uid), Some(gid), AtFlags::empty()).unwrap();
    let mode = Mode::from_raw_mode(owned.mode);
    host::chmodat(root, name, mode, AtFlags::empty()).unwrap();
}

fn host_answer(case: &Case, op: Op) -> Answer {
    let (_dir, root) = host_setup(case);
    let who = case.who.clone();
    let thread = std::thread::spawn(move || {
        let groups: Vec<Gid> = who.groups.iter().map(|g| Gid::from_raw(*g)).collect();
        rustix::thread::set_thread_groups(&groups).unwrap();
        let gid = Gid::from_raw(who.gid);
        rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
        let uid = Uid::from_raw(who.uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        host_try(&root, op, &who).map_err(rustix::io::Errno::raw_os_error)
    });
    thread.join().unwrap()
}

fn host_try(root: &OwnedFd, op: Op, who: &Credentials) -> rustix::io::Result<()> {
    let open = |name: &str, flags: u32| {
        let flags = OFlags::from_bits_retain(flags);
        host::openat(root, name, flags, Mode::from_raw_mode(0o644)).map(drop)
    };
    match op {
        Op::Open(flags) => open("d/f", flags),
        Op::List => open("d", O_RDONLY | O_DIRECTORY),
        Op::Create => open("d/new", O_CREAT | O_EXCL | O_WRONLY),
        Op::Mkdir => host::mkdirat(root, "d/new", Mode::from_raw_mode(0o755)),
        Op::Symlink => host::symlinkat("f", root, "d/new"),
        Op::Unlink => host::unlinkat(root, "d/f", AtFlags::empty()),
        Op::Rename => host::renameat(root, "d/f", root, "d/new"),
        Op::Replace => host::renameat(root, "d/f", root, "d/h"),
        Op::Link => host::linkat(root, "d/f", root, "d/new", AtFlags::empty()),
        Op::Chmod(mode) => {
            let mode = Mode::from_raw_mode(mode);
            host::chmodat(root, "d/f", mode, AtFlags::empty())
        }
        Op::ChownGroup => {
            let gid = Gid::from_raw(who.gid);
            host::chownat(root, "d/f", None, Some(gid), AtFlags::empty())
        }
        Op::Truncate => {
            let file = host::openat(root, "d/f", OFlags::WRONLY, Mode::empty())?;
            host::ftruncate(file, 1)
        }
        Op::TouchNow | Op::TouchThen => {
            let time = |seconds, nanoseconds| host::Timespec {
                tv_sec: seconds,
                tv_nsec: nanoseconds,
            };
            let times = match op {
                Op::TouchNow => Timestamps {
                    last_access: time(0, UTIME_NOW),
                    last_modification: time(0, UTIME_NOW),
                },
                _ => Timestamps {
                    last_access: time(0, UTIME_OMIT),
                    last_modification: time(SECOND, 0),
                },
            };
            host::utimensat(root, "d/f", &times, AtFlags::empty())
        }
        Op::Access(bits) => {
            let access = host::Access::from_bits_retain(bits);
            host::accessat(root, "d/f", access, AtFlags::empty())
        }
        Op::Search => host::statat(root, "d/f", AtFlags::empty()).map(drop),
    }
}

fn our_answer(case: &Case, op: Op) -> Answer {
    let limits = BudgetLimits {
        bytes: 1 << 20,
        inodes: 100,
    };
    let tmp = TmpFs::new(Budget::new(limits), RootAttr::default()).unwrap();
    let table = MountTable::new(Arc::<Vfs>::default(), tmp, "none", MountFlags::empty()).unwrap();
    let fs = FsContext::new(table);
    let root = Credentials {
        privileged: true,
        ..Credentials::default()
    };
    let at = At::cwd(&fs, &root);
    at.mkdir(b"/d", 0o755).unwrap();
    for (name, owned) in [(&b"/d/f"[..], case.file), (b"/d/h", case.other)] {
        let file = at.open(name, how(O_CREAT | O_RDWR)).unwrap();
        file.write(b"text").unwrap();
        our_own(&at, &root, name, owned);
    }
    our_own(&at, &root, b"/d", case.directory);
    our_try(&At::cwd(&fs, &case.who), op, &case.who).map_err(Errno::raw)
}

fn how(flags: u32) -> OpenHow {
    OpenHow {
        flags,
        mode: 0o644,
        ..OpenHow::default()
    }
}

fn our_own(at: &At<'_>, root: &Credentials, name: &[u8], owned: Owned) {
    let path = at.find(name, LastLink::Follow).unwrap();
    path.chown(root, Some(owned.uid), Some(owned.gid)).unwrap();
    path.chmod(root, owned.mode).unwrap();
}

fn our_try(at: &At<'_>, op: Op, who: &Credentials) -> Result<(), Errno> {
    let file = || at.find(b"/d/f", LastLink::Follow);
    match op {
        Op::Open(flags) => at.open(b"/d/f", how(flags)).map(drop),
        Op::List => at.open(b"/d", how(O_RDONLY | O_DIRECTORY)).map(drop),
        Op::Create => at
            .open(b"/d/new", how(O_CREAT | O_EXCL | O_WRONLY))
            .map(drop),
        Op::Mkdir => at.mkdir(b"/d/new", 0o755),
        Op::Symlink => at.symlink(b"f", b"/d/new"),
        Op::Unlink => at.unlink(b"/d/f"),
        Op::Rename => at.rename(b"/d/f", at, b"/d/new", RenameMode::Replace),
        Op::Replace => at.rename(b"/d/f", at, b"/d/h", RenameMode::Replace),
        Op::Link => at.link(&file()?, b"/d/new"),
        Op::Chmod(mode) => file()?.chmod(who, mode),
        Op::ChownGroup => file()?.chown(who, None, Some(who.gid)),
        Op::Truncate => at.open(b"/d/f", how(O_WRONLY))?.truncate(1),
        Op::TouchNow => file()?.set_times(who, Some(SetTime::Now), Some(SetTime::Now)),
        Op::TouchThen => {
            let then = SetTime::At(base_abi::structs::Timespec {
                sec: SECOND,
                ..base_abi::structs::Timespec::default()
            });
            file()?.set_times(who, None, Some(then))
        }
        Op::Access(bits) => file()?.access(who, Access::from_bits_retain(bits)),
        Op::Search => file().map(drop),
    }
}

fn id() -> impl Strategy<Value = u32> {
    FIRST_ID..FIRST_ID + 3
}

fn owned(modes: impl Strategy<Value = u32>) -> impl Strategy<Value = Owned> {
    (id(), id(), modes).prop_map(|(uid, gid, mode)| Owned { uid, gid, mode })
}

fn case() -> impl Strategy<Value = Case> {
    // Of a directory also the sticky and the set-group-id bit, which change who may remove and whose a new file is.
    let of_directories = (0u32..0o1000, prop::sample::select(vec![0, 0o1000, 0o2000]))
        .prop_map(|(mode, bits)| mode | bits);
    let caller = (id(), id(), prop::collection::vec(id(), 0..2));
    (
        owned(of_directories),
        owned(0u32..0o1000),
        owned(0u32..0o1000),
        caller,
    )
        .prop_map(|(directory, file, other, (uid, gid, groups))| Case {
            directory,
            file,
            other,
            who: Credentials {
                uid,
                gid,
                groups,
                privileged: false,
            },
        })
}

/// Whether the host asks who owns a file that is linked to, which this kernel does not (proc_sys_fs(5)).
fn host_protects_links() -> bool {
    std::fs::read_to_string("/proc/sys/fs/protected_hardlinks").is_ok_and(|v| v.trim() == "1")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_operation_is_allowed_and_refused_as_by_the_host(case in case()) {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can take on other ids");
            return Ok(());
        }
        for op in OPS {
            if matches!(op, Op::Link) && host_protects_links() {
                continue;
            }
            prop_assert_eq!(our_answer(&case, op), host_answer(&case, op), "{:?}", op);
        }
    }
}
