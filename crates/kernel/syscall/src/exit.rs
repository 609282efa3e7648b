//! How threads and processes end (exit(2), exit_group(2)).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kernel_core::signal::{Signal, si_code, siginfo};
use kernel_core::task::{ExitStatus, Pid, Process, Task, Tree};
use kernel_vfs::{Events, UserMemory};

use crate::System;
use crate::call::{Args, Stop, Sys, SysResult};
use crate::entry::Entry;
use crate::futex::{key_of, release_robust_list};

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(60, "exit", "d", exit),
    Entry::full(231, "exit_group", "d", exit_group),
];

fn exit(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let [code, ..] = args.u64(0).to_le_bytes();
    sys.task.set_exit_code(code);
    Err(Stop::Exit)
}

fn exit_group(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let [code, ..] = args.u64(0).to_le_bytes();
    let process = Arc::clone(sys.process());
    sys.kernel().exit_process(&process, ExitStatus::Code(code));
    Err(Stop::Exit)
}

const SIG_IGN: u64 = 1;
const SA_NOCLDWAIT: u64 = 2;

/// What a thread does while its memory is still there: robust futexes, `clear_child_tid`.
pub(crate) fn leave(system: &System, task: &Arc<Task>) {
    let mm = task.mm();
    release_robust_list(system, task, &mm);
    let clear = std::mem::take(&mut task.fields.lock().clear_child_tid);
    if clear != 0 && mm.write_bytes(clear, &0u32.to_le_bytes()).is_ok() {
        if let Ok(key) = key_of(&mm, clear, true) {
            system.kernel.futexes.wake(key, 1, u32::MAX);
        }
        if let Ok(key) = key_of(&mm, clear, false) {
            system.kernel.futexes.wake(key, 1, u32::MAX);
        }
    }
}

/// After execve the old program's words mean nothing.
pub(crate) fn forget_user_words(task: &Task) {
    let mut fields = task.fields.lock();
    fields.clear_child_tid = 0;
    fields.robust_list = (0, 0);
}

/// Gives everything back and takes the thread out of the tree; the last one ends its process.
pub(crate) fn finish(system: &Arc<System>, task: Arc<Task>) {
    let kernel = &system.kernel;
    let process = Arc::clone(task.process());
    {
        let mut times = process.ended_times.lock();
        times.user += task.user_time.load(Ordering::Relaxed);
        times.system += task.system_time.load(Ordering::Relaxed);
    }
    let status = process
        .exiting()
        .unwrap_or(ExitStatus::Code(task.exit_code()));
    let leader_dies = task.tid() == process.pid();
    if leader_dies {
        process.remember_leader_status(status);
    }
    task.release_resources();
    task.release_vfork();
    let last = kernel.tree.lock().remove_task(task.tid(), process.pid());
    drop(task);
    if last {
        end_process(
            system,
            &process,
            process
                .exiting()
                .or(process.leader_status())
                .unwrap_or(status),
        );
    }
}

fn end_process(
    system: &Arc<System>,
    process: &Arc<kernel_core::task::Process>,
    status: ExitStatus,
) {
    let kernel = &system.kernel;
    let pid = process.pid();
    system.forget_process(pid);
    let ending = kernel.ending.lock();
    let left = {
        let mut tree = kernel.tree.lock();
        let Some(left) = leave_tree(&mut tree, pid, status) else {
            return;
        };
        left
    };
    for (child, signal) in left.signalled {
        let _ = kernel.send_to_process(&child, signal, siginfo::kernel());
    }
    for orphan in left.stopped_orphans {
        let _ = kernel.send_to_process(&orphan, Signal::HUP, siginfo::kernel());
        let _ = kernel.send_to_process(&orphan, Signal::CONT, siginfo::kernel());
    }
    for end in left.ends {
        tell_parent(system, &end);
    }
    // Who learns of the end by a descriptor finds all that belongs to it done.
    process.exit_queue.wake(Events::READABLE);
    if pid == 1 {
        // Its end is the sandbox's.
        kernel.kill_all();
        kernel.set_first_status(status);
    }
    drop(ending);
    if kernel.tree.lock().task_count() == 0 || left.empty {
        kernel.set_ended();
    }
}

/// The end of a process, for whoever is its parent.
struct End {
    parent: Arc<Process>,
    child: Arc<Process>,
    signal: Option<Signal>,
    status: ExitStatus,
    /// Nobody waits for it: it goes, and nothing is said of it.
    unclaimed: bool,
}

/// What is to be told when a process has become a zombie.
struct Left {
    /// Children that asked for a signal, and which.
    signalled: Vec<(Arc<Process>, Signal)>,
    /// Stopped groups that nobody could continue any more.
    stopped_orphans: Vec<Arc<Process>>,
    /// The process, and zombies that have another parent now.
    ends: Vec<End>,
    /// No thread is left.
    empty: bool,
}

/// Makes a process a zombie and gives its children to another.
fn leave_tree(tree: &mut Tree, pid: Pid, status: ExitStatus) -> Option<Left> {
    let signalled = asked_for_signal(tree, pid);
    let groups = tree.groups_that_depend_on(pid);
    let (_, mut ended) = tree.reparent_children(pid);
    tree.links_mut(pid)?.ended = Some(status);
    ended.push(pid);
    let orphans = groups.into_iter().flat_map(|g| tree.stopped_orphans(g));
    Some(Left {
        signalled,
        stopped_orphans: orphans.collect(),
        ends: ended.into_iter().filter_map(|p| end_of(tree, p)).collect(),
        empty: tree.task_count() == 0,
    })
}

fn end_of(tree: &Tree, pid: Pid) -> Option<End> {
    let links = tree.links(pid)?;
    Some(End {
        parent: Arc::clone(&tree.links(links.parent)?.process),
        child: Arc::clone(&links.process),
        signal: links.exit_signal,
        status: links.ended?,
        unclaimed: tree.is_unclaimed(pid),
    })
}

/// Children that asked to be told when their parent ends (`PR_SET_PDEATHSIG`), and how.
fn asked_for_signal(tree: &Tree, pid: Pid) -> Vec<(Arc<Process>, Signal)> {
    let children = tree.links(pid).map(|links| &links.children);
    let threads = children
        .into_iter()
        .flatten()
        .flat_map(|child| tree.threads_of(*child));
    let asked = |task: Arc<Task>| {
        let signal = task.fields.lock().parent_death_signal?;
        Some((Arc::clone(task.process()), signal))
    };
    threads.filter_map(asked).collect()
}

/// Sends the parent what it is to get, or takes the zombie away when nobody wants it (wait(2), notes).
fn tell_parent(system: &System, end: &End) {
    let kernel = &system.kernel;
    let parent = &end.parent;
    let disdained = end.signal == Some(Signal::CHLD)
        && parent.with_actions(|a| {
            let action = a.get(Signal::CHLD);
            action.handler == SIG_IGN || action.flags & SA_NOCLDWAIT != 0
        });
    if end.unclaimed || disdained {
        kernel.tree.lock().reap(end.child.pid());
    }
    let (code, value) = match end.status {
        ExitStatus::Code(code) => (si_code::CLD_EXITED, i32::from(code)),
        ExitStatus::Signal {
            number,
            core: false,
        } => (si_code::CLD_KILLED, i32::from(number)),
        ExitStatus::Signal { number, core: true } => (si_code::CLD_DUMPED, i32::from(number)),
    };
    match end.signal.filter(|_| !end.unclaimed) {
        Some(signal) => kernel.notify_parent_with(parent, &end.child, signal, code, value),
        None => parent.child_queue.wake(Events::READABLE),
    }
}
