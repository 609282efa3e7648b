//! The signal family: actions, masks, sending, waiting, returning.

use std::sync::Arc;

use base_abi::Errno;
use base_abi::general::CAP_KILL;
use base_abi::structs::{SigAction, SigAltStack, SigInfo};
use kernel_core::signal::{Signal, SignalSet, restore_frame, si_code, siginfo};
use kernel_core::task::{OnSignal, Process, Task};
use kernel_vfs::UserMemory;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::call::{Args, Stop, Sys, SysResult};
use crate::clock;
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(13, "rt_sigaction", "dppu", rt_sigaction),
    Entry::full(14, "rt_sigprocmask", "dppu", rt_sigprocmask),
    Entry::full(15, "rt_sigreturn", "", rt_sigreturn),
    Entry::full(34, "pause", "", pause),
    Entry::full(62, "kill", "dd", kill),
    Entry::full(127, "rt_sigpending", "pu", rt_sigpending),
    Entry::full(128, "rt_sigtimedwait", "pppu", rt_sigtimedwait),
    Entry::full(129, "rt_sigqueueinfo", "ddp", rt_sigqueueinfo),
    Entry::full(130, "rt_sigsuspend", "pu", rt_sigsuspend),
    Entry::full(131, "sigaltstack", "pp", sigaltstack),
    Entry::full(200, "tkill", "dd", tkill),
    Entry::full(234, "tgkill", "ddd", tgkill),
    Entry::full(297, "rt_tgsigqueueinfo", "dddp", rt_tgsigqueueinfo),
    Entry::full(424, "pidfd_send_signal", "ddpx", pidfd_send_signal),
];

/// What Linux keeps of `sa_flags` on x86-64.
const SA_KNOWN: u64 = 0xdc00_0c07 | 0x2000_0000;
const SET_SIZE: u64 = 8;
const MIN_STACK: u64 = 2048;

fn read_set(sys: &Sys<'_>, addr: u64, size: u64) -> Result<SignalSet, Errno> {
    if size != SET_SIZE {
        return Err(Errno::EINVAL);
    }
    let mut raw = [0u8; 8];
    sys.mm().read_bytes(addr, &mut raw)?;
    Ok(SignalSet(u64::from_le_bytes(raw)))
}

fn rt_sigaction(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let signal = Signal::new(args.i32(0)).ok_or(Errno::EINVAL)?;
    if args.u64(3) != SET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let mm = sys.mm();
    let new = if args.u64(1) == 0 {
        None
    } else {
        if SignalSet::UNBLOCKABLE.contains(signal) {
            return Err(Errno::EINVAL.into());
        }
        let mut action = SigAction::new_zeroed();
        mm.read_bytes(args.u64(1), action.as_mut_bytes())?;
        action.flags &= SA_KNOWN;
        action.mask = SignalSet(action.mask).blockable().0;
        Some(action)
    };
    let (old, ignored) = sys.process().with_actions(|actions| {
        let old = actions.get(signal);
        if let Some(action) = new {
            actions.set(signal, action);
        }
        (old, new.is_some() && actions.ignores(signal))
    });
    if ignored {
        let set = SignalSet::EMPTY.with(signal);
        sys.process().signals.lock().pending.discard(set);
        for task in sys.kernel().tree.lock().threads_of(sys.task.pid()) {
            task.signals.lock().pending.discard(set);
        }
    }
    if args.u64(2) != 0 {
        mm.write_bytes(args.u64(2), old.as_bytes())?;
    }
    Ok(0)
}

fn rt_sigprocmask(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u64(3) != SET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let new = if args.u64(1) == 0 {
        None
    } else {
        Some(read_set(sys, args.u64(1), SET_SIZE)?)
    };
    let old = {
        let mut signals = sys.task.signals.lock();
        let old = signals.mask;
        if let Some(set) = new {
            let mask = match args.i32(0) {
                0 => old.union(set),
                1 => old.minus(set),
                2 => set,
                _ => return Err(Errno::EINVAL.into()),
            };
            signals.mask = mask.blockable();
        }
        old
    };
    if new.is_some() {
        sys.task.parker.raise_attention();
    }
    if args.u64(2) != 0 {
        sys.mm().write_bytes(args.u64(2), &old.0.to_le_bytes())?;
    }
    Ok(0)
}

fn rt_sigreturn(sys: &mut Sys<'_>, _: Args) -> SysResult {
    let features = sys.kernel().platform.features();
    let mm = sys.mm();
    let cpu = sys.cpu.state_mut().map_err(|e| e.errno())?;
    let mut signals = sys.task.signals.lock();
    match restore_frame(mm.as_ref(), &features, cpu, &mut signals.alt_stack) {
        Ok(mask) => signals.mask = mask,
        Err(_) => {
            drop(signals);
            sys.process().with_actions(|a| a.reset(Signal::SEGV));
            let mut signals = sys.task.signals.lock();
            signals.mask = signals.mask.without(Signal::SEGV);
            signals
                .pending
                .push(Signal::SEGV, siginfo::kernel(), usize::MAX);
        }
    }
    sys.task.parker.raise_attention();
    Err(Stop::Resume)
}

fn pause(sys: &mut Sys<'_>, _: Args) -> SysResult {
    Err(sys.block(kernel_vfs::PollTable::look(), OnSignal::Resume))
}

fn rt_sigsuspend(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let mask = read_set(sys, args.u64(0), args.u64(1))?;
    sys.set_temporary_mask(mask);
    Err(sys.block(kernel_vfs::PollTable::look(), OnSignal::Resume))
}

fn rt_sigpending(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u64(1) > SET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let signals = sys.task.signals.lock();
    let shared = sys.process().signals.lock().pending.set();
    let set = SignalSet(signals.pending.set().union(shared).0 & signals.mask.0);
    drop(signals);
    let len = usize::try_from(args.u64(1)).unwrap_or(8);
    sys.mm()
        .write_bytes(args.u64(0), &set.0.to_le_bytes()[..len])?;
    Ok(0)
}

fn rt_sigtimedwait(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let wanted = read_set(sys, args.u64(0), args.u64(3))?.blockable();
    if args.u64(2) != 0 && sys.restart.deadline.is_none() {
        let timeout = clock::read_timespec(&sys.mm(), args.u64(2))?;
        sys.set_timeout(Some(timeout));
    }
    let taken = {
        let mut signals = sys.task.signals.lock();
        let taken = signals
            .pending
            .take_in(wanted)
            .or_else(|| sys.process().signals.lock().pending.take_in(wanted));
        signals.waiting_for = if taken.is_none() && !sys.timed_out() {
            wanted
        } else {
            SignalSet::EMPTY
        };
        taken
    };
    match taken {
        Some((signal, info)) => {
            if args.u64(1) != 0 {
                sys.mm().write_bytes(args.u64(1), info.as_bytes())?;
            }
            Ok(u64::from(signal.number().cast_unsigned()))
        }
        None if sys.timed_out() => Err(Errno::EAGAIN.into()),
        None => {
            let mut table = sys.waiting_table(kernel_vfs::Events::all());
            table.add(&sys.process().signal_queue);
            // What came between the look and the registration is looked for again at once.
            let missed = sys
                .task
                .signals
                .lock()
                .pending
                .set()
                .union(sys.process().signals.lock().pending.set());
            if missed.0 & wanted.0 != 0 {
                sys.task.parker.unpark();
            }
            Err(sys.block(table, OnSignal::Interrupt))
        }
    }
}

fn sigaltstack(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let sp = if args.u64(1) == 0 && args.u64(0) == 0 {
        0
    } else {
        sys.cpu.state().map_err(|e| e.errno())?.regs.rsp
    };
    let mm = sys.mm();
    let mut signals = sys.task.signals.lock();
    let current = signals.alt_stack;
    let active = current.flags & i32::MIN == 0
        && current.size != 0
        && sp > current.sp
        && sp.wrapping_sub(current.sp) <= current.size;
    if args.u64(0) != 0 {
        let mut raw = [0u8; 24];
        mm.read_bytes(args.u64(0), &mut raw)?;
        let new = SigAltStack::read_from_bytes(&raw).map_err(|_| Errno::EFAULT)?;
        if active {
            return Err(Errno::EPERM.into());
        }
        let mode = new.flags & !i32::MIN;
        if mode != 0 && mode != 1 && mode != 2 {
            return Err(Errno::EINVAL.into());
        }
        signals.alt_stack = if mode == 2 {
            SigAltStack {
                flags: 2,
                ..SigAltStack::default()
            }
        } else if new.size < MIN_STACK {
            return Err(Errno::ENOMEM.into());
        } else {
            SigAltStack {
                flags: new.flags & i32::MIN,
                ..new
            }
        };
    }
    drop(signals);
    if args.u64(1) != 0 {
        let flags = if current.size == 0 {
            2
        } else {
            (current.flags & i32::MIN) | i32::from(active)
        };
        let old = SigAltStack {
            flags,
            pad: 0,
            ..current
        };
        mm.write_bytes(args.u64(1), old.as_bytes())?;
    }
    Ok(0)
}

/// May the caller signal that process (kill(2))?
fn may_signal(sys: &Sys<'_>, target: &Process, signal: Option<Signal>) -> bool {
    let (own, other) = (sys.process().creds(), target.creds());
    let by_id = [own.euid, own.uid]
        .iter()
        .any(|id| *id == other.uid || *id == other.suid);
    let same_session = || {
        let tree = sys.kernel().tree.lock();
        let session = |pid| tree.links(pid).map(|l| l.session);
        session(sys.task.pid()) == session(target.pid())
    };
    by_id || own.has(CAP_KILL) || (signal == Some(Signal::CONT) && same_session())
}

fn signal_number(number: i32) -> Result<Option<Signal>, Errno> {
    if number == 0 {
        return Ok(None);
    }
    Signal::new(number).map(Some).ok_or(Errno::EINVAL)
}

fn user_info(sys: &Sys<'_>, code: i32) -> SigInfo {
    siginfo::user(code, sys.task.pid(), sys.process().creds().uid)
}

fn send(
    sys: &Sys<'_>,
    target: &Arc<Process>,
    signal: Option<Signal>,
    info: SigInfo,
) -> Result<(), Errno> {
    if !may_signal(sys, target, signal) {
        return Err(Errno::EPERM);
    }
    match signal {
        Some(signal) if !sys.kernel().send_to_process(target, signal, info) => Err(Errno::EAGAIN),
        _ => Ok(()),
    }
}

fn kill(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let signal = signal_number(args.i32(1))?;
    let info = user_info(sys, si_code::SI_USER);
    let own = sys.task.pid();
    let pid = args.i32(0);
    let targets: Vec<Arc<Process>> = {
        let tree = sys.kernel().tree.lock();
        let group = |g: i32| tree.group_members(g);
        let pids = match pid {
            0 => group(tree.links(own).map_or(0, |l| l.group)),
            -1 => tree
                .processes()
                .map(|(p, _)| p)
                .filter(|p| *p != 1 && *p != own)
                .collect(),
            i32::MIN => return Err(Errno::ESRCH.into()),
            p if p < 0 => group(-p),
            p => vec![p],
        };
        pids.iter()
            .filter_map(|p| tree.links(*p).map(|l| Arc::clone(&l.process)))
            .collect()
    };
    if targets.is_empty() {
        return Err(Errno::ESRCH.into());
    }
    if signal == Some(Signal::KILL) && pid <= 0 {
        return kill_many(sys, &targets, pid, &info);
    }
    let results: Vec<_> = targets.iter().map(|t| send(sys, t, signal, info)).collect();
    if results.iter().any(Result::is_ok) {
        return Ok(0);
    }
    Err(results
        .into_iter()
        .find_map(Result::err)
        .unwrap_or(Errno::ESRCH)
        .into())
}

/// `SIGKILL` to a group or to all: also to those that the targets make before it reaches them.
fn kill_many(sys: &Sys<'_>, first: &[Arc<Process>], pid: i32, info: &SigInfo) -> SysResult {
    if !first.iter().any(|t| may_signal(sys, t, Some(Signal::KILL))) {
        return Err(Errno::EPERM.into());
    }
    let own = sys.task.pid();
    let group = match pid {
        0 => sys.kernel().tree.lock().links(own).map_or(0, |l| l.group),
        _ => -pid,
    };
    sys.kernel().kill_each(|p, links| {
        let meant = if pid == -1 {
            p != 1 && p != own
        } else {
            links.group == group
        };
        meant
            && may_signal(sys, &links.process, Some(Signal::KILL))
            && !links.process.is_spared(Signal::KILL, info)
    });
    Ok(0)
}

fn thread(sys: &Sys<'_>, tgid: Option<i32>, tid: i32) -> Result<Arc<Task>, Errno> {
    if tid <= 0 || tgid.is_some_and(|t| t <= 0) {
        return Err(Errno::EINVAL);
    }
    let task = sys
        .kernel()
        .tree
        .lock()
        .task(tid)
        .cloned()
        .ok_or(Errno::ESRCH)?;
    if tgid.is_some_and(|t| t != task.pid()) {
        Err(Errno::ESRCH)
    } else {
        Ok(task)
    }
}

fn send_thread(sys: &Sys<'_>, task: &Task, number: i32, info: SigInfo) -> SysResult {
    let signal = signal_number(number)?;
    if !may_signal(sys, task.process(), signal) {
        return Err(Errno::EPERM.into());
    }
    match signal {
        Some(signal) if !sys.kernel().send_to_task(task, signal, info) => Err(Errno::EAGAIN.into()),
        _ => Ok(0),
    }
}

fn tkill(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let task = thread(sys, None, args.i32(0))?;
    send_thread(sys, &task, args.i32(1), user_info(sys, si_code::SI_TKILL))
}

fn tgkill(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let task = thread(sys, Some(args.i32(0)), args.i32(1))?;
    send_thread(sys, &task, args.i32(2), user_info(sys, si_code::SI_TKILL))
}

fn read_info(sys: &Sys<'_>, addr: u64, target: i32) -> Result<SigInfo, Errno> {
    let mut info = SigInfo::default();
    sys.mm().read_bytes(addr, info.as_mut_bytes())?;
    if (info.code >= 0 || info.code == si_code::SI_TKILL) && target != sys.task.pid() {
        return Err(Errno::EPERM);
    }
    Ok(info)
}

fn rt_sigqueueinfo(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let info = read_info(sys, args.u64(2), args.i32(0))?;
    let signal = signal_number(args.i32(1))?;
    let target = process(sys, args.i32(0))?;
    send(sys, &target, signal, info)?;
    Ok(0)
}

fn rt_tgsigqueueinfo(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let info = read_info(sys, args.u64(3), args.i32(0))?;
    let task = thread(sys, Some(args.i32(0)), args.i32(1))?;
    send_thread(sys, &task, args.i32(2), info)
}

fn pidfd_send_signal(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u32(3) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let pid = crate::pidfd::pid_of(sys, args.i32(0))?;
    let info = match args.u64(2) {
        0 => user_info(sys, si_code::SI_USER),
        addr => read_info(sys, addr, pid)?,
    };
    let target = process(sys, pid)?;
    send(sys, &target, signal_number(args.i32(1))?, info)?;
    Ok(0)
}

fn process(sys: &Sys<'_>, pid: i32) -> Result<Arc<Process>, Errno> {
    sys.kernel()
        .tree
        .lock()
        .links(pid)
        .map(|l| Arc::clone(&l.process))
        .ok_or(Errno::ESRCH)
}
