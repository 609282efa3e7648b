//! Descriptors themselves: close(2), dup(2), fcntl(2).

use std::sync::Arc;

use base_abi::Errno;
use base_abi::general as g;
use kernel_files::MemFd;
use kernel_files::pipe::{Pipe, PipeEnd};
use kernel_vfs::{Description, FdFlags, StatusFlags};

use crate::async_io;
use crate::call::{Args, Sys, SysResult};
use crate::entry::Entry;
use crate::locks::record_lock;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(3, "close", "d", close),
    Entry::full(436, "close_range", "uux", close_range),
    Entry::full(32, "dup", "d", dup),
    Entry::full(33, "dup2", "dd", dup2),
    Entry::full(292, "dup3", "ddx", dup3),
    Entry::partial(72, "fcntl", "ddx", fcntl, "no leases"),
];

/// A descriptor as a return value.
pub(crate) fn fd_value(fd: i32) -> u64 {
    u64::from(fd.cast_unsigned())
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
    let (description, flags) = match sys.restart.files.get(fd) {
        // A lock that was waited for is that of the file it was asked for.
        Some(known) => (Arc::clone(known), FdFlags::empty()),
        None => files.get_with_flags(fd)?,
    };
    let path_only = description.access() == kernel_vfs::AccessMode::Path;
    match command {
        g::F_DUPFD => duplicate(sys, description, FdFlags::empty(), arg),
        g::F_DUPFD_CLOEXEC => duplicate(sys, description, FdFlags::CLOEXEC, arg),
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
                | StatusFlags::DIRECT
                | StatusFlags::NOATIME;
            let asked = StatusFlags::from_bits_truncate(args.u32(2));
            // Files that send no signals say nothing of it.
            async_io::switch(sys, fd, &description, asked);
            let new = asked & settable;
            description.set_flags((description.flags() - settable) | new);
            Ok(0)
        }
        g::F_GETLK | g::F_SETLK | g::F_SETLKW => {
            record_lock(sys, (&files, fd), &description, command, arg)
        }
        g::F_OFD_GETLK | g::F_OFD_SETLK | g::F_OFD_SETLKW => {
            record_lock(sys, (&files, fd), &description, command, arg)
        }
        g::F_SETPIPE_SZ => {
            let pipe = pipe_of(&description).ok_or(Errno::EBADF)?;
            Ok(pipe.set_capacity(u64::from(args.u32(2)))? as u64)
        }
        g::F_GETPIPE_SZ => {
            let pipe = pipe_of(&description).ok_or(Errno::EBADF)?;
            Ok(pipe.capacity() as u64)
        }
        g::F_ADD_SEALS if !description.access().writable() => Err(Errno::EPERM.into()),
        g::F_ADD_SEALS => add_seals(sys, memfd_of(&description)?, args.u32(2)),
        g::F_GET_SEALS => Ok(u64::from(memfd_of(&description)?.seals()?)),
        g::F_GETLEASE => Ok(u64::from(g::F_UNLCK)),
        g::F_SETLEASE if arg > u64::from(g::F_UNLCK) => Err(Errno::EINVAL.into()),
        g::F_SETLEASE => Err(Errno::EAGAIN.into()),
        _ => {
            async_io::command(sys, &description, command, arg).unwrap_or(Err(Errno::EINVAL.into()))
        }
    }
}

/// `F_DUPFD`: the lowest free number from `lowest` on.
fn duplicate(
    sys: &Sys<'_>,
    description: Arc<Description>,
    flags: FdFlags,
    lowest: u64,
) -> SysResult {
    let limit = sys.nofile();
    let lowest = i32::try_from(lowest).ok();
    let lowest = lowest.filter(|n| u64::try_from(*n).is_ok_and(|n| n < limit));
    let lowest = lowest.ok_or(Errno::EINVAL)?;
    let fd = sys.files().insert_from(description, flags, lowest, limit)?;
    Ok(fd_value(fd))
}

fn add_seals(sys: &Sys<'_>, file: &MemFd, seals: u32) -> SysResult {
    if seals & g::F_SEAL_WRITE != 0 && file.may_be_sealed(seals)? && may_write(sys, file)? {
        return Err(Errno::EBUSY.into());
    }
    file.add_seals(seals)?;
    Ok(0)
}

fn memfd_of(description: &Description) -> Result<&MemFd, Errno> {
    description.downcast::<MemFd>().ok_or(Errno::EINVAL)
}

/// Whether a process may write the file by a mapping. The host knows only of those that a platform has shown.
fn may_write(sys: &Sys<'_>, file: &MemFd) -> Result<bool, Errno> {
    let identity = file.identity()?;
    let tree = sys.kernel().tree.lock();
    let mut mms: Vec<_> = tree.tasks().map(|task| task.mm()).collect();
    drop(tree);
    mms.sort_by_key(Arc::as_ptr);
    mms.dedup_by(|one, other| Arc::ptr_eq(one, other));
    Ok(mms.iter().any(|mm| mm.may_write_shared(identity)))
}

pub(crate) fn pipe_of(description: &Description) -> Option<Arc<Pipe>> {
    description
        .downcast::<PipeEnd>()
        .map(|end| Arc::clone(end.pipe()))
}
