//! New threads and processes: clone(2), clone3(2), fork(2), vfork(2).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base_abi::Errno;
use base_abi::structs::SigAltStack;
use kernel_core::signal::Signal;
use kernel_core::task::{OnSignal, Process, Task, TaskFields, TaskParts, TaskSignals, VforkDone};
use kernel_vfs::UserMemory;
use parking_lot::{Mutex, RwLock};
use platform_api::CpuState;

use crate::call::{Args, Sys, SysResult};
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::partial(
        56,
        "clone",
        "xpppp",
        clone,
        "namespaces are refused with EPERM",
    ),
    Entry::full(57, "fork", "", fork),
    Entry::full(58, "vfork", "", vfork),
    Entry::partial(
        435,
        "clone3",
        "pu",
        clone3,
        "namespaces are refused with EPERM; CLONE_INTO_CGROUP is refused",
    ),
];

const CSIGNAL: u64 = 0xff;
const VM: u64 = 0x100;
const FS: u64 = 0x200;
const FILES: u64 = 0x400;
const SIGHAND: u64 = 0x800;
const PIDFD: u64 = 0x1000;
const VFORK: u64 = 0x4000;
const PARENT: u64 = 0x8000;
const THREAD: u64 = 0x1_0000;
const SETTLS: u64 = 0x8_0000;
const PARENT_SETTID: u64 = 0x10_0000;
const CHILD_CLEARTID: u64 = 0x20_0000;
const CHILD_SETTID: u64 = 0x100_0000;
const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const INTO_CGROUP: u64 = 0x2_0000_0000;
/// Every `CLONE_NEW*` bit.
const NAMESPACES: u64 = 0x7e02_0080;

/// What clone(2) and clone3(2) have in common.
#[derive(Clone, Copy, Default)]
struct Request {
    flags: u64,
    exit_signal: u64,
    stack: u64,
    parent_tid: u64,
    child_tid: u64,
    tls: u64,
    pidfd: u64,
}

fn clone(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let flags = args.u64(0) & 0xffff_ffff;
    let request = Request {
        flags: flags & !CSIGNAL,
        exit_signal: flags & CSIGNAL,
        stack: args.u64(1),
        parent_tid: args.u64(2),
        child_tid: args.u64(3),
        tls: args.u64(4),
        pidfd: args.u64(2),
    };
    start(sys, request)
}

fn fork(sys: &mut Sys<'_>, _: Args) -> SysResult {
    start(
        sys,
        Request {
            exit_signal: 17,
            ..Request::default()
        },
    )
}

fn vfork(sys: &mut Sys<'_>, _: Args) -> SysResult {
    start(
        sys,
        Request {
            flags: VFORK | VM,
            exit_signal: 17,
            ..Request::default()
        },
    )
}

fn clone3(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let size = args.usize(1);
    if size < 64 {
        return Err(Errno::EINVAL.into());
    }
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    let mut raw = vec![0u8; size];
    sys.mm().read_bytes(args.u64(0), &mut raw)?;
    if raw.iter().skip(88).any(|b| *b != 0) {
        return Err(Errno::E2BIG.into());
    }
    raw.resize(88, 0);
    let field = |i: usize| {
        let mut word = [0u8; 8];
        word.copy_from_slice(&raw[i * 8..i * 8 + 8]);
        u64::from_le_bytes(word)
    };
    let (stack, stack_size, set_tid) = (field(5), field(6), field(9));
    if (stack == 0) != (stack_size == 0) || field(0) & CSIGNAL != 0 || field(4) > 64 || set_tid != 0
    {
        return Err(Errno::EINVAL.into());
    }
    let request = Request {
        flags: field(0),
        pidfd: field(1),
        child_tid: field(2),
        parent_tid: field(3),
        exit_signal: field(4),
        stack: stack.wrapping_add(stack_size),
        tls: field(7),
    };
    start(sys, request)
}

fn check(request: &Request) -> Result<(), Errno> {
    let has = |bits: u64| request.flags & bits == bits;
    let inconsistent = (has(SIGHAND) && !has(VM))
        || (has(THREAD) && !has(SIGHAND))
        || (has(SIGHAND) && has(CLEAR_SIGHAND))
        || (has(THREAD) && has(PIDFD))
        || has(INTO_CGROUP);
    if inconsistent {
        return Err(Errno::EINVAL);
    }
    if request.flags & NAMESPACES != 0 {
        return Err(Errno::EPERM);
    }
    Ok(())
}

fn start(sys: &mut Sys<'_>, request: Request) -> SysResult {
    if sys.restart.note != 0 {
        return wait_for_vfork(sys);
    }
    check(&request)?;
    if request.flags & PARENT != 0 && sys.task.pid() == 1 {
        return Err(Errno::EINVAL.into());
    }
    // Looked at again when the number is taken; a fork of memory that is refused then would be wasted.
    let limit = sys.kernel().config.max_tasks;
    if sys.kernel().tree.lock().is_full(limit) {
        return Err(Errno::EAGAIN.into());
    }
    let has = |bits: u64| request.flags & bits == bits;
    let parent = Arc::clone(sys.task);
    let mm = if has(VM) {
        parent.mm()
    } else {
        Arc::new(parent.mm().fork()?)
    };
    let state = child_state(sys, &request)?;
    let cpu = mm.space().new_context(state).map_err(|e| e.errno())?;

    let tid = {
        let mut tree = sys.kernel().tree.lock();
        tree.allocate(sys.kernel().config.max_tasks)
            .ok_or(Errno::EAGAIN)?
    };
    let process = if has(THREAD) {
        Arc::clone(parent.process())
    } else {
        new_process(sys, &request, tid)
    };
    let task = Arc::new(Task::new(TaskParts {
        tid,
        process: Arc::clone(&process),
        mm: Arc::clone(&mm),
        files: if has(FILES) {
            parent.files()
        } else {
            Arc::new(parent.files().fork())
        },
        fs: if has(FS) {
            parent.fs()
        } else {
            Arc::new(RwLock::new(parent.fs().read().clone()))
        },
        signals: child_signals(&parent, &request),
        fields: child_fields(&parent, &request),
        started: sys.now(),
    }));
    let mut pidfd = None;
    if has(PIDFD) {
        pidfd = Some(crate::pidfd::install(
            sys,
            &process,
            kernel_vfs::StatusFlags::empty(),
        )?);
    }
    let number = u64::from(tid.cast_unsigned());
    let word = tid.to_le_bytes();
    if has(PARENT_SETTID) {
        let _ = parent.mm().write_bytes(request.parent_tid, &word);
    }
    if let Some(fd) = pidfd {
        parent.mm().write_bytes(request.pidfd, &fd.to_le_bytes())?;
    }
    if has(CHILD_SETTID) {
        let _ = mm.write_bytes(request.child_tid, &word);
    }
    let vfork = has(VFORK).then(|| Arc::new(VforkDone::default()));
    (*task.vfork_done.lock()).clone_from(&vfork);
    {
        let mut tree = sys.kernel().tree.lock();
        if !has(THREAD) {
            // Who is killed makes no process any more: whoever kills a whole tree relies on it.
            if parent.process().exiting().is_some() {
                return Err(Errno::EINTR.into());
            }
            let chosen = i32::try_from(request.exit_signal)
                .ok()
                .and_then(Signal::new);
            // A sibling tells the common parent in the way that the caller itself does.
            let (parent_pid, signal) = match tree.links(parent.pid()) {
                Some(links) if has(PARENT) => (links.parent, links.exit_signal),
                _ => (parent.pid(), chosen),
            };
            tree.add_process(Arc::clone(&process), parent_pid, signal);
        }
        tree.add_task(&task);
    }
    // An exit that was decided while the task was being made must reach it too.
    if process.exiting().is_some() || process.exec_thread().is_some() {
        task.parker.raise_attention();
    }
    if (sys.start_task)(Arc::clone(sys.system), Arc::clone(&task), cpu).is_err() {
        let mut tree = sys.kernel().tree.lock();
        if tree.remove_task(tid, process.pid()) {
            tree.reap(process.pid());
        }
        return Err(Errno::EAGAIN.into());
    }
    match vfork {
        None => Ok(number),
        Some(done) => {
            sys.restart.note = number;
            sys.restart.vfork = Some(done);
            wait_for_vfork(sys)
        }
    }
}

/// The parent of a vfork sleeps until the child gives the memory back; only death interrupts it.
fn wait_for_vfork(sys: &mut Sys<'_>) -> SysResult {
    let number = sys.restart.note;
    let Some(done) = sys.restart.vfork.clone() else {
        return Ok(number);
    };
    sys.wait_for(&done.queue, OnSignal::Uninterruptible, |_| {
        Ok(done.done.load(Ordering::SeqCst).then_some(number))
    })
}

fn child_state(sys: &mut Sys<'_>, request: &Request) -> Result<CpuState, Errno> {
    let mut state = sys.cpu.state().map_err(|e| e.errno())?.clone();
    state.regs.rax = 0;
    if request.stack != 0 {
        state.regs.rsp = request.stack;
    }
    if request.flags & SETTLS != 0 {
        if request.tls >= sys.kernel().platform.features().max_address {
            return Err(Errno::EPERM);
        }
        state.regs.fs_base = request.tls;
    }
    Ok(state)
}

fn new_process(sys: &Sys<'_>, request: &Request, pid: i32) -> Arc<Process> {
    let parent = sys.process();
    let actions = if request.flags & SIGHAND != 0 {
        Arc::clone(&parent.actions.read())
    } else {
        let mut copy = parent.with_actions(|a| a.clone());
        if request.flags & CLEAR_SIGHAND != 0 {
            copy.clear();
        }
        Arc::new(Mutex::new(copy))
    };
    let limits = parent.limits.read().clone();
    let process = Process::new(pid, sys.now(), parent.creds(), limits, actions);
    process.personality.store(
        parent.personality.load(Ordering::Relaxed),
        Ordering::Relaxed,
    );
    process.oom_score_adj.store(
        parent.oom_score_adj.load(Ordering::Relaxed),
        Ordering::Relaxed,
    );
    Arc::new(process)
}

fn child_signals(parent: &Task, request: &Request) -> TaskSignals {
    let signals = parent.signals.lock();
    // A thread, or a child on the parent's memory with a stack of its own, starts without alternate stack.
    let keeps_stack = request.flags & VM == 0 || request.flags & VFORK != 0;
    let alt_stack = if keeps_stack {
        signals.alt_stack
    } else {
        SigAltStack {
            flags: 2,
            ..SigAltStack::default()
        }
    };
    TaskSignals {
        mask: signals.mask,
        alt_stack,
        ..TaskSignals::default()
    }
}

fn child_fields(parent: &Task, request: &Request) -> TaskFields {
    let fields = parent.fields.lock();
    TaskFields {
        clear_child_tid: if request.flags & CHILD_CLEARTID != 0 {
            request.child_tid
        } else {
            0
        },
        name: fields.name.clone(),
        affinity: fields.affinity,
        nice: fields.nice,
        timer_slack: fields.timer_slack,
        ..TaskFields::default()
    }
}
