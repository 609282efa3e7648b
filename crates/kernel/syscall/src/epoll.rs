//! epoll_create(2), epoll_ctl(2), epoll_wait(2) and its kin.

use std::sync::Arc;

use base_abi::Errno;
use base_abi::general::O_CLOEXEC;
use kernel_core::signal::SignalSet;
use kernel_core::task::OnSignal;
use kernel_files::Epoll;
use kernel_files::epoll::{EpollEvent, EpollFlags, EpollOp};
use kernel_vfs::{AccessMode, Description, Events, File, StatusFlags};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::call::{Args, Sys, SysResult};
use crate::clock;
use crate::descriptors::{fd_flags, returned};
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(213, "epoll_create", "d", epoll_create),
    Entry::full(291, "epoll_create1", "x", |s, a| create(s, a.u32(0))),
    Entry::full(233, "epoll_ctl", "dddp", epoll_ctl),
    Entry::full(232, "epoll_wait", "dpdd", epoll_wait),
    Entry::full(281, "epoll_pwait", "dpddpu", epoll_pwait),
    Entry::full(441, "epoll_pwait2", "dpdppu", epoll_pwait2),
];

/// `struct epoll_event`, packed on x86-64.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
struct RawEvent {
    events: u32,
    data: u64,
}

/// Most events handed out by one call, as many as a process can have descriptors; the rest stays ready.
const BATCH: usize = 65_536;
/// Most that a call may ask for (`EP_MAX_EVENTS` of Linux).
const MOST_EVENTS: usize = i32::MAX as usize / size_of::<RawEvent>();
const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

fn epoll_create(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.i32(0) <= 0 {
        return Err(Errno::EINVAL.into());
    }
    create(sys, 0)
}

fn create(sys: &mut Sys<'_>, flags: u32) -> SysResult {
    if flags & !O_CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    let objects = &sys.system.objects;
    let file = Epoll::new(&objects.epoll_watches, objects.inodes.next());
    let (access, status) = (AccessMode::ReadWrite, StatusFlags::empty());
    Ok(returned(sys.install(
        file,
        access,
        status,
        fd_flags(flags),
    )?))
}

fn epoll_ctl(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const ADD: i32 = 1;
    const DELETE: i32 = 2;
    const MODIFY: i32 = 3;
    let op = args.i32(1);
    let event = if op == DELETE {
        RawEvent { events: 0, data: 0 }
    } else {
        sys.mm().read_obj::<RawEvent>(args.u64(3))?
    };
    let files = sys.files();
    let epoll = files.get_file(args.i32(0))?;
    let target = files.get_file(args.i32(2))?;
    if !target.file().pollable() {
        return Err(Errno::EPERM.into());
    }
    let epoll = epoll.downcast::<Epoll>().ok_or(Errno::EINVAL)?;
    let event = EpollEvent {
        flags: EpollFlags::from_bits_retain(event.events),
        data: event.data,
    };
    let op = match op {
        ADD => EpollOp::Add(event),
        MODIFY => EpollOp::Modify(event),
        DELETE => EpollOp::Delete,
        _ => return Err(Errno::EINVAL.into()),
    };
    epoll.control(op, args.i32(2), &target)?;
    Ok(0)
}

fn milliseconds(timeout: i32) -> Option<u64> {
    let timeout = u64::try_from(timeout).ok();
    timeout.map(|ms| ms.saturating_mul(NANOSECONDS_PER_MILLISECOND))
}

fn epoll_wait(sys: &mut Sys<'_>, args: Args) -> SysResult {
    wait(sys, args, milliseconds(args.i32(3)))
}

fn epoll_pwait(sys: &mut Sys<'_>, args: Args) -> SysResult {
    set_mask(sys, args.u64(4), args.u64(5))?;
    wait(sys, args, milliseconds(args.i32(3)))
}

fn epoll_pwait2(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let timeout = match args.u64(3) {
        0 => None,
        addr => Some(clock::read_timespec(&sys.mm(), addr)?),
    };
    set_mask(sys, args.u64(4), args.u64(5))?;
    wait(sys, args, timeout)
}

/// Installs the mask at `addr`, if there is one, for the time of the call.
///
/// # Errors
/// `EINVAL` for a size other than 8, `EFAULT`.
pub(crate) fn set_mask(sys: &mut Sys<'_>, addr: u64, size: u64) -> Result<(), Errno> {
    if addr == 0 {
        return Ok(());
    }
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    let mask: u64 = sys.mm().read_obj(addr)?;
    sys.set_temporary_mask(SignalSet(mask));
    Ok(())
}

fn wait(sys: &mut Sys<'_>, args: Args, timeout: Option<u64>) -> SysResult {
    let description: Arc<Description> = sys.file(args.i32(0))?;
    let fits = |max: &usize| (1..=MOST_EVENTS).contains(max);
    let max = usize::try_from(args.i32(2)).ok().filter(fits);
    let max = max.ok_or(Errno::EINVAL)?.min(BATCH);
    let epoll = description.downcast::<Epoll>().ok_or(Errno::EINVAL)?;
    sys.set_timeout(timeout);
    let mut reported = epoll.wait(max);
    if reported.events.is_empty() {
        if sys.timed_out() {
            return Ok(0);
        }
        let mut table = sys.waiting_table(Events::READABLE);
        if epoll.poll(&mut table).is_empty() {
            return Err(sys.block(table, OnSignal::Interrupt));
        }
        reported = epoll.wait(max);
        if reported.events.is_empty() {
            return Err(sys.block(table, OnSignal::Interrupt));
        }
    }
    let raw: Vec<RawEvent> = reported
        .events
        .iter()
        .map(|e| RawEvent {
            events: e.flags.bits(),
            data: e.data,
        })
        .collect();
    let given = sys
        .mm()
        .write_some(args.u64(1), raw.as_bytes())
        .unwrap_or(0)
        / size_of::<RawEvent>();
    if given < raw.len() {
        epoll.put_back(&reported, given);
        if given == 0 {
            return Err(Errno::EFAULT.into());
        }
    }
    Ok(given as u64)
}
