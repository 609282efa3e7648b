//! Resource limits, and what was used: getrlimit(2), getrusage(2), times(2).

use std::sync::Arc;

use base_abi::Errno;
use base_abi::general::{CAP_SYS_RESOURCE, RUSAGE_CHILDREN, RUSAGE_SELF, RUSAGE_THREAD};
use kernel_core::task::{Process, Resource, Rlimit, TimesUsed};
use kernel_vfs::UserMemory;

use crate::call::{Args, Sys, SysResult};
use crate::cpu_time::{task_times, times_of_process};
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(97, "getrlimit", "dp", getrlimit),
    Entry::full(160, "setrlimit", "dp", setrlimit),
    Entry::full(302, "prlimit64", "ddpp", prlimit64),
    Entry::full(98, "getrusage", "dp", getrusage),
    Entry::full(100, "times", "p", times),
];

/// `/proc/sys/fs/nr_open`: the most that `RLIMIT_NOFILE` may allow.
const NR_OPEN: u64 = 1 << 20;

fn limit_words(limit: Rlimit) -> [u64; 2] {
    [limit.soft, limit.hard]
}

fn getrlimit(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let resource = Resource::new(u64::from(args.u32(0))).ok_or(Errno::EINVAL)?;
    let limit = sys.process().limits.read().get(resource);
    sys.mm().write_obj(args.u64(1), &limit_words(limit))?;
    Ok(0)
}

fn setrlimit(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let resource = Resource::new(u64::from(args.u32(0))).ok_or(Errno::EINVAL)?;
    let new = sys.mm().read_obj::<[u64; 2]>(args.u64(1))?;
    let process = Arc::clone(sys.process());
    set_limit(sys, &process, resource, new)
}

fn set_limit(
    sys: &Sys<'_>,
    process: &Process,
    resource: Resource,
    [soft, hard]: [u64; 2],
) -> SysResult {
    if soft > hard {
        return Err(Errno::EINVAL.into());
    }
    let mut limits = process.limits.write();
    if hard > limits.get(resource).hard && !sys.process().creds().has(CAP_SYS_RESOURCE) {
        return Err(Errno::EPERM.into());
    }
    if resource == Resource::Nofile && hard > NR_OPEN {
        return Err(Errno::EPERM.into());
    }
    limits.set(resource, Rlimit { soft, hard });
    drop(limits);
    let threads = sys.kernel().tree.lock().threads_of(process.pid());
    if let Some(task) = threads.first() {
        sys.system.apply_limit(task, resource, soft);
    }
    Ok(0)
}

fn prlimit64(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let resource = Resource::new(u64::from(args.u32(1))).ok_or(Errno::EINVAL)?;
    let process = match args.i32(0) {
        0 => Arc::clone(sys.process()),
        pid => Arc::clone(
            sys.kernel()
                .tree
                .lock()
                .task(pid)
                .ok_or(Errno::ESRCH)?
                .process(),
        ),
    };
    let (own, other) = (sys.process().creds(), process.creds());
    if own.uid != other.uid && !own.has(CAP_SYS_RESOURCE) {
        return Err(Errno::EPERM.into());
    }
    let old = process.limits.read().get(resource);
    if args.u64(2) != 0 {
        let new = sys.mm().read_obj::<[u64; 2]>(args.u64(2))?;
        set_limit(sys, &process, resource, new)?;
    }
    if args.u64(3) != 0 {
        sys.mm().write_obj(args.u64(3), &limit_words(old))?;
    }
    Ok(0)
}

/// CPU time of the caller's process.
fn process_times(sys: &Sys<'_>) -> TimesUsed {
    times_of_process(sys.kernel(), sys.task.pid())
}

/// `struct rusage` with the two times filled in.
#[must_use]
pub(crate) fn rusage_bytes(times: TimesUsed) -> [u8; 144] {
    let mut out = [0u8; 144];
    for (index, nanoseconds) in [times.user, times.system].into_iter().enumerate() {
        let at = index * 16;
        out[at..at + 8].copy_from_slice(&(nanoseconds / 1_000_000_000).to_le_bytes());
        out[at + 8..at + 16].copy_from_slice(&(nanoseconds % 1_000_000_000 / 1000).to_le_bytes());
    }
    out
}

fn getrusage(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const CHILDREN: u32 = RUSAGE_CHILDREN.cast_unsigned();
    let times = match args.u32(0) {
        RUSAGE_SELF => process_times(sys),
        CHILDREN => *sys.process().children_times.lock(),
        RUSAGE_THREAD => task_times(sys.task),
        _ => return Err(Errno::EINVAL.into()),
    };
    let mut bytes = rusage_bytes(times);
    let resident = sys.mm().stats().highest / 1024;
    bytes[32..40].copy_from_slice(&resident.to_le_bytes());
    sys.mm().write_bytes(args.u64(1), &bytes)?;
    Ok(0)
}

fn times(sys: &mut Sys<'_>, args: Args) -> SysResult {
    /// Nanoseconds of a clock tick: 100 of them are a second.
    const TICK: u64 = 10_000_000;
    if args.u64(0) != 0 {
        let own = process_times(sys);
        let children = *sys.process().children_times.lock();
        let words = [
            own.user / TICK,
            own.system / TICK,
            children.user / TICK,
            children.system / TICK,
        ];
        sys.mm().write_obj(args.u64(0), &words)?;
    }
    Ok(sys.now() / TICK)
}
