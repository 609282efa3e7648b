//! The root of all state of one sandbox's kernel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base_abi::structs::SigInfo;
use kernel_vfs::{Events, WaitQueue};
use parking_lot::{Condvar, Mutex};
use platform_api::Platform;

use crate::freeze::{Freezer, NotFrozen};
use crate::futex::FutexTable;
use crate::rng::Rng;
use crate::signal::{DefaultAction, Disposition, Signal, SignalSet, si_code, siginfo};
use crate::task::{ExitStatus, Links, Pid, Process, Resource, StopState, Task, Tree};

/// What a kernel is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// uname(2) node name.
    pub hostname: String,
    /// Processors that the guest sees.
    pub cpus: u32,
    /// Bytes of memory that the guest sees and that the sandbox enforces.
    pub memory: u64,
    /// Threads that may live at once.
    pub max_tasks: usize,
    /// Words about the processor for the auxiliary vector.
    pub cpu: CpuFacts,
}

/// What getauxval(3) tells of the processor.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuFacts {
    /// `AT_HWCAP`: CPUID leaf 1 EDX.
    pub hwcap: u64,
    /// `AT_HWCAP2`: bit 1 says that `wrfsbase` may be used.
    pub hwcap2: u64,
    /// `AT_MINSIGSTKSZ` in bytes.
    pub min_signal_stack: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            hostname: String::from("sandbox"),
            cpus: 1,
            memory: 512 << 20,
            max_tasks: 1024,
            cpu: CpuFacts::default(),
        }
    }
}

#[derive(Default)]
struct Ended {
    status: Option<ExitStatus>,
    all_gone: bool,
}

/// How long the next task waits for one that was thawed before it, computes and never leaves guest code.
const LONGEST_THAW: Duration = Duration::from_millis(50);

/// State that every task shares. File systems, sockets and clocks hang on the layer above.
pub struct Kernel {
    /// What it was made with.
    pub config: Config,
    /// What runs guest code.
    pub platform: Arc<dyn Platform>,
    /// Processes and threads.
    pub tree: Mutex<Tree>,
    /// Futex waiters.
    pub futexes: FutexTable,
    /// Random numbers.
    pub rng: Rng,
    /// The freeze switch.
    pub freezer: Freezer,
    /// Held while a process becomes a zombie and its parent is told, and by whoever looks for zombies: no wait is over
    /// before the signal of what it waited for was sent.
    pub ending: Mutex<()>,
    /// Told when a task that was kicked has left guest code (membarrier(2)).
    pub guest_left: WaitQueue,
    ended: Mutex<Ended>,
    end: Condvar,
}

impl Kernel {
    /// A kernel without tasks. `seed` is host entropy.
    #[must_use]
    pub fn new(config: Config, platform: Arc<dyn Platform>, seed: [u8; 32]) -> Kernel {
        Kernel {
            config,
            platform,
            tree: Mutex::default(),
            futexes: FutexTable::default(),
            rng: Rng::new(seed),
            freezer: Freezer::default(),
            ending: Mutex::new(()),
            guest_left: WaitQueue::new(),
            ended: Mutex::default(),
            end: Condvar::new(),
        }
    }

    /// How process 1 ended; the first call counts.
    pub fn set_first_status(&self, status: ExitStatus) {
        self.ended.lock().status.get_or_insert(status);
    }

    /// Told by the task loop when the last thread is gone.
    pub fn set_ended(&self) {
        self.ended.lock().all_gone = true;
        self.end.notify_all();
    }

    /// Waits until every thread is gone and says how process 1 ended; `None` when the deadline came first.
    pub fn wait_ended(&self, deadline: Option<Instant>) -> Option<ExitStatus> {
        let mut ended = self.ended.lock();
        while !(ended.all_gone && ended.status.is_some()) {
            match deadline {
                None => self.end.wait(&mut ended),
                Some(at) => {
                    if self.end.wait_until(&mut ended, at).timed_out() {
                        return None;
                    }
                }
            }
        }
        ended.status
    }

    /// Stops all guest code; sleeping tasks stay asleep.
    ///
    /// # Errors
    /// When some task did not stop within the limit.
    pub fn freeze(&self, limit: Duration) -> Result<(), NotFrozen> {
        self.freezer.freeze(limit, || self.kick_all())
    }

    /// Lets guest code run again.
    pub fn thaw(&self) {
        self.freezer.thaw();
    }

    /// The same one task after the other, as one that resumes processors in a loop would do it: none is woken before the last one has
    /// run guest code. Comes back when all have. Beside [`thaw`](Kernel::thaw) it shows what waking all at once brings.
    pub fn thaw_in_turn(&self) {
        self.freezer.thaw_in_turn(LONGEST_THAW);
    }

    /// Kills every process with `SIGKILL`.
    pub fn kill_all(&self) {
        self.kill_each(|_, _| true);
    }

    /// Kills the living processes that are chosen, and those that they make meanwhile if these are chosen too.
    ///
    /// Who begins to end makes no process any more (clone(2) looks at that under the tree's lock), so looking again
    /// until none is found misses nobody and comes to an end.
    pub fn kill_each(&self, chosen: impl Fn(Pid, &Links) -> bool) {
        loop {
            let found: Vec<Arc<Process>> = {
                let tree = self.tree.lock();
                let living = tree.processes().filter(|(pid, links)| {
                    links.ended.is_none()
                        && links.process.exiting().is_none()
                        && chosen(*pid, links)
                });
                living.map(|(_, l)| Arc::clone(&l.process)).collect()
            };
            if found.is_empty() {
                return;
            }
            for process in found {
                self.kill_process(&process);
            }
        }
    }

    /// Kills one process with `SIGKILL`: its end is decided when this returns.
    pub fn kill_process(&self, process: &Process) {
        self.resume_stopped(process, false);
        self.exit_process(
            process,
            ExitStatus::Signal {
                number: 9,
                core: false,
            },
        );
    }

    /// Makes all tasks come to their work loop.
    pub fn kick_all(&self) {
        let tasks: Vec<Arc<Task>> = self.tree.lock().tasks().cloned().collect();
        for task in tasks {
            task.kick();
        }
    }

    /// Begins the end of a whole process: decides its status, kicks its threads.
    pub fn exit_process(&self, process: &Process, status: ExitStatus) {
        process.begin_exit(status);
        for task in self.tree.lock().threads_of(process.pid()) {
            task.kick();
        }
    }

    /// Sends a signal to a process; any thread that does not block it may take it.
    ///
    /// # Errors
    /// `false` means the queue of a real-time signal is full (`EAGAIN`).
    #[must_use]
    pub fn send_to_process(&self, process: &Process, signal: Signal, info: SigInfo) -> bool {
        // Others may yet get a handler, and are looked at when they are taken.
        if matches!(signal, Signal::KILL | Signal::STOP) && process.is_spared(signal, &info) {
            return true;
        }
        if signal == Signal::KILL {
            self.kill_process(process);
            return true;
        }
        let queued = self.prepare(process, signal).then(|| {
            let limit = usize::try_from(process.limit(Resource::Sigpending)).unwrap_or(usize::MAX);
            process.signals.lock().pending.push(signal, info, limit)
        });
        // Who goes on finds the signal that continued it.
        if signal == Signal::CONT {
            self.resume_stopped(process, true);
        }
        let Some(queued) = queued else {
            return true;
        };
        self.tell_of(process, signal);
        queued
    }

    /// Sends a process the signal of a POSIX timer.
    pub fn send_timer_to_process(&self, process: &Process, signal: Signal, info: SigInfo) {
        if process.is_spared(signal, &info) && signal == Signal::KILL
            || !self.prepare(process, signal)
        {
            return;
        }
        if signal == Signal::KILL {
            return self.kill_process(process);
        }
        process.signals.lock().pending.push_timer(signal, info);
        self.tell_of(process, signal);
    }

    /// The same for one thread.
    pub fn send_timer_to_task(&self, task: &Task, signal: Signal, info: SigInfo) {
        let process = task.process();
        if signal == Signal::KILL {
            return self.send_timer_to_process(process, signal, info);
        }
        if self.prepare(process, signal) {
            task.signals.lock().pending.push_timer(signal, info);
            task.kick();
            process.signal_queue.wake(Events::READABLE);
        }
    }

    /// Lets a thread that takes a signal of the process look for it.
    fn tell_of(&self, process: &Process, signal: Signal) {
        let threads = self.tree.lock().threads_of(process.pid());
        let takes = |t: &&Arc<Task>| {
            let state = t.signals.lock();
            !state.mask.contains(signal) || state.waiting_for.contains(signal)
        };
        if let Some(task) = threads.iter().find(takes) {
            task.kick();
        }
        process.signal_queue.wake(Events::READABLE);
    }

    /// Sends a signal to one thread.
    #[must_use]
    pub fn send_to_task(&self, task: &Task, signal: Signal, info: SigInfo) -> bool {
        if matches!(signal, Signal::KILL | Signal::STOP) {
            return self.send_to_process(task.process(), signal, info);
        }
        let process = task.process();
        let queued = self.prepare(process, signal).then(|| {
            let limit = usize::try_from(process.limit(Resource::Sigpending)).unwrap_or(usize::MAX);
            task.queue_signal(signal, info, limit)
        });
        if signal == Signal::CONT {
            self.resume_stopped(process, true);
        }
        let Some(queued) = queued else {
            return true;
        };
        task.kick();
        task.process().signal_queue.wake(Events::READABLE);
        queued
    }

    /// Effects a signal has when it is sent (signal(7)): stops and continues
    /// cancel each other, ignored ones vanish unless a thread blocks or awaits them.
    /// False when nothing is to be queued.
    fn prepare(&self, process: &Process, signal: Signal) -> bool {
        const STOPS: SignalSet = SignalSet((1 << 18) | (1 << 19) | (1 << 20) | (1 << 21));
        let is_stop = STOPS.contains(signal);
        if is_stop || signal == Signal::CONT {
            let unwanted = if is_stop {
                SignalSet::EMPTY.with(Signal::CONT)
            } else {
                STOPS
            };
            process.signals.lock().pending.discard(unwanted);
            for task in self.tree.lock().threads_of(process.pid()) {
                task.signals.lock().pending.discard(unwanted);
            }
        }
        if process.exiting().is_some() {
            return false;
        }
        let ignored = process.with_actions(|a| {
            matches!(
                a.disposition(signal),
                Disposition::Ignore
                    | Disposition::Default(DefaultAction::Ignore | DefaultAction::Continue)
            )
        });
        if !ignored {
            return true;
        }
        let threads = self.tree.lock().threads_of(process.pid());
        threads.iter().any(|t| {
            let state = t.signals.lock();
            state.mask.contains(signal) || state.waiting_for.contains(signal)
        })
    }

    fn resume_stopped(&self, process: &Process, report: bool) {
        let (threads, parent) = {
            let mut tree = self.tree.lock();
            let Some(links) = tree.links_mut(process.pid()) else {
                return;
            };
            if !matches!(links.stop, StopState::Stopped { .. }) {
                return;
            }
            links.stop = if report {
                StopState::Continued
            } else {
                StopState::Running
            };
            let parent = links.parent;
            (
                tree.threads_of(process.pid()),
                tree.links(parent).map(|l| Arc::clone(&l.process)),
            )
        };
        threads.iter().for_each(|t| t.kick());
        if let (true, Some(parent)) = (report, parent) {
            self.notify_parent(
                &parent,
                process,
                si_code::CLD_CONTINUED,
                Signal::CONT.number(),
            );
        }
    }

    /// Tells a parent that a child changed state: `SIGCHLD` and waking its waits.
    pub fn notify_parent(&self, parent: &Process, child: &Process, code: i32, status: i32) {
        self.notify_parent_with(parent, child, Signal::CHLD, code, status);
    }

    /// The same with the exit signal that clone(2) chose.
    pub fn notify_parent_with(
        &self,
        parent: &Process,
        child: &Process,
        signal: Signal,
        code: i32,
        status: i32,
    ) {
        let info = siginfo::child(code, child.pid(), child.creds().uid, status);
        let _ = self.send_to_process(parent, signal, info);
        parent.child_queue.wake(Events::READABLE);
    }

    /// Sends to every living member of a group; false when it has none.
    pub fn send_to_group(&self, group: Pid, signal: Signal, info: SigInfo) -> bool {
        let members: Vec<Arc<Process>> = {
            let tree = self.tree.lock();
            let pids = tree.group_members(group);
            pids.iter()
                .filter_map(|p| tree.links(*p).map(|l| Arc::clone(&l.process)))
                .collect()
        };
        for process in &members {
            let _ = self.send_to_process(process, signal, info);
        }
        !members.is_empty()
    }
}
