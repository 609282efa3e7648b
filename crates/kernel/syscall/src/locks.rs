//! Advisory locks: flock(2) and the record locks of fcntl(2).

use std::sync::Arc;

use base_abi::Errno;
use base_abi::general as g;
use kernel_core::task::OnSignal;
use kernel_vfs::{
    Description, Events, Fd, FdTable, FlockKind, LockKind, LockOwner, LockRange, RecordLock,
    UserMemory,
};

use crate::call::{Args, Stop, Sys, SysResult};
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[Entry::full(73, "flock", "dx", flock)];

/// `struct flock`: type, whence, start, length, pid.
pub(crate) fn record_lock(
    sys: &mut Sys<'_>,
    (files, fd): (&Arc<FdTable>, Fd),
    description: &Arc<Description>,
    command: u32,
    addr: u64,
) -> SysResult {
    let mut raw = [0u8; 32];
    sys.mm().read_bytes(addr, &mut raw)?;
    let half = |at: usize| i16::from_le_bytes([raw[at], raw[at + 1]]);
    let word = |at: usize| {
        let mut bytes = [0u8; 8];
        bytes.copy_from_slice(&raw[at..at + 8]);
        i64::from_le_bytes(bytes)
    };
    let of_description = matches!(command, g::F_OFD_GETLK | g::F_OFD_SETLK | g::F_OFD_SETLKW);
    if of_description && raw[24..28] != [0; 4] {
        return Err(Errno::EINVAL.into());
    }
    let origin = match half(2) {
        0 => 0,
        1 => description.offset().cast_signed(),
        2 => description.file().size()?.cast_signed(),
        _ => return Err(Errno::EINVAL.into()),
    };
    let start = origin.checked_add(word(8)).ok_or(Errno::EOVERFLOW)?;
    let range = LockRange::new(start, word(16))?;
    let inode = description.inode_id()?;
    let locks = Arc::clone(&sys.system.mounts.vfs().locks);
    let owner = if of_description {
        LockOwner::Description(description.id())
    } else {
        files.lock_owner()
    };
    let kind = match half(0) {
        0 => Some(LockKind::Read),
        1 => Some(LockKind::Write),
        2 => None,
        _ => return Err(Errno::EINVAL.into()),
    };
    let pid = if of_description { -1 } else { sys.task.pid() };
    if matches!(command, g::F_GETLK | g::F_OFD_GETLK) {
        let kind = kind.ok_or(Errno::EINVAL)?;
        let wanted = RecordLock {
            owner,
            pid,
            range,
            kind,
        };
        tell(&mut raw, locks.conflict(inode, &wanted));
        sys.mm().write_bytes(addr, &raw)?;
        return Ok(0);
    }
    let Some(kind) = kind else {
        locks.unlock(inode, owner, range)?;
        return Ok(0);
    };
    let allowed = match kind {
        LockKind::Read => description.access().readable(),
        LockKind::Write => description.access().writable(),
    };
    if !allowed {
        return Err(Errno::EBADF.into());
    }
    let waits = matches!(command, g::F_SETLKW | g::F_OFD_SETLKW);
    files.owns_locks_in(&locks);
    let waiter = u64::from(sys.task.tid().cast_unsigned());
    let take = || {
        if of_description {
            locks.lock_description(description, range, kind)
        } else {
            locks.lock(
                inode,
                RecordLock {
                    owner,
                    pid,
                    range,
                    kind,
                },
                waits.then_some(waiter),
            )
        }
    };
    sys.restart.files.keep(fd, description);
    wait_for_lock(sys, waits, |table| locks.poll(inode, table), take)?;
    let still = || {
        files
            .get(fd)
            .is_ok_and(|now| Arc::ptr_eq(&now, description))
    };
    if !of_description && !still() {
        // Closing the number released the locks of the process before this one was there (fcntl_setlk of Linux).
        locks.unlock(inode, owner, range)?;
        return Err(Errno::EBADF.into());
    }
    Ok(0)
}

/// What `F_GETLK` answers, in the `struct flock` that asked.
fn tell(raw: &mut [u8; 32], found: Option<RecordLock>) {
    let Some(lock) = found else {
        raw[0..2].copy_from_slice(&UNLOCKED.to_le_bytes());
        return;
    };
    let kind: i16 = if lock.kind == LockKind::Read { 0 } else { 1 };
    raw[0..2].copy_from_slice(&kind.to_le_bytes());
    raw[2..4].copy_from_slice(&0i16.to_le_bytes());
    raw[8..16].copy_from_slice(&lock.range.start.to_le_bytes());
    raw[16..24].copy_from_slice(&lock.range.len().to_le_bytes());
    raw[24..28].copy_from_slice(&lock.pid.to_le_bytes());
}

/// `F_UNLCK` as it stands in a `struct flock`.
const UNLOCKED: i16 = 2;

fn wait_for_lock(
    sys: &mut Sys<'_>,
    waits: bool,
    register: impl Fn(&mut kernel_vfs::PollTable),
    take: impl Fn() -> Result<(), Errno>,
) -> SysResult {
    match take() {
        Err(Errno::EAGAIN) if waits => {}
        other => return other.map(|()| 0).map_err(Stop::Errno),
    }
    let mut table = sys.waiting_table(Events::all());
    register(&mut table);
    match take() {
        Err(Errno::EAGAIN) => Err(sys.block(table, OnSignal::Restart)),
        other => other.map(|()| 0).map_err(Stop::Errno),
    }
}

fn flock(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const NONBLOCK: u32 = 4;
    let kind = match args.u32(1) & !NONBLOCK {
        1 => Some(FlockKind::Shared),
        2 => Some(FlockKind::Exclusive),
        8 => None,
        _ => return Err(Errno::EINVAL.into()),
    };
    let description = sys.file(args.i32(0))?;
    let locks = Arc::clone(&sys.system.mounts.vfs().locks);
    let Some(kind) = kind else {
        locks.funlock(&description)?;
        return Ok(0);
    };
    let inode = description.inode_id()?;
    let waits = args.u32(1) & NONBLOCK == 0;
    wait_for_lock(
        sys,
        waits,
        |table| locks.poll(inode, table),
        || locks.flock(&description, kind),
    )
}
