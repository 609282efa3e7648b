//! Scheduling: policies, priorities and affinity, which are remembered and change nothing (sched(7)).

use std::sync::Arc;

use base_abi::Errno;
use base_abi::general::{
    CAP_SYS_NICE, PRIO_PROCESS, PRIO_USER, SCHED_BATCH, SCHED_DEADLINE, SCHED_FIFO, SCHED_IDLE,
    SCHED_NORMAL, SCHED_RESET_ON_FORK, SCHED_RR,
};
use kernel_core::task::{Resource, Task};
use kernel_vfs::UserMemory;

use crate::call::{Args, Stop, Sys, SysResult};
use crate::clock;
use crate::entry::Entry;

/// `struct sched_attr` of Linux 3.14 (sched_setattr(2)).
const SCHED_ATTR_BYTES: u32 = 48;
/// Priorities of the real-time policies (sched(7)).
const REALTIME: (u64, u64) = (1, 99);
/// The time slice that is told of every task: 4 ms.
const SLICE_NANOS: u64 = 4_000_000;
/// `IOPRIO_NORM`: no class, the middle level (ioprio_set(2)).
const IOPRIO_NORM: u64 = 4;
/// getpriority(2) returns 20 - nice, so that it is never negative.
const NICE_ZERO: i64 = 20;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(24, "sched_yield", "", sched_yield),
    Entry::partial(
        203,
        "sched_setaffinity",
        "dup",
        sched_setaffinity,
        "remembered, not enforced",
    ),
    Entry::full(204, "sched_getaffinity", "dup", sched_getaffinity),
    Entry::partial(
        144,
        "sched_setscheduler",
        "ddp",
        sched_setscheduler,
        "SCHED_OTHER, BATCH and IDLE only",
    ),
    Entry::full(145, "sched_getscheduler", "d", |s, a| {
        task_number(s, a.i32(0)).map(|_| 0)
    }),
    Entry::partial(
        142,
        "sched_setparam",
        "dp",
        sched_setparam,
        "priority 0 only",
    ),
    Entry::full(143, "sched_getparam", "dp", sched_getparam),
    Entry::full(146, "sched_get_priority_max", "d", |_, a| {
        priority(a, REALTIME.1)
    }),
    Entry::full(147, "sched_get_priority_min", "d", |_, a| {
        priority(a, REALTIME.0)
    }),
    Entry::full(148, "sched_rr_get_interval", "dp", sched_rr_get_interval),
    Entry::partial(
        314,
        "sched_setattr",
        "dpx",
        |_, _| Ok(0),
        "accepted without effect",
    ),
    Entry::partial(
        315,
        "sched_getattr",
        "dpux",
        sched_getattr,
        "always SCHED_OTHER",
    ),
    Entry::full(140, "getpriority", "dd", getpriority),
    Entry::partial(
        141,
        "setpriority",
        "ddd",
        setpriority,
        "remembered, not enforced",
    ),
    Entry::partial(
        251,
        "ioprio_set",
        "ddd",
        |_, _| Ok(0),
        "accepted without effect",
    ),
    Entry::full(252, "ioprio_get", "dd", |_, _| Ok(IOPRIO_NORM)),
];

fn sched_yield(_: &mut Sys<'_>, _: Args) -> SysResult {
    std::thread::yield_now();
    Ok(0)
}

fn all_cpus(sys: &Sys<'_>) -> u64 {
    let count = sys.kernel().config.cpus.clamp(1, 64);
    u64::MAX >> (64 - count)
}

fn task_number(sys: &Sys<'_>, tid: i32) -> Result<Arc<Task>, Stop> {
    match tid {
        0 => Ok(sys.task.clone()),
        t if t < 0 => Err(Errno::EINVAL.into()),
        t => sys
            .kernel()
            .tree
            .lock()
            .task(t)
            .cloned()
            .ok_or_else(|| Errno::ESRCH.into()),
    }
}

fn sched_setaffinity(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let task = task_number(sys, args.i32(0))?;
    let mut raw = [0u8; 8];
    let n = args.usize(1).min(8);
    sys.mm().read_bytes(args.u64(2), &mut raw[..n])?;
    let mask = u64::from_le_bytes(raw) & all_cpus(sys);
    if mask == 0 {
        return Err(Errno::EINVAL.into());
    }
    task.fields.lock().affinity = mask;
    Ok(0)
}

fn sched_getaffinity(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.i32(0) < 0 {
        return Err(Errno::ESRCH.into());
    }
    let task = task_number(sys, args.i32(0))?;
    if args.u64(1) < 8 || !args.u64(1).is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    let set = task.fields.lock().affinity;
    let mask = if set == 0 { all_cpus(sys) } else { set };
    sys.mm().write_bytes(args.u64(2), &mask.to_le_bytes())?;
    Ok(8)
}

/// A policy without its flag.
fn policy(raw: u32) -> u32 {
    raw & !SCHED_RESET_ON_FORK
}

fn sched_setscheduler(sys: &mut Sys<'_>, args: Args) -> SysResult {
    task_number(sys, args.i32(0))?;
    let priority: i32 = sys.mm().read_obj(args.u64(2))?;
    match policy(args.u32(1)) {
        SCHED_FIFO | SCHED_RR | SCHED_DEADLINE => Err(Errno::EPERM.into()),
        SCHED_NORMAL | SCHED_BATCH | SCHED_IDLE if priority == 0 => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn sched_setparam(sys: &mut Sys<'_>, args: Args) -> SysResult {
    task_number(sys, args.i32(0))?;
    let priority: i32 = sys.mm().read_obj(args.u64(1))?;
    if priority == 0 {
        Ok(0)
    } else {
        Err(Errno::EINVAL.into())
    }
}

fn sched_getparam(sys: &mut Sys<'_>, args: Args) -> SysResult {
    task_number(sys, args.i32(0))?;
    sys.mm().write_obj(args.u64(1), &0i32)?;
    Ok(0)
}

fn priority(args: Args, realtime: u64) -> SysResult {
    match args.u32(0) {
        SCHED_FIFO | SCHED_RR => Ok(realtime),
        SCHED_NORMAL | SCHED_BATCH | SCHED_IDLE | SCHED_DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn sched_rr_get_interval(sys: &mut Sys<'_>, args: Args) -> SysResult {
    task_number(sys, args.i32(0))?;
    sys.mm()
        .write_obj(args.u64(1), &clock::timespec(SLICE_NANOS))?;
    Ok(0)
}

fn sched_getattr(sys: &mut Sys<'_>, args: Args) -> SysResult {
    task_number(sys, args.i32(0))?;
    if args.u64(2) < u64::from(SCHED_ATTR_BYTES) {
        return Err(Errno::EINVAL.into());
    }
    // Its size, then zeros: SCHED_OTHER, nice 0.
    let mut words = [0u32; SCHED_ATTR_BYTES as usize / 4];
    words[0] = SCHED_ATTR_BYTES;
    sys.mm().write_obj(args.u64(1), &words)?;
    Ok(0)
}

fn getpriority(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u32(0) > PRIO_USER {
        return Err(Errno::EINVAL.into());
    }
    let task = task_number(
        sys,
        if args.u32(0) == PRIO_PROCESS {
            args.i32(1)
        } else {
            0
        },
    )?;
    let nice = i64::from(task.fields.lock().nice);
    Ok((NICE_ZERO - nice).cast_unsigned())
}

fn setpriority(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u32(0) > PRIO_USER {
        return Err(Errno::EINVAL.into());
    }
    let task = task_number(
        sys,
        if args.u32(0) == PRIO_PROCESS {
            args.i32(1)
        } else {
            0
        },
    )?;
    let nice = args.i32(2).clamp(-20, 19);
    let (own, other) = (sys.process().creds(), task.process().creds());
    let free = own.has(CAP_SYS_NICE);
    if !free && own.euid != other.uid && own.euid != other.euid {
        return Err(Errno::EPERM.into());
    }
    // `RLIMIT_NICE` counts from 1 for 19 to 40 for -20.
    let wanted = u64::try_from(20 - nice).unwrap_or(0);
    let allowed = free || wanted <= task.process().limit(Resource::Nice);
    let mut fields = task.fields.lock();
    if nice < fields.nice && !allowed {
        return Err(Errno::EACCES.into());
    }
    fields.nice = nice;
    Ok(0)
}
