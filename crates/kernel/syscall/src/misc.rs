//! Calls about the machine and the task itself: uname, sysinfo, getrandom, prctl,
//! arch_prctl, scheduling, membarrier; and those that are refused on purpose.

use base_abi::Errno;
use kernel_core::signal::Signal;
use kernel_vfs::UserMemory;

use crate::call::{Args, Stop, Sys, SysResult};
use crate::clock;
use crate::entry::Entry;

const NO_IO_URING: &str = "no io_uring: libraries fall back to epoll";
const NO_PTRACE: &str = "guests do not trace each other";

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(63, "uname", "p", uname),
    Entry::full(99, "sysinfo", "p", sysinfo),
    Entry::full(318, "getrandom", "pux", getrandom),
    Entry::partial(
        157,
        "prctl",
        "dxxxx",
        prctl,
        "the options that libraries use; others answer EINVAL",
    ),
    Entry::partial(158, "arch_prctl", "xp", arch_prctl, "FS and GS bases only"),
    Entry::partial(
        135,
        "personality",
        "x",
        personality,
        "stored, without effect",
    ),
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
    Entry::full(146, "sched_get_priority_max", "d", |_, a| priority(a, 99)),
    Entry::full(147, "sched_get_priority_min", "d", |_, a| priority(a, 1)),
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
    Entry::full(309, "getcpu", "ppp", getcpu),
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
    Entry::full(252, "ioprio_get", "dd", |_, _| Ok(4)),
    Entry::full(324, "membarrier", "dxd", membarrier),
    Entry::refused(334, "rseq", "pudx", enosys, "the C library does without"),
    Entry::refused(425, "io_uring_setup", "up", enosys, NO_IO_URING),
    Entry::refused(426, "io_uring_enter", "duuxp", enosys, NO_IO_URING),
    Entry::refused(427, "io_uring_register", "dupu", enosys, NO_IO_URING),
    Entry::refused(101, "ptrace", "ddpp", eperm, NO_PTRACE),
    Entry::refused(310, "process_vm_readv", "dpupux", eperm, NO_PTRACE),
    Entry::refused(311, "process_vm_writev", "dpupux", eperm, NO_PTRACE),
    Entry::refused(312, "kcmp", "ddduu", eperm, NO_PTRACE),
    Entry::refused(
        317,
        "seccomp",
        "xxp",
        einval,
        "the sandbox itself is the filter",
    ),
    Entry::refused(
        298,
        "perf_event_open",
        "pdddx",
        eacces,
        "no performance counters",
    ),
    Entry::refused(321, "bpf", "dpu", eperm, "no BPF"),
    Entry::refused(
        323,
        "userfaultfd",
        "x",
        eperm,
        "as with vm.unprivileged_userfaultfd = 0",
    ),
    Entry::refused(
        444,
        "landlock_create_ruleset",
        "pux",
        enosys,
        "not built in",
    ),
    Entry::refused(165, "mount", "ssspp", eperm, "the file tree is fixed"),
    Entry::refused(166, "umount2", "sx", eperm, "the file tree is fixed"),
    Entry::refused(155, "pivot_root", "ss", eperm, "the file tree is fixed"),
    Entry::refused(
        272,
        "unshare",
        "x",
        unshare,
        "descriptors and file context only; namespaces EPERM",
    ),
    Entry::refused(308, "setns", "dx", eperm, "no namespaces"),
    Entry::refused(
        170,
        "sethostname",
        "su",
        eperm,
        "the name is the platform's",
    ),
    Entry::refused(
        171,
        "setdomainname",
        "su",
        eperm,
        "the name is the platform's",
    ),
    Entry::refused(169, "reboot", "xxdp", eperm, "not a machine"),
    Entry::refused(167, "swapon", "sx", eperm, "no swap"),
    Entry::refused(168, "swapoff", "s", eperm, "no swap"),
    Entry::refused(175, "init_module", "pus", eperm, "no modules"),
    Entry::refused(313, "finit_module", "dsx", eperm, "no modules"),
    Entry::refused(176, "delete_module", "sx", eperm, "no modules"),
    Entry::refused(172, "iopl", "d", eperm, "no ports"),
    Entry::refused(173, "ioperm", "uud", eperm, "no ports"),
    Entry::refused(163, "acct", "s", eperm, "no accounting"),
    Entry::refused(179, "quotactl", "dspp", eperm, "no quotas"),
    Entry::refused(103, "syslog", "dpd", eperm, "no kernel log"),
    Entry::refused(246, "kexec_load", "uupx", eperm, "not a machine"),
    Entry::refused(248, "add_key", "sspud", enosys, "no key rings"),
    Entry::refused(249, "request_key", "sssd", enosys, "no key rings"),
    Entry::refused(250, "keyctl", "dxxxx", enosys, "no key rings"),
    Entry::refused(153, "vhangup", "", eperm, "no terminals of its own"),
    Entry::refused(154, "modify_ldt", "dpu", enosys, "no segments"),
    Entry::refused(205, "set_thread_area", "p", enosys, "32-bit only"),
    Entry::refused(211, "get_thread_area", "p", enosys, "32-bit only"),
];

fn enosys(_: &mut Sys<'_>, _: Args) -> SysResult {
    Err(Errno::ENOSYS.into())
}

fn eperm(_: &mut Sys<'_>, _: Args) -> SysResult {
    Err(Errno::EPERM.into())
}

fn eacces(_: &mut Sys<'_>, _: Args) -> SysResult {
    Err(Errno::EACCES.into())
}

fn einval(_: &mut Sys<'_>, _: Args) -> SysResult {
    Err(Errno::EINVAL.into())
}

fn uname(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const FIELD: usize = 65;
    let mut out = [0u8; FIELD * 6];
    let host = sys.kernel().config.hostname.clone();
    let fields = [
        "Linux",
        host.as_str(),
        crate::RELEASE,
        crate::VERSION,
        "x86_64",
        "(none)",
    ];
    for (slot, text) in out.chunks_mut(FIELD).zip(fields) {
        let n = text.len().min(FIELD - 1);
        slot[..n].copy_from_slice(&text.as_bytes()[..n]);
    }
    sys.mm().write_bytes(args.u64(0), &out)?;
    Ok(0)
}

fn sysinfo(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let total = sys.kernel().config.memory;
    let used = sys.mm().stats().resident.min(total);
    let tasks = u16::try_from(sys.kernel().tree.lock().task_count()).unwrap_or(u16::MAX);
    let mut out = [0u8; 112];
    let mut put = |at: usize, value: u64| out[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(0, sys.now() / 1_000_000_000);
    put(32, total);
    put(40, total - used);
    out[80..82].copy_from_slice(&tasks.to_le_bytes());
    out[104..108].copy_from_slice(&1u32.to_le_bytes());
    sys.mm().write_bytes(args.u64(0), &out)?;
    Ok(0)
}

fn getrandom(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u32(2) & !7 != 0 || args.u32(2) & 6 == 6 {
        return Err(Errno::EINVAL.into());
    }
    let len = args.usize(1).min(32 << 20);
    let mm = sys.mm();
    let mut chunk = [0u8; 4096];
    let mut done = 0;
    while done < len {
        let n = (len - done).min(chunk.len());
        sys.kernel().rng.fill(&mut chunk[..n]);
        if let Err(errno) = mm.write_bytes(args.u64(0).wrapping_add(done as u64), &chunk[..n]) {
            return if done > 0 {
                Ok(done as u64)
            } else {
                Err(errno.into())
            };
        }
        done += n;
    }
    Ok(done as u64)
}

fn arch_prctl(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const SET_GS: u32 = 0x1001;
    const SET_FS: u32 = 0x1002;
    const GET_FS: u32 = 0x1003;
    const GET_GS: u32 = 0x1004;
    let value = args.u64(1);
    let limit = sys.kernel().platform.features().max_address;
    match args.u32(0) {
        SET_FS | SET_GS if value >= limit => Err(Errno::EPERM.into()),
        SET_FS => {
            let cpu = sys.cpu.state_mut().map_err(|e| e.errno())?;
            cpu.regs.fs_base = value;
            cpu.regs.rax = 0;
            Err(Stop::Resume)
        }
        SET_GS => {
            let cpu = sys.cpu.state_mut().map_err(|e| e.errno())?;
            cpu.regs.gs_base = value;
            cpu.regs.rax = 0;
            Err(Stop::Resume)
        }
        GET_FS | GET_GS => {
            let regs = sys.cpu.state().map_err(|e| e.errno())?.regs;
            let base = if args.u32(0) == GET_FS {
                regs.fs_base
            } else {
                regs.gs_base
            };
            sys.mm().write_bytes(value, &base.to_le_bytes())?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn prctl(sys: &mut Sys<'_>, args: Args) -> SysResult {
    use base_abi::prctl as p;
    use std::sync::atomic::Ordering::Relaxed;
    let value = args.u64(1);
    let flag = |v: u64| {
        if v <= 1 {
            Ok(v == 1)
        } else {
            Err(Errno::EINVAL)
        }
    };
    match args.u32(0) {
        p::PR_SET_NAME => {
            let mut name = sys.mm().read_cstr(value, 16).or_else(|_| {
                let mut raw = [0u8; 16];
                sys.mm().read_bytes(value, &mut raw).map(|()| raw.to_vec())
            })?;
            name.truncate(15);
            sys.task.fields.lock().name = name;
            Ok(0)
        }
        p::PR_GET_NAME => {
            let mut out = [0u8; 16];
            let name = sys.task.name();
            let n = name.len().min(15);
            out[..n].copy_from_slice(&name[..n]);
            sys.mm().write_bytes(value, &out)?;
            Ok(0)
        }
        p::PR_SET_PDEATHSIG => {
            let signal = match value {
                0 => None,
                n => Some(
                    i32::try_from(n)
                        .ok()
                        .and_then(Signal::new)
                        .ok_or(Errno::EINVAL)?,
                ),
            };
            sys.task.fields.lock().parent_death_signal = signal;
            Ok(0)
        }
        p::PR_GET_PDEATHSIG => {
            let number = sys
                .task
                .fields
                .lock()
                .parent_death_signal
                .map_or(0, Signal::number);
            sys.mm().write_obj(value, &number)?;
            Ok(0)
        }
        p::PR_GET_DUMPABLE => Ok(u64::from(sys.process().dumpable.load(Relaxed))),
        p::PR_SET_DUMPABLE => {
            let on = flag(value)?;
            sys.process().dumpable.store(u32::from(on), Relaxed);
            Ok(0)
        }
        p::PR_SET_NO_NEW_PRIVS if value == 1 => {
            let mut slot = sys.process().creds.write();
            let mut creds = (**slot).clone();
            creds.no_new_privs = true;
            *slot = creds.into();
            Ok(0)
        }
        p::PR_GET_NO_NEW_PRIVS => Ok(u64::from(sys.process().creds().no_new_privs)),
        p::PR_SET_CHILD_SUBREAPER => {
            if let Some(links) = sys.kernel().tree.lock().links_mut(sys.task.pid()) {
                links.subreaper = value != 0;
            }
            Ok(0)
        }
        p::PR_GET_CHILD_SUBREAPER => {
            let set = sys
                .kernel()
                .tree
                .lock()
                .links(sys.task.pid())
                .is_some_and(|l| l.subreaper);
            sys.mm().write_obj(value, &i32::from(set))?;
            Ok(0)
        }
        p::PR_SET_TIMERSLACK => {
            sys.task.fields.lock().timer_slack = if value == 0 { 50_000 } else { value };
            Ok(0)
        }
        p::PR_GET_TIMERSLACK => Ok(sys.task.fields.lock().timer_slack.max(1)),
        p::PR_CAPBSET_READ => {
            let bit = u32::try_from(value)
                .ok()
                .filter(|b| *b <= 40)
                .ok_or(Errno::EINVAL)?;
            Ok((sys.process().creds().bounding >> bit) & 1)
        }
        p::PR_CAPBSET_DROP => {
            let bit = u32::try_from(value)
                .ok()
                .filter(|b| *b <= 40)
                .ok_or(Errno::EINVAL)?;
            let mut slot = sys.process().creds.write();
            if !slot.has(8) {
                return Err(Errno::EPERM.into());
            }
            let mut creds = (**slot).clone();
            creds.bounding &= !(1 << bit);
            *slot = creds.into();
            Ok(0)
        }
        p::PR_SET_KEEPCAPS => {
            let on = flag(value)?;
            let mut slot = sys.process().creds.write();
            let mut creds = (**slot).clone();
            creds.keep_caps = on;
            *slot = creds.into();
            Ok(0)
        }
        p::PR_GET_KEEPCAPS => Ok(u64::from(sys.process().creds().keep_caps)),
        p::PR_GET_SECUREBITS => Ok(u64::from(sys.process().creds().securebits)),
        p::PR_GET_SECCOMP => Ok(0),
        p::PR_SET_THP_DISABLE | p::PR_GET_THP_DISABLE => Ok(0),
        p::PR_SET_VMA => {
            let name = match args.u64(4) {
                0 => None,
                at => Some(sys.mm().read_cstr(at, 80)?),
            };
            let name = name.map(|n| String::from_utf8_lossy(&n).into_owned());
            sys.mm()
                .set_name(args.u64(2), args.u64(3), name.as_deref())?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn personality(sys: &mut Sys<'_>, args: Args) -> SysResult {
    use std::sync::atomic::Ordering::Relaxed;
    let slot = &sys.process().personality;
    let old = slot.load(Relaxed);
    if args.u32(0) != u32::MAX {
        slot.store(args.u32(0), Relaxed);
    }
    Ok(u64::from(old))
}

fn sched_yield(_: &mut Sys<'_>, _: Args) -> SysResult {
    std::thread::yield_now();
    Ok(0)
}

fn all_cpus(sys: &Sys<'_>) -> u64 {
    let count = sys.kernel().config.cpus.clamp(1, 64);
    u64::MAX >> (64 - count)
}

fn task_number(sys: &Sys<'_>, tid: i32) -> Result<std::sync::Arc<kernel_core::task::Task>, Stop> {
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

fn policy_is_ordinary(policy: i32) -> bool {
    matches!(policy & !0x4000_0000, 0 | 3 | 5)
}

fn sched_setscheduler(sys: &mut Sys<'_>, args: Args) -> SysResult {
    task_number(sys, args.i32(0))?;
    let priority: i32 = sys.mm().read_obj(args.u64(2))?;
    match args.i32(1) & !0x4000_0000 {
        1 | 2 | 6 => Err(Errno::EPERM.into()),
        _ if policy_is_ordinary(args.i32(1)) && priority == 0 => Ok(0),
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
    match args.i32(0) {
        1 | 2 => Ok(realtime),
        0 | 3 | 5 | 6 => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn sched_rr_get_interval(sys: &mut Sys<'_>, args: Args) -> SysResult {
    task_number(sys, args.i32(0))?;
    sys.mm()
        .write_obj(args.u64(1), &clock::timespec(4_000_000))?;
    Ok(0)
}

fn sched_getattr(sys: &mut Sys<'_>, args: Args) -> SysResult {
    task_number(sys, args.i32(0))?;
    if args.u64(2) < 48 {
        return Err(Errno::EINVAL.into());
    }
    let mut out = [0u8; 48];
    out[0] = 48;
    sys.mm().write_bytes(args.u64(1), &out)?;
    Ok(0)
}

fn getcpu(sys: &mut Sys<'_>, args: Args) -> SysResult {
    for at in [args.u64(0), args.u64(1)] {
        if at != 0 {
            sys.mm().write_obj(at, &0u32)?;
        }
    }
    Ok(0)
}

fn getpriority(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u32(0) > 2 {
        return Err(Errno::EINVAL.into());
    }
    let task = task_number(sys, if args.u32(0) == 0 { args.i32(1) } else { 0 })?;
    let nice = i64::from(task.fields.lock().nice);
    Ok((20 - nice).cast_unsigned())
}

fn setpriority(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u32(0) > 2 {
        return Err(Errno::EINVAL.into());
    }
    let task = task_number(sys, if args.u32(0) == 0 { args.i32(1) } else { 0 })?;
    let nice = args.i32(2).clamp(-20, 19);
    let mut fields = task.fields.lock();
    if nice < fields.nice && !sys.process().creds().has(23) {
        return Err(Errno::EACCES.into());
    }
    fields.nice = nice;
    Ok(0)
}

/// Every guest thread that runs passes a host kernel entry when a private expedited barrier is
/// asked for: an interrupt of each running context orders memory as membarrier(2) promises.
fn membarrier(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const QUERY: u32 = 0;
    const GLOBAL: u32 = 1;
    const PRIVATE_EXPEDITED: u32 = 8;
    const REGISTER_PRIVATE_EXPEDITED: u32 = 16;
    match args.u32(0) {
        QUERY => Ok(u64::from(
            GLOBAL | PRIVATE_EXPEDITED | REGISTER_PRIVATE_EXPEDITED,
        )),
        REGISTER_PRIVATE_EXPEDITED => Ok(0),
        GLOBAL | PRIVATE_EXPEDITED => {
            let threads = sys.kernel().tree.lock().threads_of(sys.task.pid());
            for task in threads.iter().filter(|t| t.tid() != sys.task.tid()) {
                task.kick();
            }
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn unshare(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const FS: u32 = 0x200;
    const FILES: u32 = 0x400;
    const SYSVSEM: u32 = 0x4_0000;
    if args.u32(0) & !(FS | FILES | SYSVSEM) != 0 {
        return Err(Errno::EPERM.into());
    }
    if args.u32(0) & FILES != 0 {
        let copy = sys.files().fork();
        sys.task.replace_files(std::sync::Arc::new(copy));
    }
    if args.u32(0) & FS != 0 {
        let copy = sys.fs().read().clone();
        sys.task
            .replace_fs(std::sync::Arc::new(parking_lot::RwLock::new(copy)));
    }
    Ok(0)
}
