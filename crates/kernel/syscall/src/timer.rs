//! POSIX timers and interval timers: what they are, and what happens when they expire.
//!
//! Lock order: expiring, the table of timers, one timer, the tree of tasks. Signals are sent without the last three.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use base_abi::Errno;
use kernel_core::Kernel;
use kernel_core::signal::{Pending, Signal, siginfo};
use kernel_core::task::{Pid, Process, Resource, Rlimit};
use kernel_time::{GuestClock, TimerHandle, TimerService};
use kernel_vfs::{Events, Notify};
use parking_lot::{Mutex, MutexGuard};

use crate::clock_kind::ClockKind;

/// Shortest time between two looks at a timer, a millisecond; shorter periods are counted as overruns. Each look wakes a thread of
/// ours and the guest, and many guests that are woken much more often keep the host's own programs from running.
const SHORTEST: u64 = 1_000_000;

/// How many expiries of a period follow the due one before it is looked at again.
fn soon(interval: u64) -> Option<u64> {
    (SHORTEST - 1).checked_div(interval)
}

/// When a timer with a period is looked at that is due then: timers of one sandbox at the same time, at the next whole [`SHORTEST`].
fn together(at: u64) -> u64 {
    at.checked_next_multiple_of(SHORTEST).unwrap_or(at)
}
const SECOND: u64 = 1_000_000_000;
/// Most timers of a process whatever `RLIMIT_SIGPENDING` says.
const MAX_TIMERS: usize = 65_536;
/// `DELAYTIMER_MAX`.
const MAX_OVERRUN: u64 = i32::MAX as u64;

/// Which timer of a process.
#[derive(
    serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord,
)]
pub(crate) enum TimerId {
    /// setitimer(2)'s `ITIMER_REAL`, `VIRTUAL`, `PROF`.
    Interval(u32),
    /// timer_create(2).
    Posix(i32),
    /// `RLIMIT_CPU`.
    CpuLimit,
}

/// Who hears of an expiry.
#[derive(serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `SIGEV_NONE`.
    Nobody,
    /// A signal to the process.
    Process(Signal, u64),
    /// `SIGEV_THREAD_ID`: a signal to a thread.
    Thread(Pid, Signal, u64),
}

/// `struct itimerspec` in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Until the next expiry; 0 when disarmed.
    pub(crate) left: u64,
    /// Period; 0 for once.
    pub(crate) interval: u64,
}

#[derive(Default)]
struct State {
    /// Next expiry on the timer's clock; 0 when disarmed.
    deadline: u64,
    interval: u64,
    /// Expiries that found the signal still pending: of the one that is, or was taken last.
    overrun: u64,
    /// Those of the one before.
    earlier: u64,
    armed: Option<TimerHandle>,
}

/// One timer.
pub(crate) struct Timer {
    all: Weak<ProcessTimers>,
    pid: Pid,
    id: TimerId,
    clock: ClockKind,
    target: Target,
    state: Mutex<State>,
}

impl Timer {
    /// Sets the timer, `at` being an absolute time on its clock (0 disarms); returns what it was set to.
    pub(crate) fn set(self: &Arc<Self>, at: u64, interval: u64) -> Setting {
        let Some(all) = self.all.upgrade() else {
            return Setting::default();
        };
        let now = all.now(self.clock);
        let mut state = self.state.lock();
        let old = state.setting(now);
        (state.deadline, state.interval) = (at, interval);
        (state.overrun, state.earlier) = (0, 0);
        state.armed = None;
        if at != 0 {
            state.armed = Some(self.arm(&all, at));
        }
        old
    }

    /// What it is set to now.
    pub(crate) fn setting(&self) -> Setting {
        let now = self.now();
        self.state.lock().setting(now)
    }

    /// Time on its clock.
    pub(crate) fn now(&self) -> u64 {
        self.all.upgrade().map_or(0, |all| all.now(self.clock))
    }

    /// timer_getoverrun(2): of the signal that was taken last.
    pub(crate) fn overrun(&self) -> u64 {
        let pending = self.all.upgrade().is_some_and(|all| self.is_pending(&all));
        let state = self.state.lock();
        let last = if pending {
            state.earlier
        } else {
            state.overrun
        };
        last.min(MAX_OVERRUN)
    }

    fn arm(self: &Arc<Self>, all: &ProcessTimers, at: u64) -> TimerHandle {
        let timer: Arc<dyn Notify> = self.clone();
        let (clock, at) = match self.clock {
            ClockKind::Guest(clock) => (clock, at),
            // CPU time passes no faster than all processors together can make it pass.
            cpu => {
                let left = at.saturating_sub(all.now(cpu)) / processors();
                let now = all.service.clocks().monotonic();
                let look = now.saturating_add(left.max(SHORTEST));
                (GuestClock::Monotonic, look)
            }
        };
        all.service.arm(clock, at, Arc::downgrade(&timer))
    }

    /// Moves the state over an expiry at `now`; true when the signal is due.
    fn expire(self: &Arc<Self>, all: &ProcessTimers, now: u64) -> bool {
        let mut state = self.state.lock();
        state.armed = None;
        if state.deadline == 0 {
            return false;
        }
        if now < state.deadline {
            let at = state.deadline;
            state.armed = Some(self.arm(all, at));
            return false;
        }
        let pending = self.is_pending(all);
        let mut missed = u64::from(pending);
        let interval = state.interval;
        // Periods passed beyond the due one, and those too short to look at one by one.
        let passed = (now - state.deadline).checked_div(interval);
        if let (Some(passed), Some(soon)) = (passed, soon(interval)) {
            let extra = passed.saturating_add(soon);
            missed = missed.saturating_add(extra);
            let distance = interval.saturating_mul(extra.saturating_add(1));
            state.deadline = state.deadline.saturating_add(distance);
            let at = together(state.deadline);
            state.armed = Some(self.arm(all, at));
        } else {
            state.deadline = 0;
        }
        if !pending {
            (state.earlier, state.overrun) = (state.overrun, 0);
        }
        state.overrun = state.overrun.saturating_add(missed);
        // A queued one is told how many it stands for.
        !pending || !matches!(self.id, TimerId::Interval(_))
    }

    fn is_pending(&self, all: &ProcessTimers) -> bool {
        let tree = all.kernel.tree.lock();
        match self.target {
            Target::Nobody => true,
            Target::Process(signal, _) => {
                let process = tree.links(self.pid).map(|l| Arc::clone(&l.process));
                drop(tree);
                process.is_some_and(|p| self.is_in(&p.signals.lock().pending, signal))
            }
            Target::Thread(tid, signal, _) => {
                let task = tree.task(tid).cloned();
                drop(tree);
                task.is_some_and(|t| self.is_in(&t.signals.lock().pending, signal))
            }
        }
    }

    fn is_in(&self, pending: &Pending, signal: Signal) -> bool {
        match self.id {
            TimerId::Posix(id) => pending.has_timer(signal, id),
            _ => pending.set().contains(signal),
        }
    }

    fn tell(&self, all: &ProcessTimers) {
        let kernel = &all.kernel;
        let overrun = self.state.lock().overrun.min(MAX_OVERRUN);
        let overrun = i32::try_from(overrun).unwrap_or(i32::MAX);
        let process = || {
            let tree = kernel.tree.lock();
            tree.links(self.pid).map(|l| Arc::clone(&l.process))
        };
        match (self.id, self.target) {
            (TimerId::Interval(_), Target::Process(signal, _)) => {
                // A standard signal never finds the queue full.
                let _ = process().map(|p| kernel.send_to_process(&p, signal, siginfo::kernel()));
            }
            (TimerId::Posix(id), Target::Process(signal, value)) => {
                let info = siginfo::timer(id, overrun, value);
                if let Some(process) = process() {
                    kernel.send_timer_to_process(&process, signal, info);
                }
            }
            (TimerId::Posix(id), Target::Thread(tid, signal, value)) => {
                let task = kernel.tree.lock().task(tid).cloned();
                if let Some(task) = task.filter(|t| t.pid() == self.pid) {
                    kernel.send_timer_to_task(&task, signal, siginfo::timer(id, overrun, value));
                }
            }
            (TimerId::CpuLimit, _) => {
                if let Some(process) = process() {
                    beyond_cpu_limit(kernel, &process, all.now(self.clock));
                }
            }
            (_, Target::Nobody) | (TimerId::Interval(_), Target::Thread(..)) => {}
        }
    }
}

/// `SIGXCPU` at the soft limit and each second after it, `SIGKILL` at the hard one (setrlimit(2)).
fn beyond_cpu_limit(kernel: &Kernel, process: &Process, used: u64) {
    let mut limits = process.limits.write();
    let Rlimit { soft, hard } = limits.get(Resource::Cpu);
    if used >= hard.saturating_mul(SECOND) {
        drop(limits);
        return kernel.kill_process(process);
    }
    if used >= soft.saturating_mul(SECOND) {
        // As on Linux, who asks sees how far it may go until the next one.
        let soft = soft.saturating_add(1).min(hard);
        limits.set(Resource::Cpu, Rlimit { soft, hard });
        drop(limits);
        // A standard signal never finds the queue full.
        let _ = kernel.send_to_process(process, Signal::XCPU, siginfo::kernel());
    }
}

impl State {
    fn setting(&self, now: u64) -> Setting {
        let left = match self.deadline {
            0 => 0,
            // Due but not yet dealt with: not disarmed.
            at => at.saturating_sub(now).max(1),
        };
        Setting {
            left,
            interval: self.interval,
        }
    }
}

/// The notification needs the `Arc` for arming anew, which [`Notify`] does not give: it is looked up.
impl Notify for Timer {
    fn notify(&self, _events: Events) {
        let Some(all) = self.all.upgrade() else {
            return;
        };
        let Some(timer) = all.get(self.pid, self.id) else {
            return;
        };
        let _expiring = all.expiring.lock();
        let now = all.now(self.clock);
        if timer.expire(&all, now) {
            timer.tell(&all);
        }
    }
}

fn processors() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
}

/// A timer in a snapshot. Clocks of the guest go on where they were, and so do deadlines.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct SavedTimer {
    pid: Pid,
    id: TimerId,
    clock: ClockKind,
    target: Target,
    deadline: u64,
    interval: u64,
    overrun: u64,
    earlier: u64,
}

/// All timers of all processes.
pub(crate) struct ProcessTimers {
    /// Whose processes are told.
    kernel: Arc<Kernel>,
    service: TimerService,
    all: Mutex<BTreeMap<(Pid, TimerId), Arc<Timer>>>,
    /// Held from the moment a timer is due until its signal is queued.
    expiring: Mutex<()>,
}

impl ProcessTimers {
    /// None yet; `service` has the clocks that they run on.
    pub(crate) fn new(kernel: Arc<Kernel>, service: TimerService) -> ProcessTimers {
        ProcessTimers {
            kernel,
            service,
            all: Mutex::default(),
            expiring: Mutex::default(),
        }
    }

    /// Nanoseconds on a clock.
    fn now(&self, clock: ClockKind) -> u64 {
        clock.now(&self.kernel, self.service.clocks())
    }

    /// Nothing expires until this is dropped. Timers and pending signals are one state: an expiry that is saved in neither
    /// is lost, and one in both comes twice.
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        self.expiring.lock()
    }

    /// All of them as plain data.
    pub(crate) fn save(&self) -> Vec<SavedTimer> {
        let timers = self.all.lock();
        let one = |timer: &Arc<Timer>| {
            let state = timer.state.lock();
            SavedTimer {
                pid: timer.pid,
                id: timer.id,
                clock: timer.clock,
                target: timer.target,
                deadline: state.deadline,
                interval: state.interval,
                overrun: state.overrun,
                earlier: state.earlier,
            }
        };
        timers.values().map(one).collect()
    }

    /// Puts saved timers back and arms them.
    pub(crate) fn load(self: &Arc<Self>, saved: Vec<SavedTimer>) {
        for state in saved.into_iter().take(MAX_TIMERS) {
            let timer = self.new_timer(state.pid, state.id, state.clock, state.target);
            self.all
                .lock()
                .insert((state.pid, state.id), Arc::clone(&timer));
            timer.set(state.deadline, state.interval);
            let mut restored = timer.state.lock();
            (restored.overrun, restored.earlier) = (state.overrun, state.earlier);
        }
    }

    /// A timer that exists.
    pub(crate) fn get(&self, pid: Pid, id: TimerId) -> Option<Arc<Timer>> {
        self.all.lock().get(&(pid, id)).cloned()
    }

    /// The interval timer of a process, made when it is first asked for.
    pub(crate) fn interval(self: &Arc<Self>, pid: Pid, which: u32) -> Arc<Timer> {
        let (clock, signal) = match which {
            0 => (ClockKind::Guest(GuestClock::Monotonic), Signal::ALRM),
            1 => (ClockKind::ProcessUser(pid), Signal::VTALRM),
            _ => (ClockKind::Process(pid), Signal::PROF),
        };
        let id = TimerId::Interval(which);
        let mut timers = self.all.lock();
        let make = || self.new_timer(pid, id, clock, Target::Process(signal, 0));
        Arc::clone(timers.entry((pid, id)).or_insert_with(make))
    }

    /// Watches the CPU time of a process from `soft` seconds on (`RLIMIT_CPU`); `u64::MAX` is no limit.
    pub(crate) fn limit_cpu(self: &Arc<Self>, pid: Pid, soft: u64) {
        let key = (pid, TimerId::CpuLimit);
        if soft == u64::MAX {
            let gone = self.all.lock().remove(&key);
            return drop(gone);
        }
        let make = || self.new_timer(pid, key.1, ClockKind::Process(pid), Target::Nobody);
        let timer = Arc::clone(self.all.lock().entry(key).or_insert_with(make));
        // 0 would disarm it.
        timer.set(soft.saturating_mul(SECOND).max(1), SECOND);
    }

    /// Makes a POSIX timer; `target` gets its number.
    ///
    /// # Errors
    /// `EAGAIN` beyond `limit` timers.
    pub(crate) fn create(
        self: &Arc<Self>,
        pid: Pid,
        clock: ClockKind,
        limit: u64,
        target: impl FnOnce(i32) -> Target,
    ) -> Result<i32, Errno> {
        let mut timers = self.all.lock();
        let own = timers.range((pid, TimerId::Posix(0))..=(pid, TimerId::Posix(i32::MAX)));
        let (mut free, mut count) = (0, 0);
        for (&(_, id), _) in own {
            count += 1;
            if id == TimerId::Posix(free) {
                free += 1;
            }
        }
        if count >= usize::try_from(limit).unwrap_or(usize::MAX).min(MAX_TIMERS) {
            return Err(Errno::EAGAIN);
        }
        let id = TimerId::Posix(free);
        let timer = self.new_timer(pid, id, clock, target(free));
        timers.insert((pid, id), timer);
        Ok(free)
    }

    /// Takes a POSIX timer away; false when there is none.
    pub(crate) fn delete(&self, pid: Pid, id: i32) -> bool {
        let gone = self.all.lock().remove(&(pid, TimerId::Posix(id)));
        gone.is_some()
    }

    /// execve(2): POSIX timers go, interval timers stay.
    pub(crate) fn forget_posix(&self, pid: Pid) {
        self.forget(|key| key.0 == pid && matches!(key.1, TimerId::Posix(_)));
    }

    /// The process ended.
    pub(crate) fn forget_process(&self, pid: Pid) {
        self.forget(|key| key.0 == pid);
    }

    fn forget(&self, which: impl Fn(&(Pid, TimerId)) -> bool) {
        let mut timers = self.all.lock();
        let gone: Vec<_> = timers.extract_if(.., |key, _| which(key)).collect();
        drop(timers);
        drop(gone);
    }
    fn new_timer(
        self: &Arc<Self>,
        pid: Pid,
        id: TimerId,
        clock: ClockKind,
        target: Target,
    ) -> Arc<Timer> {
        Arc::new(Timer {
            all: Arc::downgrade(self),
            pid,
            id,
            clock,
            target,
            state: Mutex::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_periods_are_counted_and_long_ones_are_not() {
        const US: u64 = 1000;
        let found = [0, 1, US, 100 * US, 600 * US, 1000 * US, 5000 * US].map(soon);
        let wanted = [
            None,
            Some(999_999),
            Some(999),
            Some(9),
            Some(1),
            Some(0),
            Some(0),
        ];
        assert_eq!(found, wanted);
        assert_eq!([0, 1, SHORTEST].map(together), [0, SHORTEST, SHORTEST]);
        assert_eq!(together(u64::MAX), u64::MAX);
    }
}
