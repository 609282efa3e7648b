//! Descriptor tables and advisory locks over real files.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base_abi::general::{O_CREAT, O_RDWR};
use kernel_fs::{Budget, BudgetLimits, RootAttr, TmpFs};
use kernel_vfs::{
    At, Credentials, Description, Errno, Events, FdFlags, FdTable, FileLocks, FlockKind, FsContext,
    LockKind, LockRange, MountFlags, MountTable, Notify, OpenHow, PollTable, RecordLock, Vfs,
};

const NOFILE: u64 = 1 << 20;

struct Tree {
    fs: FsContext,
    who: Credentials,
}

impl Tree {
    fn new() -> Tree {
        let budget = Budget::new(BudgetLimits {
            bytes: 1 << 20,
            inodes: 1000,
        });
        let tmp = TmpFs::new(budget, RootAttr::default()).unwrap();
        let table =
            MountTable::new(Arc::<Vfs>::default(), tmp, "none", MountFlags::empty()).unwrap();
        Tree {
            fs: FsContext::new(table),
            who: Credentials {
                privileged: true,
                ..Credentials::default()
            },
        }
    }

    fn open(&self, path: &str) -> Arc<Description> {
        let how = OpenHow {
            flags: O_RDWR | O_CREAT,
            mode: 0o644,
            ..OpenHow::default()
        };
        At::cwd(&self.fs, &self.who)
            .open(path.as_bytes(), how)
            .unwrap()
    }

    fn locks(&self) -> Arc<FileLocks> {
        Arc::clone(&self.fs.table().vfs().locks)
    }
}

const NONE: FdFlags = FdFlags::empty();

#[test]
fn a_reserved_number_is_nobodys_until_it_is_installed_or_given_back() {
    let tree = Tree::new();
    let file = || tree.open("/f");
    let table = Arc::new(FdTable::new());
    assert_eq!(table.insert(file(), NONE, NOFILE), Ok(0));
    let reserved = table.reserve(NOFILE).unwrap();
    assert_eq!(reserved.fd(), 1);
    assert_eq!(table.insert(file(), NONE, NOFILE), Ok(2));
    // To everybody else there is nothing behind it.
    assert_eq!(table.get(1).err(), Some(Errno::EBADF));
    assert_eq!(table.close(1), Err(Errno::EBADF));
    assert_eq!(
        table.insert_at(1, file(), NONE, NOFILE).unwrap_err(),
        Errno::EBUSY
    );
    table.close_range(1, 1);
    assert_eq!(table.len(), 2);
    assert_eq!(table.next(1).map(|(fd, ..)| fd), Some(2));
    // A copy knows nothing of it.
    assert_eq!(table.fork().insert(file(), NONE, NOFILE), Ok(1));
    drop(reserved);
    assert_eq!(table.insert(file(), NONE, NOFILE), Ok(1));
    table.close(0).unwrap();
    let reserved = table.reserve(NOFILE).unwrap();
    assert_eq!(table.insert(file(), NONE, NOFILE), Ok(3));
    assert_eq!(reserved.install(file(), FdFlags::CLOEXEC), 0);
    assert_eq!(table.get_with_flags(0).unwrap().1, FdFlags::CLOEXEC);
    assert_eq!(table.len(), 4);
    assert_eq!(table.reserve(4).unwrap_err(), Errno::EMFILE);
    assert_eq!(table.reserve(5).unwrap().fd(), 4);
}

#[test]
fn the_lowest_free_number_is_given() {
    let tree = Tree::new();
    let file = tree.open("/f");
    let table = FdTable::new();
    let add = |lowest| table.insert_from(Arc::clone(&file), NONE, lowest, NOFILE);
    assert_eq!((add(0), add(0), add(0)), (Ok(0), Ok(1), Ok(2)));
    table.close(1).unwrap();
    assert_eq!(add(0), Ok(1));
    assert_eq!(add(100), Ok(100));
    assert_eq!(add(100), Ok(101));
    assert_eq!(add(0), Ok(3));
    assert_eq!(table.close(50), Err(Errno::EBADF));
    assert_eq!(table.close(-1), Err(Errno::EBADF));
    let full = table.insert_from(Arc::clone(&file), NONE, 0, 4);
    assert_eq!(full, Err(Errno::EMFILE));
    let beyond = table.insert_from(Arc::clone(&file), NONE, 4, 4);
    assert_eq!(beyond, Err(Errno::EINVAL));
    let at = table.insert_at(7, Arc::clone(&file), FdFlags::CLOEXEC, NOFILE);
    assert_eq!(at, Ok(()));
    let copy = table.fork();
    copy.close_for_exec();
    assert!(copy.get(7).is_err() && table.get(7).is_ok());
    copy.close_range(1, 100);
    let mut left = Vec::new();
    let mut from = 0;
    while let Some((fd, _, _)) = copy.next(from) {
        left.push(fd);
        from = fd + 1;
    }
    assert_eq!(left, [0, 101]);
}

#[test]
fn a_hundred_thousand_descriptors_are_no_burden() {
    let tree = Tree::new();
    let file = tree.open("/f");
    let table = FdTable::new();
    for fd in 0..100_000 {
        assert_eq!(table.insert(Arc::clone(&file), NONE, NOFILE), Ok(fd));
    }
    for fd in (0..100_000).rev() {
        table.close(fd).unwrap();
        assert_eq!(table.insert(Arc::clone(&file), NONE, NOFILE), Ok(fd));
        table.close(fd).unwrap();
    }
    assert!(table.is_empty());
}

#[test]
fn the_last_descriptor_ends_the_description() {
    let tree = Tree::new();
    let table = FdTable::new();
    let fd = table.insert(tree.open("/f"), NONE, NOFILE).unwrap();
    let weak = Arc::downgrade(&table.get(fd).unwrap());
    let other = table.fork();
    table.close(fd).unwrap();
    assert!(weak.upgrade().is_some());
    drop(other);
    assert!(weak.upgrade().is_none());
}

#[test]
fn flocks_belong_to_the_description() {
    let tree = Tree::new();
    let locks = tree.locks();
    let (a, b) = (tree.open("/f"), tree.open("/f"));
    locks.flock(&a, FlockKind::Shared).unwrap();
    locks.flock(&b, FlockKind::Shared).unwrap();
    assert_eq!(locks.flock(&a, FlockKind::Exclusive), Err(Errno::EAGAIN));
    // As on Linux the failed change has given up what was held.
    locks.flock(&b, FlockKind::Exclusive).unwrap();
    assert_eq!(locks.flock(&a, FlockKind::Shared), Err(Errno::EAGAIN));
    let dup = Arc::clone(&b);
    drop(b);
    assert_eq!(locks.flock(&a, FlockKind::Shared), Err(Errno::EAGAIN));
    drop(dup);
    locks.flock(&a, FlockKind::Exclusive).unwrap();
}

fn record(table: &FdTable, pid: i32, start: i64, len: i64, kind: LockKind) -> RecordLock {
    RecordLock {
        owner: table.lock_owner(),
        pid,
        range: LockRange::new(start, len).unwrap(),
        kind,
    }
}

#[test]
fn record_locks_split_join_and_go_with_any_descriptor() {
    let tree = Tree::new();
    let locks = tree.locks();
    let (one, two) = (FdTable::new(), FdTable::new());
    one.owns_locks_in(&locks);
    let file = tree.open("/f");
    let id = file.inode_id().unwrap();
    let whole = record(&one, 1, 0, 0, LockKind::Write);
    locks.lock(id, whole, None).unwrap();
    locks
        .unlock(id, one.lock_owner(), LockRange::new(10, 10).unwrap())
        .unwrap();
    assert_eq!(locks.list().len(), 2);
    locks
        .lock(id, record(&two, 2, 10, 10, LockKind::Write), None)
        .unwrap();
    let blocked = record(&two, 2, 15, 10, LockKind::Read);
    assert_eq!(locks.lock(id, blocked, None), Err(Errno::EAGAIN));
    let found = locks.conflict(id, &blocked).unwrap();
    assert_eq!(
        (found.pid, found.range.start, found.range.len()),
        (1, 20, 0)
    );
    // Closing any descriptor of the file ends the process's locks on it.
    let fd = one.insert(tree.open("/f"), NONE, NOFILE).unwrap();
    one.close(fd).unwrap();
    locks.lock(id, blocked, None).unwrap();
    locks.release(id, two.lock_owner());
    assert!(locks.list().is_empty());
}

#[test]
fn waiting_in_a_circle_is_a_deadlock() {
    let tree = Tree::new();
    let locks = tree.locks();
    let (one, two) = (FdTable::new(), FdTable::new());
    let id = tree.open("/f").inode_id().unwrap();
    let lock = |table: &FdTable, at, waiter| {
        locks.lock(id, record(table, 0, at, 1, LockKind::Write), waiter)
    };
    lock(&one, 0, None).unwrap();
    lock(&two, 1, None).unwrap();
    assert_eq!(lock(&one, 1, Some(1)), Err(Errno::EAGAIN));
    assert_eq!(lock(&two, 0, Some(2)), Err(Errno::EDEADLK));
    // The one who waits is told when it is free.
    let counter = Arc::new(Counter::default());
    let notify: Arc<dyn Notify> = counter.clone();
    let mut table = PollTable::waiting(notify, Events::all());
    locks.poll(id, &mut table);
    let held = table.into_registrations();
    locks
        .unlock(id, two.lock_owner(), LockRange::new(1, 1).unwrap())
        .unwrap();
    assert_eq!(counter.0.load(Ordering::Relaxed), 1);
    drop(held);
    lock(&one, 1, Some(1)).unwrap();
}

#[derive(Default)]
struct Counter(AtomicUsize);

impl Notify for Counter {
    fn notify(&self, _events: Events) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn ranges_are_as_fcntl_says() {
    let range = |start, len| LockRange::new(start, len).map(|r| (r.start, r.last));
    assert_eq!(range(10, 5), Ok((10, 14)));
    assert_eq!(range(10, -5), Ok((5, 9)));
    assert_eq!(range(10, 0), Ok((10, LockRange::END)));
    assert_eq!(range(3, -5), Err(Errno::EINVAL));
    assert_eq!(range(0, -1), Err(Errno::EINVAL));
    assert_eq!(range(i64::MAX, 2), Err(Errno::EOVERFLOW));
}
