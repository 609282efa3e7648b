//! Files made from nothing: pipes, event, timer, signal and memory files.

use std::sync::Arc;

use base_abi::Errno;
use base_abi::general::{O_CLOEXEC, O_DIRECT, O_NONBLOCK};
use base_abi::structs::Timespec;
use kernel_files::clock::{nanoseconds, timespec};
use kernel_files::eventfd::EventFdMode;
use kernel_files::memfd::{NAME_MAX, Sealing};
use kernel_files::pipe::Pipe;
use kernel_files::timerfd::{TimerBase, TimerSetting};
use kernel_files::{ClockId, EventFd, MemFd, SignalFd, TimerFd};
use kernel_vfs::{AccessMode, Description, FdFlags, File, StatusFlags};

use crate::call::{Args, Sys, SysResult};
use crate::current::CallerSignals;
use crate::descriptors::{fd_flags, returned, status_flags};
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(22, "pipe", "p", |s, a| pipe(s, a.u64(0), 0)),
    Entry::full(293, "pipe2", "px", |s, a| pipe(s, a.u64(0), a.u32(1))),
    Entry::full(284, "eventfd", "u", |s, a| eventfd(s, a.u32(0), 0)),
    Entry::full(290, "eventfd2", "ux", |s, a| eventfd(s, a.u32(0), a.u32(1))),
    Entry::full(282, "signalfd", "dpu", |s, a| signalfd(s, a, 0)),
    Entry::full(289, "signalfd4", "dpux", |s, a| signalfd(s, a, a.u32(3))),
    Entry::partial(
        283,
        "timerfd_create",
        "dx",
        timerfd_create,
        "alarm clocks need CAP_WAKE_ALARM, which nobody has",
    ),
    Entry::partial(
        286,
        "timerfd_settime",
        "dxpp",
        timerfd_settime,
        "TFD_TIMER_CANCEL_ON_SET is ignored: nobody sets the clock; who reads is woken once in 1 ms, and is told how often it expired",
    ),
    Entry::full(287, "timerfd_gettime", "dp", timerfd_gettime),
    Entry::partial(319, "memfd_create", "sx", memfd_create, "no huge pages"),
];

const BOTH: u32 = O_CLOEXEC | O_NONBLOCK;

fn only(flags: u32, allowed: u32) -> Result<(), Errno> {
    if flags & !allowed == 0 {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

fn pipe(sys: &mut Sys<'_>, out: u64, flags: u32) -> SysResult {
    only(flags, BOTH | O_DIRECT)?;
    let objects = &sys.system.objects;
    let (reader, writer) = Pipe::pair(&objects.pipe_pages, objects.inodes.next(), sys.owner())?;
    let status = StatusFlags::from_bits_truncate(flags & (O_NONBLOCK | O_DIRECT));
    let ends = [
        Description::anonymous(reader, AccessMode::Read, status),
        Description::anonymous(writer, AccessMode::Write, status),
    ];
    let files = sys.files();
    let fds = files.insert_pair(ends, fd_flags(flags), sys.nofile())?;
    if let Err(error) = sys.mm().write_obj(out, &fds) {
        for fd in fds {
            let _ = files.close(fd);
        }
        return Err(error.into());
    }
    Ok(0)
}

fn anonymous(sys: &Sys<'_>, file: Arc<dyn File>, flags: u32) -> SysResult {
    let (status, flags) = (status_flags(flags), fd_flags(flags));
    Ok(returned(sys.install(
        file,
        AccessMode::ReadWrite,
        status,
        flags,
    )?))
}

fn eventfd(sys: &mut Sys<'_>, initial: u32, flags: u32) -> SysResult {
    const SEMAPHORE: u32 = 1;
    only(flags, BOTH | SEMAPHORE)?;
    let mode = if flags & SEMAPHORE == 0 {
        EventFdMode::Counter
    } else {
        EventFdMode::Semaphore
    };
    let file = EventFd::new(initial, mode, sys.system.objects.inodes.next());
    anonymous(sys, file, flags)
}

fn signalfd(sys: &mut Sys<'_>, args: Args, flags: u32) -> SysResult {
    if args.u64(2) != 8 {
        return Err(Errno::EINVAL.into());
    }
    only(flags, BOTH)?;
    let set: u64 = sys.mm().read_obj(args.u64(1))?;
    if args.i32(0) == -1 {
        let ino = sys.system.objects.inodes.next();
        return anonymous(sys, SignalFd::new(set, Arc::new(CallerSignals), ino), flags);
    }
    let description = sys.file(args.i32(0))?;
    let file = description.downcast::<SignalFd>().ok_or(Errno::EINVAL)?;
    file.set_signals(set);
    Ok(returned(args.i32(0)))
}

fn timerfd_create(sys: &mut Sys<'_>, args: Args) -> SysResult {
    only(args.u32(1), BOTH)?;
    let clock = match args.i32(0) {
        0 => ClockId::Realtime,
        1 => ClockId::Monotonic,
        7 => ClockId::Boottime,
        8 | 9 => return Err(Errno::EPERM.into()),
        _ => return Err(Errno::EINVAL.into()),
    };
    let objects = &sys.system.objects;
    let file = TimerFd::new(clock, Arc::clone(&objects.clock), objects.inodes.next());
    anonymous(sys, file, args.u32(1))
}

/// `struct itimerspec`: interval, then value.
type TimerSpec = [Timespec; 2];

fn to_spec(setting: TimerSetting) -> TimerSpec {
    [timespec(setting.interval), timespec(setting.value)]
}

fn timerfd_settime(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const ABSTIME: u32 = 1;
    const CANCEL_ON_SET: u32 = 2;
    only(args.u32(1), ABSTIME | CANCEL_ON_SET)?;
    let mm = sys.mm();
    let [interval, value]: TimerSpec = mm.read_obj(args.u64(2))?;
    let new = TimerSetting {
        value: nanoseconds(value)?,
        interval: nanoseconds(interval)?,
    };
    let description = sys.file(args.i32(0))?;
    let file = description.downcast::<TimerFd>().ok_or(Errno::EINVAL)?;
    let base = if args.u32(1) & ABSTIME == 0 {
        TimerBase::Relative
    } else {
        TimerBase::Absolute
    };
    let old = file.set(new, base);
    if args.u64(3) != 0 {
        mm.write_obj(args.u64(3), &to_spec(old))?;
    }
    Ok(0)
}

fn timerfd_gettime(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let description = sys.file(args.i32(0))?;
    let file = description.downcast::<TimerFd>().ok_or(Errno::EINVAL)?;
    sys.mm().write_obj(args.u64(1), &to_spec(file.setting()))?;
    Ok(0)
}

fn memfd_create(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const CLOEXEC: u32 = 1;
    const ALLOW_SEALING: u32 = 2;
    const NOEXEC_SEAL: u32 = 8;
    const EXEC: u32 = 16;
    let flags = args.u32(1);
    only(flags, CLOEXEC | ALLOW_SEALING | NOEXEC_SEAL | EXEC)?;
    let sealing = match (flags & NOEXEC_SEAL != 0, flags & EXEC != 0) {
        (true, true) => return Err(Errno::EINVAL.into()),
        (true, false) => Sealing::NoExec,
        _ if flags & ALLOW_SEALING != 0 => Sealing::Allowed,
        _ => Sealing::Forbidden,
    };
    let name = sys.mm().read_cstr(args.u64(0), NAME_MAX + 1);
    let name = name.map_err(|e| {
        if e == Errno::ENAMETOOLONG {
            Errno::EINVAL
        } else {
            e
        }
    })?;
    let name = String::from_utf8_lossy(&name);
    let objects = &sys.system.objects;
    let file = MemFd::new(
        &name,
        sealing,
        &objects.memfd_bytes,
        objects.inodes.next(),
        sys.owner(),
    )?;
    sys.system.memory.shared.add(&file.memory_file()?);
    let fd_flags = if flags & CLOEXEC == 0 {
        FdFlags::empty()
    } else {
        FdFlags::CLOEXEC
    };
    let status = StatusFlags::LARGEFILE;
    Ok(returned(sys.install(
        file,
        AccessMode::ReadWrite,
        status,
        fd_flags,
    )?))
}
