//! Calls on descriptors: reading, writing, duplicating, control, locks, directories.

use std::sync::Arc;

use base_abi::Errno;
use base_abi::general as g;
use base_abi::structs::Iovec;
use kernel_core::signal::{Signal, siginfo};
use kernel_core::task::{OnSignal, Resource};
use kernel_files::pipe::{Pipe, PipeEnd};
use kernel_net::SocketFile;
use kernel_vfs::{
    Description, Events, FdFlags, FdTable, FileType, FlockKind, LockKind, LockOwner, LockRange,
    Path, RecordLock, StatusFlags, UserMemory, Whence,
};
use zerocopy::IntoBytes;

use crate::call::{Args, Stop, Sys, SysResult};
use crate::paths::{self, fd_value};
use crate::table::Entry;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(0, "read", "dpu", read),
    Entry::full(1, "write", "dpu", write),
    Entry::full(17, "pread64", "dpud", pread64),
    Entry::full(18, "pwrite64", "dpud", pwrite64),
    Entry::full(19, "readv", "dpd", readv),
    Entry::full(20, "writev", "dpd", writev),
    Entry::full(295, "preadv", "dpdd", preadv),
    Entry::full(296, "pwritev", "dpdd", pwritev),
    Entry::full(327, "preadv2", "dpddxx", preadv),
    Entry::full(328, "pwritev2", "dpddxx", pwritev),
    Entry::full(8, "lseek", "ddd", lseek),
    Entry::full(3, "close", "d", close),
    Entry::full(436, "close_range", "uux", close_range),
    Entry::full(5, "fstat", "dp", fstat),
    Entry::full(32, "dup", "d", dup),
    Entry::full(33, "dup2", "dd", dup2),
    Entry::full(292, "dup3", "ddx", dup3),
    Entry::partial(72, "fcntl", "ddx", fcntl, "no leases, no F_SETSIG"),
    Entry::full(73, "flock", "dx", flock),
    Entry::full(78, "getdents", "dpu", getdents),
    Entry::full(217, "getdents64", "dpu", getdents64),
    Entry::full(77, "ftruncate", "du", ftruncate),
    Entry::full(285, "fallocate", "dxuu", fallocate),
    Entry::full(74, "fsync", "d", fsync),
    Entry::full(75, "fdatasync", "d", fsync),
    Entry::full(162, "sync", "", |_, _| Ok(0)),
    Entry::full(306, "syncfs", "d", fsync),
    Entry::full(277, "sync_file_range", "duux", fsync),
    Entry::full(91, "fchmod", "do", fchmod),
    Entry::full(93, "fchown", "ddd", fchown),
    Entry::full(138, "fstatfs", "dp", fstatfs),
    Entry::full(190, "fsetxattr", "dspux", |s, a| {
        with_place(s, a, paths::set_xattr_of)
    }),
    Entry::full(193, "fgetxattr", "dspu", |s, a| {
        with_place(s, a, paths::get_xattr_of)
    }),
    Entry::full(196, "flistxattr", "dpu", |s, a| {
        with_place(s, a, paths::list_xattr_of)
    }),
    Entry::full(199, "fremovexattr", "ds", |s, a| {
        with_place(s, a, paths::remove_xattr_of)
    }),
    Entry::full(40, "sendfile", "ddpu", sendfile),
    Entry::full(326, "copy_file_range", "dpdpux", copy_file_range),
    Entry::partial(275, "splice", "dpdpux", splice, "copies"),
    Entry::partial(276, "tee", "ddux", tee, "copies"),
    Entry::partial(278, "vmsplice", "dpux", vmsplice, "copies"),
    Entry::full(221, "fadvise64", "duud", |s, a| {
        s.files().get_file(a.i32(0)).map(|_| 0).map_err(Stop::Errno)
    }),
    Entry::full(187, "readahead", "duu", |s, a| {
        s.files().get_file(a.i32(0)).map(|_| 0).map_err(Stop::Errno)
    }),
    Entry::refused(
        303,
        "name_to_handle_at",
        "dsppx",
        |_, _| Err(Errno::EOPNOTSUPP.into()),
        "no file handles",
    ),
    Entry::refused(
        304,
        "open_by_handle_at",
        "dpx",
        |_, _| Err(Errno::EPERM.into()),
        "no file handles",
    ),
];

/// Most bytes moved at a time: bounds the kernel's own memory.
const CHUNK: usize = 256 << 10;
/// Linux's own bound of one transfer.
const TRANSFER_MAX: usize = 0x7fff_f000;

fn read(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let description = sys.files().get_file(args.i32(0))?;
    if let Ok(socket) = SocketFile::of(&description) {
        let part = Iovec {
            base: args.u64(1),
            len: args.u64(2),
        };
        return crate::socket_io::read(sys, &description, socket, &[part]);
    }
    read_into(sys, &description, args.u64(1), args.usize(2), None)
}

fn pread64(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let description = sys.files().get_file(args.i32(0))?;
    let offset = u64::try_from(args.i64(3)).map_err(|_| Errno::EINVAL)?;
    read_into(sys, &description, args.u64(1), args.usize(2), Some(offset))
}

/// Reads chunk by chunk; only the first may wait, later ones end the transfer.
fn read_into(
    sys: &mut Sys<'_>,
    description: &Description,
    addr: u64,
    len: usize,
    at: Option<u64>,
) -> SysResult {
    let len = len.min(TRANSFER_MAX);
    let mut stack = [0u8; 4096];
    let mut heap = if len > stack.len() {
        vec![0u8; len.min(CHUNK)]
    } else {
        Vec::new()
    };
    let mut done = 0usize;
    loop {
        let room: &mut [u8] = if heap.is_empty() {
            &mut stack
        } else {
            &mut heap
        };
        let want = (len - done).min(room.len());
        let buffer = &mut room[..want];
        let offset = at.map(|o| o.saturating_add(done as u64));
        let mut attempt = |_: &mut Sys<'_>| match offset {
            Some(offset) => description.read_at(offset, buffer),
            None => description.read(buffer),
        };
        let got = if done == 0 {
            sys.blocking(
                description,
                Events::READABLE,
                OnSignal::Restart,
                &mut attempt,
            )
        } else {
            attempt(sys).map_err(Stop::Errno)
        };
        let n = match got {
            Ok(n) => n,
            Err(_) if done > 0 => return Ok(done as u64),
            Err(stop) => return Err(stop),
        };
        if let Err(errno) = sys
            .mm()
            .write_bytes(addr.wrapping_add(done as u64), &room[..n])
        {
            return if done > 0 {
                Ok(done as u64)
            } else {
                Err(errno.into())
            };
        }
        done += n;
        // A short count ends it: streams give what they have.
        if n < want || done >= len || !description.file().seekable() {
            return Ok(done as u64);
        }
    }
}

fn write(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let description = sys.files().get_file(args.i32(0))?;
    let (addr, len) = (args.u64(1), args.usize(2));
    if let Ok(socket) = SocketFile::of(&description) {
        let part = Iovec {
            base: addr,
            len: args.u64(2),
        };
        return crate::socket_io::write(sys, &description, socket, &[part]);
    }
    write_from(sys, &description, len, None, |sys, done, buffer| {
        sys.mm().read_bytes(addr.wrapping_add(done as u64), buffer)
    })
}

fn pwrite64(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let description = sys.files().get_file(args.i32(0))?;
    let offset = u64::try_from(args.i64(3)).map_err(|_| Errno::EINVAL)?;
    let (addr, len) = (args.u64(1), args.usize(2));
    write_from(sys, &description, len, Some(offset), |sys, done, buffer| {
        sys.mm().read_bytes(addr.wrapping_add(done as u64), buffer)
    })
}

/// Writes chunk by chunk. A blocking descriptor takes all before the call returns; what went
/// already is remembered over sleeps.
fn write_from(
    sys: &mut Sys<'_>,
    description: &Description,
    len: usize,
    at: Option<u64>,
    mut fetch: impl FnMut(&mut Sys<'_>, usize, &mut [u8]) -> Result<(), Errno>,
) -> SysResult {
    let len = len.min(TRANSFER_MAX);
    let mut done = usize::try_from(sys.restart.progress)
        .unwrap_or(usize::MAX)
        .min(len);
    let mut stack = [0u8; 4096];
    let mut heap = if len > stack.len() {
        vec![0u8; len.min(CHUNK)]
    } else {
        Vec::new()
    };
    loop {
        let room: &mut [u8] = if heap.is_empty() {
            &mut stack
        } else {
            &mut heap
        };
        let want = (len - done).min(room.len());
        let chunk = &mut room[..want];
        if let Err(errno) = fetch(sys, done, chunk) {
            return if done > 0 {
                Ok(done as u64)
            } else {
                Err(errno.into())
            };
        }
        if let Err(errno) = within_file_limit(sys, description, at.map(|o| o + done as u64)) {
            return if done > 0 {
                Ok(done as u64)
            } else {
                Err(errno.into())
            };
        }
        let offset = at.map(|o| o.saturating_add(done as u64));
        let written =
            sys.blocking(
                description,
                Events::WRITABLE,
                OnSignal::Restart,
                |_| match offset {
                    Some(offset) => description.write_at(offset, chunk),
                    None => description.write(chunk),
                },
            );
        match written {
            Ok(n) => {
                done += n;
                sys.restart.progress = done as u64;
                if done >= len || n == 0 {
                    return Ok(done as u64);
                }
                if n < want && description.nonblocking() {
                    return Ok(done as u64);
                }
            }
            Err(Stop::Block(mut blocked)) => {
                if done > 0 {
                    blocked.on_signal = OnSignal::Partial;
                }
                return Err(Stop::Block(blocked));
            }
            Err(_) if done > 0 => return Ok(done as u64),
            Err(Stop::Errno(Errno::EPIPE)) => {
                raise_sigpipe(sys);
                return Err(Errno::EPIPE.into());
            }
            Err(stop) => return Err(stop),
        }
    }
}

/// `RLIMIT_FSIZE` (setrlimit(2)): `SIGXFSZ` and `EFBIG` for a write that begins beyond it.
fn within_file_limit(
    sys: &Sys<'_>,
    description: &Description,
    at: Option<u64>,
) -> Result<(), Errno> {
    let limit = sys.process().limit(Resource::Fsize);
    if limit == u64::MAX || !description.file().seekable() {
        return Ok(());
    }
    let start = at.unwrap_or_else(|| description.offset());
    if start < limit {
        return Ok(());
    }
    let _ = sys
        .kernel()
        .send_to_task(sys.task, Signal::XFSZ, siginfo::kernel());
    Err(Errno::EFBIG)
}

/// A write into nothing (pipe(7)).
pub(crate) fn raise_sigpipe(sys: &Sys<'_>) {
    let info = siginfo::user(0, sys.task.pid(), sys.process().creds().uid);
    let _ = sys.kernel().send_to_task(sys.task, Signal::PIPE, info);
}

fn readv(sys: &mut Sys<'_>, args: Args) -> SysResult {
    read_vector(sys, args, None)
}

fn preadv(sys: &mut Sys<'_>, args: Args) -> SysResult {
    read_vector(sys, args, vector_offset(sys, args)?)
}

/// preadv2 and pwritev2 take -1 for "the file offset".
fn vector_offset(sys: &Sys<'_>, args: Args) -> Result<Option<u64>, Errno> {
    let v2 = matches!(sys.nr, 327 | 328);
    if v2 && args.u32(5) & !0x1f != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    match args.i64(3) {
        -1 if v2 => Ok(None),
        offset => u64::try_from(offset).map(Some).map_err(|_| Errno::EINVAL),
    }
}

fn read_vector(sys: &mut Sys<'_>, args: Args, at: Option<u64>) -> SysResult {
    let description = sys.files().get_file(args.i32(0))?;
    let count = usize::try_from(args.i32(2)).map_err(|_| Errno::EINVAL)?;
    let parts = sys.mm().read_iovecs(args.u64(1), count)?;
    if let (Ok(socket), None) = (SocketFile::of(&description), at) {
        return crate::socket_io::read(sys, &description, socket, &parts);
    }
    let mut done = 0u64;
    for part in parts.iter().filter(|p| p.len > 0) {
        let len = usize::try_from(part.len).unwrap_or(usize::MAX);
        let offset = at.map(|o| o.saturating_add(done));
        // Later parts must not wait: what was read counts.
        let got = if done == 0 {
            read_into(sys, &description, part.base, len, offset)
        } else if description.file().seekable()
            || description
                .file()
                .poll(&mut kernel_vfs::PollTable::look())
                .intersects(Events::IN)
        {
            read_into(sys, &description, part.base, len, offset)
        } else {
            break;
        };
        match got {
            Ok(n) => {
                done += n;
                if n < part.len {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(stop) => return Err(stop),
        }
    }
    Ok(done)
}

fn writev(sys: &mut Sys<'_>, args: Args) -> SysResult {
    write_vector(sys, args, None)
}

fn pwritev(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let at = vector_offset(sys, args)?;
    write_vector(sys, args, at)
}

fn write_vector(sys: &mut Sys<'_>, args: Args, at: Option<u64>) -> SysResult {
    let description = sys.files().get_file(args.i32(0))?;
    let count = usize::try_from(args.i32(2)).map_err(|_| Errno::EINVAL)?;
    let parts = sys.mm().read_iovecs(args.u64(1), count)?;
    if let (Ok(socket), None) = (SocketFile::of(&description), at) {
        return crate::socket_io::write(sys, &description, socket, &parts);
    }
    let total: u64 = parts.iter().map(|p| p.len).sum();
    let len = usize::try_from(total).unwrap_or(usize::MAX);
    write_from(sys, &description, len, at, |sys, done, buffer| {
        let mut skip = done as u64;
        let mut filled = 0usize;
        for part in &parts {
            if skip >= part.len {
                skip -= part.len;
                continue;
            }
            let n = usize::try_from(part.len - skip)
                .unwrap_or(usize::MAX)
                .min(buffer.len() - filled);
            sys.mm().read_bytes(
                part.base.wrapping_add(skip),
                &mut buffer[filled..filled + n],
            )?;
            filled += n;
            skip = 0;
            if filled == buffer.len() {
                break;
            }
        }
        Ok(())
    })
}

fn lseek(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let whence = match args.u32(2) {
        0 => Whence::Set,
        1 => Whence::Current,
        2 => Whence::End,
        3 => Whence::Data,
        4 => Whence::Hole,
        _ => return Err(Errno::EINVAL.into()),
    };
    Ok(sys
        .files()
        .get_file(args.i32(0))?
        .seek(args.i64(1), whence)?)
}

fn close(sys: &mut Sys<'_>, args: Args) -> SysResult {
    sys.files().close(args.i32(0))?;
    Ok(0)
}

fn close_range(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const UNSHARE: u32 = 2;
    const CLOEXEC: u32 = 4;
    let (first, last, flags) = (args.u32(0), args.u32(1), args.u32(2));
    if flags & !(UNSHARE | CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL.into());
    }
    if flags & UNSHARE != 0 {
        let copy = sys.files().fork();
        sys.task.replace_files(Arc::new(copy));
    }
    if flags & CLOEXEC != 0 {
        sys.files().set_cloexec_range(first, last);
    } else {
        sys.files().close_range(first, last);
    }
    Ok(0)
}

fn fstat(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let stat = sys.files().get(args.i32(0))?.file().stat()?;
    sys.mm().write_bytes(args.u64(1), stat.as_bytes())?;
    Ok(0)
}

fn dup(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let files = sys.files();
    let description = files.get(args.i32(0))?;
    Ok(fd_value(files.insert(
        description,
        FdFlags::empty(),
        sys.nofile(),
    )?))
}

fn dup2(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.i32(0) == args.i32(1) {
        sys.files().get(args.i32(0))?;
        return Ok(fd_value(args.i32(1)));
    }
    dup_to(sys, args.i32(0), args.i32(1), FdFlags::empty())
}

fn dup3(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u32(2) & !g::O_CLOEXEC != 0 || args.i32(0) == args.i32(1) {
        return Err(Errno::EINVAL.into());
    }
    let flags = if args.u32(2) == 0 {
        FdFlags::empty()
    } else {
        FdFlags::CLOEXEC
    };
    dup_to(sys, args.i32(0), args.i32(1), flags)
}

fn dup_to(sys: &Sys<'_>, from: i32, to: i32, flags: FdFlags) -> SysResult {
    let files = sys.files();
    let description = files.get(from)?;
    files.insert_at(to, description, flags, sys.nofile())?;
    Ok(fd_value(to))
}

fn fcntl(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let files = sys.files();
    let (fd, command, arg) = (args.i32(0), args.u32(1), args.u64(2));
    let (description, flags) = files.get_with_flags(fd)?;
    let limit = sys.nofile();
    let path_only = description.access() == kernel_vfs::AccessMode::Path;
    match command {
        g::F_DUPFD | g::F_DUPFD_CLOEXEC => {
            let lowest = i32::try_from(arg)
                .ok()
                .filter(|n| u64::try_from(*n).is_ok_and(|n| n < limit));
            let close = if command == g::F_DUPFD {
                FdFlags::empty()
            } else {
                FdFlags::CLOEXEC
            };
            Ok(fd_value(files.insert_from(
                description,
                close,
                lowest.ok_or(Errno::EINVAL)?,
                limit,
            )?))
        }
        g::F_GETFD => Ok(u64::from(flags.bits())),
        g::F_SETFD => {
            files.set_flags(fd, FdFlags::from_bits_truncate(args.u32(2)))?;
            Ok(0)
        }
        g::F_GETFL => {
            let access = match description.access() {
                kernel_vfs::AccessMode::Read | kernel_vfs::AccessMode::Path => 0,
                kernel_vfs::AccessMode::Write => 1,
                kernel_vfs::AccessMode::ReadWrite => 2,
            };
            Ok(u64::from(description.flags().bits() | access))
        }
        _ if path_only => Err(Errno::EBADF.into()),
        g::F_SETFL => {
            let settable = StatusFlags::APPEND
                | StatusFlags::NONBLOCK
                | StatusFlags::ASYNC
                | StatusFlags::DIRECT
                | StatusFlags::NOATIME;
            let new = StatusFlags::from_bits_truncate(args.u32(2)) & settable;
            description.set_flags((description.flags() - settable) | new);
            Ok(0)
        }
        g::F_GETLK | g::F_SETLK | g::F_SETLKW | 36..=38 => {
            record_lock(sys, &files, &description, command, arg)
        }
        g::F_GETOWN => Ok(0),
        g::F_SETOWN | 10 | 15 => Ok(0),
        11 => Ok(0),
        1031 | 1032 => {
            let pipe = pipe_of(&description).ok_or(Errno::EBADF)?;
            if command == 1031 {
                return Ok(pipe.set_capacity(u64::from(args.u32(2)))? as u64);
            }
            Ok(pipe.capacity() as u64)
        }
        1033 | 1034 => {
            let memfd = description
                .downcast::<kernel_files::MemFd>()
                .ok_or(Errno::EINVAL)?;
            if command == 1033 {
                memfd.add_seals(args.u32(2))?;
                return Ok(0);
            }
            Ok(u64::from(memfd.seals()?))
        }
        1024 | 1025 => Err(if command == 1025 {
            Stop::from(Errno::EINVAL)
        } else {
            Errno::EAGAIN.into()
        }),
        1026 => Err(Errno::EINVAL.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn pipe_of(description: &Description) -> Option<Arc<Pipe>> {
    description
        .downcast::<PipeEnd>()
        .map(|end| Arc::clone(end.pipe()))
}

/// `struct flock`: type, whence, start, length, pid.
fn record_lock(
    sys: &mut Sys<'_>,
    files: &Arc<FdTable>,
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
    let of_description = command >= 36;
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
    if matches!(command, g::F_GETLK | 36) {
        let kind = kind.ok_or(Errno::EINVAL)?;
        let found = locks.conflict(
            inode,
            &RecordLock {
                owner,
                pid,
                range,
                kind,
            },
        );
        match found {
            None => raw[0..2].copy_from_slice(&2i16.to_le_bytes()),
            Some(lock) => {
                let kind: i16 = if lock.kind == LockKind::Read { 0 } else { 1 };
                raw[0..2].copy_from_slice(&kind.to_le_bytes());
                raw[2..4].copy_from_slice(&0i16.to_le_bytes());
                raw[8..16].copy_from_slice(&lock.range.start.to_le_bytes());
                raw[16..24].copy_from_slice(&lock.range.len().to_le_bytes());
                raw[24..28].copy_from_slice(&lock.pid.to_le_bytes());
            }
        }
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
    let waits = matches!(command, g::F_SETLKW | 38);
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
    wait_for_lock(sys, waits, |table| locks.poll(inode, table), take)
}

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
    let description = sys.files().get_file(args.i32(0))?;
    let locks = Arc::clone(&sys.system.mounts.vfs().locks);
    let kind = match args.u32(1) & !NONBLOCK {
        1 => FlockKind::Shared,
        2 => FlockKind::Exclusive,
        8 => {
            locks.funlock(&description)?;
            return Ok(0);
        }
        _ => return Err(Errno::EINVAL.into()),
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

fn getdents64(sys: &mut Sys<'_>, args: Args) -> SysResult {
    list(sys, args, |name, ino, kind, next| {
        let mut record = Vec::with_capacity(19 + name.len() + 8);
        record.extend_from_slice(&ino.to_le_bytes());
        record.extend_from_slice(&next.to_le_bytes());
        record.extend_from_slice(&[0, 0, kind]);
        record.extend_from_slice(name);
        record.push(0);
        record.resize(record.len().next_multiple_of(8), 0);
        record
    })
}

fn getdents(sys: &mut Sys<'_>, args: Args) -> SysResult {
    list(sys, args, |name, ino, kind, next| {
        let mut record = Vec::with_capacity(18 + name.len() + 10);
        record.extend_from_slice(&ino.to_le_bytes());
        record.extend_from_slice(&next.to_le_bytes());
        record.extend_from_slice(&[0, 0]);
        record.extend_from_slice(name);
        record.push(0);
        record.resize((record.len() + 1).next_multiple_of(8), 0);
        if let Some(last) = record.last_mut() {
            *last = kind;
        }
        record
    })
}

fn list(
    sys: &mut Sys<'_>,
    args: Args,
    encode: impl Fn(&[u8], u64, u8, u64) -> Vec<u8>,
) -> SysResult {
    let description = sys.files().get_file(args.i32(0))?;
    let room = usize::try_from(args.u32(2)).unwrap_or(0).min(CHUNK);
    let mut out = Vec::new();
    let mut full = false;
    description.read_dir(&mut |entry| {
        let mut record = encode(entry.name, entry.ino, entry.file_type as u8, entry.next);
        if out.len() + record.len() > room {
            full = true;
            return false;
        }
        let len = u16::try_from(record.len()).unwrap_or(u16::MAX);
        record[16..18].copy_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&record);
        true
    })?;
    if full && out.is_empty() {
        return Err(Errno::EINVAL.into());
    }
    sys.mm().write_bytes(args.u64(1), &out)?;
    Ok(out.len() as u64)
}

fn ftruncate(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let len = u64::try_from(args.i64(1)).map_err(|_| Errno::EINVAL)?;
    let description = sys.files().get_file(args.i32(0))?;
    if !description.access().writable() {
        return Err(Errno::EINVAL.into());
    }
    within_size_limit(sys, len)?;
    description.truncate(len)?;
    Ok(0)
}

/// `RLIMIT_FSIZE` for a new length: `SIGXFSZ` and `EFBIG`.
pub(crate) fn within_size_limit(sys: &Sys<'_>, len: u64) -> Result<(), Errno> {
    if len <= sys.process().limit(Resource::Fsize) {
        return Ok(());
    }
    let _ = sys
        .kernel()
        .send_to_task(sys.task, Signal::XFSZ, siginfo::kernel());
    Err(Errno::EFBIG)
}

fn fallocate(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let description = sys.files().get_file(args.i32(0))?;
    let offset = u64::try_from(args.i64(2)).map_err(|_| Errno::EINVAL)?;
    let len = u64::try_from(args.i64(3))
        .ok()
        .filter(|n| *n > 0)
        .ok_or(Errno::EINVAL)?;
    if !description.access().writable() {
        return Err(Errno::EBADF.into());
    }
    if !description.file().seekable() {
        return Err(Errno::ESPIPE.into());
    }
    if offset
        .checked_add(len)
        .is_none_or(|end| i64::try_from(end).is_err())
    {
        return Err(Errno::EFBIG.into());
    }
    description.allocate(args.u32(1), offset, len)?;
    Ok(0)
}

fn fsync(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let description = sys.files().get_file(args.i32(0))?;
    let stat = description.file().stat()?;
    let stored = matches!(
        FileType::from_mode(stat.mode),
        Some(FileType::Regular | FileType::Directory | FileType::BlockDevice)
    );
    // syncfs(2) takes any descriptor of the file system.
    const SYNCFS: u64 = 306;
    if !stored && sys.nr != SYNCFS {
        return Err(Errno::EINVAL.into());
    }
    description.file().sync()?;
    Ok(0)
}

fn with_place(
    sys: &mut Sys<'_>,
    args: Args,
    f: fn(&Sys<'_>, &Path, Args) -> SysResult,
) -> SysResult {
    let description = sys.files().get_file(args.i32(0))?;
    let place = Path::of(&description)?;
    f(sys, &place, args)
}

fn fchmod(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let place = Path::of(&*sys.files().get_file(args.i32(0))?)?;
    place.chmod(&sys.process().creds().for_files(), args.u32(1) & 0o7777)?;
    Ok(0)
}

fn fchown(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let place = Path::of(&*sys.files().get_file(args.i32(0))?)?;
    let who = sys.process().creds().for_files();
    place.chown(&who, paths::owner(args.u32(1)), paths::owner(args.u32(2)))?;
    Ok(0)
}

fn fstatfs(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let place = Path::of(&*sys.files().get(args.i32(0))?)?;
    sys.mm()
        .write_obj(args.u64(1), &paths::statfs_words(&place))?;
    Ok(0)
}

/// Where one side of a copy reads or writes: its own offset, or one in guest memory.
struct Side {
    description: Arc<Description>,
    pointer: u64,
    offset: Option<u64>,
}

impl Side {
    fn new(sys: &Sys<'_>, fd: i32, pointer: u64) -> Result<Side, Errno> {
        let description = sys.files().get_file(fd)?;
        let offset = match pointer {
            0 => None,
            at => {
                let value: i64 = sys.mm().read_obj(at)?;
                Some(u64::try_from(value).map_err(|_| Errno::EINVAL)?)
            }
        };
        Ok(Side {
            description,
            pointer,
            offset,
        })
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self.offset {
            Some(offset) => self.description.read_at(offset, buffer),
            None => self.description.read(buffer),
        }
    }

    fn write(&self, data: &[u8]) -> Result<usize, Errno> {
        match self.offset {
            Some(offset) => self.description.write_at(offset, data),
            None => self.description.write(data),
        }
    }

    fn advance(&mut self, n: usize) {
        self.offset = self.offset.map(|o| o + n as u64);
    }

    fn finish(&self, sys: &Sys<'_>) -> Result<(), Errno> {
        match self.offset {
            Some(offset) => sys.mm().write_obj(self.pointer, &offset),
            None => Ok(()),
        }
    }

    /// Gives back what could not be written on.
    fn unread(&self, n: usize) {
        if self.offset.is_none() && self.description.file().seekable() && n > 0 {
            let back = i64::try_from(n).unwrap_or(0);
            let _ = self.description.seek(-back, Whence::Current);
        }
    }
}

fn sendfile(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let out = Side::new(sys, args.i32(0), 0)?;
    let source = Side::new(sys, args.i32(1), args.u64(2))?;
    if !source.description.file().seekable() {
        return Err(Errno::EINVAL.into());
    }
    copy(sys, source, out, args.usize(3))
}

fn copy_file_range(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u32(5) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let source = Side::new(sys, args.i32(0), args.u64(1))?;
    let out = Side::new(sys, args.i32(2), args.u64(3))?;
    for side in [&source, &out] {
        let kind = side.description.file().stat()?.mode & 0o170_000;
        if kind == 0o040_000 {
            return Err(Errno::EISDIR.into());
        }
        if kind != 0o100_000 {
            return Err(Errno::EINVAL.into());
        }
    }
    if out.description.flags().contains(StatusFlags::APPEND) {
        return Err(Errno::EBADF.into());
    }
    copy(sys, source, out, args.usize(4))
}

/// Moves bytes from one file to another through a bounded buffer.
fn copy(sys: &mut Sys<'_>, mut source: Side, mut out: Side, len: usize) -> SysResult {
    if !source.description.access().readable() || !out.description.access().writable() {
        return Err(Errno::EBADF.into());
    }
    let len = len.min(TRANSFER_MAX);
    let mut done = usize::try_from(sys.restart.progress).unwrap_or(0);
    let mut buffer = vec![0u8; len.min(CHUNK)];
    while done < len {
        let want = (len - done).min(buffer.len());
        let n = match source.read(&mut buffer[..want]) {
            Ok(0) => break,
            Ok(n) => n,
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno.into()),
        };
        let target = Arc::clone(&out.description);
        let written = sys.blocking(&target, Events::WRITABLE, OnSignal::Restart, |_| {
            out.write(&buffer[..n])
        });
        match written {
            Ok(w) => {
                source.unread(n - w.min(n));
                source.advance(w);
                out.advance(w);
                done += w;
                sys.restart.progress = done as u64;
            }
            Err(Stop::Block(mut blocked)) => {
                source.unread(n);
                source.finish(sys)?;
                if done > 0 {
                    blocked.on_signal = OnSignal::Partial;
                }
                return Err(Stop::Block(blocked));
            }
            Err(stop) => {
                source.unread(n);
                if done > 0 {
                    break;
                }
                if matches!(stop, Stop::Errno(Errno::EPIPE)) {
                    raise_sigpipe(sys);
                }
                return Err(stop);
            }
        }
    }
    source.finish(sys)?;
    out.finish(sys)?;
    Ok(done as u64)
}

const SPLICE_NONBLOCK: u32 = 2;

fn splice(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let mut source = Side::new(sys, args.i32(0), args.u64(1))?;
    let mut out = Side::new(sys, args.i32(2), args.u64(3))?;
    if !source.description.access().readable() || !out.description.access().writable() {
        return Err(Errno::EBADF.into());
    }
    let (from, to) = (pipe_of(&source.description), pipe_of(&out.description));
    let len = args.usize(4).min(TRANSFER_MAX);
    let (waits_on, events) = match (&from, &to) {
        (None, None) => return Err(Errno::EINVAL.into()),
        (Some(_), _) if args.u64(1) != 0 => return Err(Errno::ESPIPE.into()),
        (_, Some(_)) if args.u64(3) != 0 => return Err(Errno::ESPIPE.into()),
        (Some(_), _) => (Arc::clone(&source.description), Events::READABLE),
        (None, Some(_)) => (Arc::clone(&out.description), Events::WRITABLE),
    };
    let nonblocking = args.u32(5) & SPLICE_NONBLOCK != 0;
    let moved = {
        let attempt = |_: &mut Sys<'_>| match (&from, &to) {
            (Some(from), Some(to)) => from.splice_pipe(to, len),
            (Some(from), None) => from.splice_to(len, &mut |data| out.write(data)),
            (None, Some(to)) => to.splice_from(len, &mut |buffer| source.read(buffer)),
            (None, None) => Err(Errno::EINVAL),
        };
        if nonblocking {
            attempt(sys).map_err(Stop::Errno)?
        } else {
            sys.blocking(&waits_on, events, OnSignal::Restart, attempt)?
        }
    };
    source.advance(moved);
    out.advance(moved);
    source.finish(sys)?;
    out.finish(sys)?;
    Ok(moved as u64)
}

fn tee(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let source = sys.files().get_file(args.i32(0))?;
    let out = sys.files().get_file(args.i32(1))?;
    let (from, to) = (
        pipe_of(&source).ok_or(Errno::EINVAL)?,
        pipe_of(&out).ok_or(Errno::EINVAL)?,
    );
    let len = args.usize(2).min(TRANSFER_MAX);
    if args.u32(3) & SPLICE_NONBLOCK != 0 {
        return Ok(from.tee(&to, len)? as u64);
    }
    let n = sys.blocking(&source, Events::READABLE, OnSignal::Restart, |_| {
        from.tee(&to, len)
    })?;
    Ok(n as u64)
}

fn vmsplice(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let description = sys.files().get_file(args.i32(0))?;
    pipe_of(&description).ok_or(Errno::EBADF)?;
    if description.access().writable() {
        write_vector(sys, args, None)
    } else {
        read_vector(sys, args, None)
    }
}
