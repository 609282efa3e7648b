//! New threads and processes: clone(2), clone3(2), fork(2), vfork(2).
//!
//! ```text
//!   request ─▶ check ─▶ prepare ─▶ publish ─▶ start ─▶ (vfork: wait)
//! ```
//!
//! What is prepared is seen by nobody and goes when it is dropped. What is published is in the tree and behind its
//! descriptor, and is taken back when the host refuses the thread.

mod request;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base_abi::Errno;
use base_abi::general::{
    CAP_SYS_ADMIN, CAP_SYS_RESOURCE, CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID, CLONE_CLEAR_SIGHAND,
    CLONE_FILES, CLONE_FS, CLONE_PARENT, CLONE_PARENT_SETTID, CLONE_PIDFD, CLONE_SETTLS,
    CLONE_SIGHAND, CLONE_THREAD, CLONE_VFORK, CLONE_VM, SS_DISABLE,
};
use base_abi::structs::SigAltStack;
use kernel_core::signal::Signal;
use kernel_core::task::{
    OnSignal, Process, Resource, Task, TaskFields, TaskParts, TaskSignals, VforkDone,
};
use kernel_vfs::{Description, Fd, FdFlags, ReservedFd, StatusFlags, UserMemory};
use parking_lot::{Mutex, RwLock};
use platform_api::{Context, CpuState};

use self::request::{CSIGNAL, Request, read_arguments};
use crate::call::{Args, Sys, SysResult};
use crate::entry::Entry;
use crate::pidfd;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::partial(
        56,
        "clone",
        "xpppp",
        clone,
        "namespaces are refused with EPERM; no descriptors of threads",
    ),
    Entry::full(57, "fork", "", fork),
    Entry::full(58, "vfork", "", vfork),
    Entry::partial(
        435,
        "clone3",
        "pu",
        clone3,
        "namespaces are refused with EPERM; CLONE_INTO_CGROUP, chosen numbers and descriptors of threads are refused",
    ),
];

fn clone(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let flags = u64::from(args.u32(0));
    let request = Request {
        flags: flags & !CSIGNAL,
        exit_signal: flags & CSIGNAL,
        stack: args.u64(1),
        parent_tid: args.u64(2),
        child_tid: args.u64(3),
        tls: args.u64(4),
        pidfd: args.u64(2),
    };
    make(sys, request)
}

/// The exit signal of fork(2).
fn child_signal() -> u64 {
    u64::from(Signal::CHLD.number().cast_unsigned())
}

fn fork(sys: &mut Sys<'_>, _: Args) -> SysResult {
    let request = Request {
        exit_signal: child_signal(),
        ..Request::default()
    };
    make(sys, request)
}

fn vfork(sys: &mut Sys<'_>, _: Args) -> SysResult {
    let request = Request {
        flags: u64::from(CLONE_VFORK | CLONE_VM),
        exit_signal: child_signal(),
        ..Request::default()
    };
    make(sys, request)
}

fn clone3(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let request = read_arguments(&sys.mm(), args.u64(0), args.u64(1))?;
    make(sys, request)
}

fn make(sys: &mut Sys<'_>, request: Request) -> SysResult {
    if sys.restart.note != 0 {
        return wait_for_vfork(sys);
    }
    request.check()?;
    if request.has(CLONE_PARENT) && sys.task.pid() == 1 {
        return Err(Errno::EINVAL.into());
    }
    let (task, cpu, descriptor) = prepare(sys, &request)?.into_parts();
    let fd = publish(sys, &request, &task, descriptor)?;
    let number = u64::from(task.tid().cast_unsigned());
    let vfork = task.vfork_done.lock().clone();
    start(sys, &request, task, cpu, fd)?;
    if vfork.is_none() {
        return Ok(number);
    }
    sys.restart.note = number;
    sys.restart.vfork = vfork;
    wait_for_vfork(sys)
}

/// A task that nobody has seen.
struct Prepared {
    task: Arc<Task>,
    cpu: Box<dyn Context>,
    /// Its process's descriptor, and the number that the caller has read already.
    descriptor: Option<Descriptor>,
}

struct Descriptor {
    number: ReservedFd,
    description: Arc<Description>,
}

impl Prepared {
    fn into_parts(self) -> (Arc<Task>, Box<dyn Context>, Option<Descriptor>) {
        (self.task, self.cpu, self.descriptor)
    }
}

/// Makes everything that can fail for want of something.
fn prepare(sys: &mut Sys<'_>, request: &Request) -> Result<Prepared, Errno> {
    // Looked at again when the number is taken; a fork of memory that is refused then would be wasted.
    let limit = sys.kernel().config.max_tasks;
    if !sys.kernel().tree.lock().has_room(limit) {
        return Err(Errno::EAGAIN);
    }
    if too_many_of_user(sys, limit) {
        return Err(Errno::EAGAIN);
    }
    let parent = Arc::clone(sys.task);
    let mm = if request.has(CLONE_VM) {
        parent.mm()
    } else {
        Arc::new(parent.mm().fork()?)
    };
    let state = child_state(sys, request)?;
    let cpu = mm.space().new_context(state).map_err(|e| e.errno())?;
    let tid = sys.kernel().tree.lock().allocate(limit);
    let tid = tid.ok_or(Errno::EAGAIN)?;
    let process = if request.has(CLONE_THREAD) {
        Arc::clone(parent.process())
    } else {
        new_process(sys, request, tid)
    };
    let files = if request.has(CLONE_FILES) {
        parent.files()
    } else {
        Arc::new(parent.files().fork())
    };
    let fs = if request.has(CLONE_FS) {
        parent.fs()
    } else {
        Arc::new(RwLock::new(parent.fs().read().clone()))
    };
    let wanted = request.has(CLONE_PIDFD);
    let descriptor = wanted.then(|| prepare_descriptor(sys, request, &process));
    let descriptor = descriptor.transpose()?;
    let task = Arc::new(Task::new(TaskParts {
        tid,
        process,
        mm,
        files,
        fs,
        signals: child_signals(&parent, request),
        fields: child_fields(&parent, request),
        started: sys.now(),
    }));
    if request.has(CLONE_VFORK) {
        *task.vfork_done.lock() = Some(Arc::new(VforkDone::default()));
    }
    Ok(Prepared {
        task,
        cpu,
        descriptor,
    })
}

/// `RLIMIT_NPROC`: threads of the caller's real user, unless it is privileged (getrlimit(2)).
fn too_many_of_user(sys: &Sys<'_>, tasks: usize) -> bool {
    let limit = sys.process().limit(Resource::Nproc);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let creds = sys.process().creds();
    let free = creds.uid == 0 || creds.has(CAP_SYS_RESOURCE) || creds.has(CAP_SYS_ADMIN);
    // Where all may have no more, nobody needs to be counted.
    if limit >= tasks || free {
        return false;
    }
    let tree = sys.kernel().tree.lock();
    let own = |task: &&Arc<Task>| task.process().creds.read().uid == creds.uid;
    tree.tasks().filter(own).count() >= limit
}

/// Takes a number for the descriptor of a process, and tells the caller.
fn prepare_descriptor(
    sys: &Sys<'_>,
    request: &Request,
    process: &Arc<Process>,
) -> Result<Descriptor, Errno> {
    let number = sys.files().reserve(sys.nofile())?;
    let fd = number.fd().to_le_bytes();
    sys.mm().write_bytes(request.pidfd, &fd)?;
    let description = pidfd::description(&sys.system.kernel, process, StatusFlags::empty());
    Ok(Descriptor {
        number,
        description,
    })
}

/// Puts the task into the tree, and its descriptor behind its number.
fn publish(
    sys: &Sys<'_>,
    request: &Request,
    task: &Arc<Task>,
    descriptor: Option<Descriptor>,
) -> Result<Option<Fd>, Errno> {
    let caller = sys.process();
    let process = task.process();
    {
        let mut tree = sys.kernel().tree.lock();
        if !request.has(CLONE_THREAD) {
            // Who is killed makes no process any more: whoever kills a whole tree relies on it.
            if caller.exiting().is_some() {
                return Err(Errno::EINTR);
            }
            let chosen = i32::try_from(request.exit_signal).ok();
            let chosen = chosen.and_then(Signal::new);
            // A sibling tells the common parent in the way that the caller itself does.
            let (parent, signal) = match tree.links(caller.pid()) {
                Some(links) if request.has(CLONE_PARENT) => (links.parent, links.exit_signal),
                _ => (caller.pid(), chosen),
            };
            tree.add_process(Arc::clone(process), parent, signal);
        }
        tree.add_task(task);
    }
    let cpu = process.limit(Resource::Cpu);
    if !request.has(CLONE_THREAD) && cpu != u64::MAX {
        sys.system.process_timers.limit_cpu(process.pid(), cpu);
    }
    // An exit that was decided while the task was being made must reach it too.
    if process.exiting().is_some() || process.exec_thread().is_some() {
        task.parker.raise_attention();
    }
    Ok(descriptor.map(|d| d.number.install(d.description, FdFlags::CLOEXEC)))
}

/// Lets the task run; takes back what was published when the host has no thread for it.
fn start(
    sys: &Sys<'_>,
    request: &Request,
    task: Arc<Task>,
    cpu: Box<dyn Context>,
    fd: Option<Fd>,
) -> Result<(), Errno> {
    let word = task.tid().to_le_bytes();
    // Bad addresses change nothing: the child is there (clone(2) does not name EFAULT).
    if request.has(CLONE_PARENT_SETTID) {
        let _ = sys.mm().write_bytes(request.parent_tid, &word);
    }
    if request.has(CLONE_CHILD_SETTID) {
        let _ = task.mm().write_bytes(request.child_tid, &word);
    }
    let (tid, pid) = (task.tid(), task.pid());
    if (sys.start_task)(Arc::clone(sys.system), task, cpu).is_ok() {
        return Ok(());
    }
    {
        let mut tree = sys.kernel().tree.lock();
        if tree.remove_task(tid, pid) {
            tree.reap(pid);
        }
    }
    if let Some(fd) = fd {
        // Somebody else may have closed it meanwhile.
        let _ = sys.files().close(fd);
    }
    Err(Errno::EAGAIN)
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
    if request.has(CLONE_SETTLS) {
        if request.tls >= sys.kernel().platform.features().max_address {
            return Err(Errno::EPERM);
        }
        state.regs.fs_base = request.tls;
    }
    Ok(state)
}

fn new_process(sys: &Sys<'_>, request: &Request, pid: i32) -> Arc<Process> {
    let parent = sys.process();
    let actions = if request.has(CLONE_SIGHAND) {
        Arc::clone(&parent.actions.read())
    } else {
        let mut copy = parent.with_actions(|a| a.clone());
        if request.has_wide(CLONE_CLEAR_SIGHAND) {
            copy.clear();
        }
        Arc::new(Mutex::new(copy))
    };
    let limits = parent.limits.read().clone();
    let process = Process::new(pid, sys.now(), parent.creds(), limits, actions);
    let personality = parent.personality.load(Ordering::Relaxed);
    process.personality.store(personality, Ordering::Relaxed);
    let dumpable = parent.dumpable.load(Ordering::Relaxed);
    process.dumpable.store(dumpable, Ordering::Relaxed);
    let score = parent.oom_score_adj.load(Ordering::Relaxed);
    process.oom_score_adj.store(score, Ordering::Relaxed);
    Arc::new(process)
}

fn child_signals(parent: &Task, request: &Request) -> TaskSignals {
    let signals = parent.signals.lock();
    // A thread, or a child on the parent's memory with a stack of its own, starts without alternate stack.
    let keeps_stack = !request.has(CLONE_VM) || request.has(CLONE_VFORK);
    let alt_stack = if keeps_stack {
        signals.alt_stack
    } else {
        SigAltStack {
            flags: SS_DISABLE.cast_signed(),
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
    let clears = request.has(CLONE_CHILD_CLEARTID);
    TaskFields {
        clear_child_tid: if clears { request.child_tid } else { 0 },
        name: fields.name.clone(),
        affinity: fields.affinity,
        nice: fields.nice,
        timer_slack: fields.timer_slack,
        ..TaskFields::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MEMORY, Machine, refuse_threads};

    const CLONE3: u64 = 435;

    /// `struct clone_args` for a process with a descriptor that is told at `pidfd`.
    fn with_descriptor(machine: &Machine, pidfd: u64) -> [u64; 6] {
        let words: [u64; 11] = [u64::from(CLONE_PIDFD), pidfd, 0, 0, 17, 0, 0, 0, 0, 0, 0];
        machine.write(MEMORY, &words);
        [MEMORY, 88, 0, 0, 0, 0]
    }

    /// Descriptors, processes and threads that are there.
    fn there(machine: &Machine) -> (usize, usize, usize) {
        let tree = machine.system.kernel.tree.lock();
        let (processes, threads) = (tree.processes().count(), tree.task_count());
        (machine.task.files().len(), processes, threads)
    }

    #[test]
    fn what_the_host_has_no_thread_for_is_taken_back() {
        let mut machine = Machine::new();
        let before = there(&machine);
        let args = with_descriptor(&machine, MEMORY + 512);
        machine.start_task = refuse_threads;
        assert_eq!(machine.call(CLONE3, args), Err(Errno::EAGAIN));
        assert_eq!(there(&machine), before);
        // The number is free again.
        assert_eq!(machine.task.files().reserve(64).unwrap().fd(), 0);
    }

    #[test]
    fn what_cannot_be_told_to_the_caller_is_not_made() {
        let mut machine = Machine::new();
        let before = there(&machine);
        let args = with_descriptor(&machine, 1);
        assert_eq!(machine.call(CLONE3, args), Err(Errno::EFAULT));
        assert_eq!(there(&machine), before);
        assert_eq!(machine.task.files().reserve(64).unwrap().fd(), 0);
    }

    #[test]
    fn who_is_killed_makes_no_process() {
        let mut machine = Machine::new();
        let before = there(&machine);
        let status = kernel_core::task::ExitStatus::Code(1);
        machine.task.process().begin_exit(status);
        let args = with_descriptor(&machine, MEMORY + 512);
        assert_eq!(machine.call(CLONE3, args), Err(Errno::EINTR));
        assert_eq!(there(&machine), before);
    }
}
