//! CPU time of tasks: how long guest code ran, how long this kernel worked for it.
//!
//! It is the time between entering and leaving guest code, less the time asleep. Where it is long enough for it to matter, CPU
//! clocks of the host tell how much of it was on a processor ([`CpuLedger`]).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use host_sys::clock::{CpuClockId, HostClock, now};
use kernel_core::Kernel;
use kernel_core::task::{CpuLedger, LONG_STRETCH, Pid, Task, TimesUsed};
use platform_api::CpuClock;

/// Host nanoseconds; never zero.
pub(crate) fn host_nanos() -> u64 {
    u64::try_from(now(HostClock::Monotonic).as_nanos())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// A sleep, frozen or stopped included: no time of it is CPU time.
#[derive(Debug)]
pub(crate) struct Asleep {
    worked: bool,
}

/// Where one task's time goes.
#[derive(Debug, Default)]
pub(crate) struct CpuMeter {
    /// When the current stretch of kernel work began; 0 while there is none.
    since: u64,
    /// By what the kernel's work is counted where guest code runs on another clock.
    own: CpuLedger,
    /// What guest code runs on is this thread's clock too.
    shared: bool,
}

/// What a CPU clock shows, in nanoseconds; `None` when there is nobody any more whose time it is.
fn read(clock: i32) -> Option<u64> {
    let shows = now(HostClock::Cpu(CpuClockId::from_raw(clock)));
    u64::try_from(shows.as_nanos())
        .ok()
        .filter(|&nanos| nanos != 0)
}

fn follow(ledger: &CpuLedger, clock: CpuClockId) {
    ledger.follow(clock.raw(), read(clock.raw()).unwrap_or(0));
}

/// Charges a stretch; gives how much of it is CPU time.
fn charge_to(ledger: &CpuLedger, stretch: u64) -> u64 {
    if stretch >= LONG_STRETCH
        && let Some(shows) = ledger.clock().and_then(read)
    {
        return ledger.settle(stretch, shows);
    }
    ledger.charge(stretch);
    stretch
}

/// Counts a task's guest code by the clock of the processor that it has now: after execve(2) it has another.
pub(crate) fn follow_guest(task: &Task, clock: CpuClock) {
    if let CpuClock::Process(pid) = clock {
        follow(&task.guest_cpu, CpuClockId::of_process(pid));
    }
}

impl CpuMeter {
    /// The calling thread serves a task whose guest code is counted so.
    pub(crate) fn start(&mut self, task: &Task, clock: CpuClock) {
        let thread = CpuClockId::of_thread(host_sys::process::thread_id());
        self.shared = clock == CpuClock::Caller;
        if self.shared {
            follow(&task.guest_cpu, thread);
        } else {
            follow(&self.own, thread);
            follow_guest(task, clock);
        }
    }

    /// Guest code runs from now on.
    pub(crate) fn enter_guest(&mut self, task: &Task) {
        let now = self.charge(task);
        // In one order with what other tasks write before they look here: see membarrier(2).
        task.guest_since.swap(now, Ordering::SeqCst);
    }

    /// The kernel works from now on.
    pub(crate) fn leave_guest(&mut self, task: &Task) {
        let now = host_nanos();
        let since = task.guest_since.swap(0, Ordering::SeqCst);
        let ran = now.saturating_sub(since);
        let ran = charge_to(&task.guest_cpu, ran);
        task.user_time.fetch_add(ran, Ordering::Relaxed);
        self.since = now;
    }

    /// The task sleeps from now on; gives what [`wake`](CpuMeter::wake) is to be told.
    #[must_use]
    pub(crate) fn sleep(&mut self, task: &Task) -> Asleep {
        let worked = self.since != 0;
        if worked {
            self.charge(task);
        }
        self.since = 0;
        Asleep { worked }
    }

    /// The task works again, if it did before that sleep: one may lie within another.
    pub(crate) fn wake(&mut self, asleep: Asleep) {
        if asleep.worked {
            self.since = host_nanos();
        }
    }

    fn charge(&mut self, task: &Task) -> u64 {
        let now = host_nanos();
        if self.since != 0 {
            let worked = now.saturating_sub(self.since);
            let ledger = if self.shared {
                &task.guest_cpu
            } else {
                &self.own
            };
            let worked = charge_to(ledger, worked);
            task.system_time.fetch_add(worked, Ordering::Relaxed);
        }
        self.since = now;
        now
    }
}

/// CPU time of a task until now, the current stretch in guest code included.
#[must_use]
pub(crate) fn task_times(task: &Task) -> TimesUsed {
    let since = task.guest_since.load(Ordering::Relaxed);
    let running = if since == 0 {
        0
    } else {
        running(task, host_nanos().saturating_sub(since))
    };
    TimesUsed {
        user: task.user_time.load(Ordering::Relaxed) + running,
        system: task.system_time.load(Ordering::Relaxed),
    }
}

/// How much of a stretch that has not ended is CPU time.
fn running(task: &Task, stretch: u64) -> u64 {
    if stretch < LONG_STRETCH {
        return stretch;
    }
    let shows = task.guest_cpu.clock().and_then(read);
    shows.map_or(stretch, |shows| task.guest_cpu.part_of(stretch, shows))
}

/// CPU time of a process: living threads and ended ones.
#[must_use]
pub(crate) fn times_of_process(kernel: &Kernel, pid: Pid) -> TimesUsed {
    let tree = kernel.tree.lock();
    let process = tree.links(pid).map(|l| Arc::clone(&l.process));
    let threads = tree.threads_of(pid);
    drop(tree);
    let mut times = process.map_or_else(TimesUsed::default, |p| *p.ended_times.lock());
    for task in threads {
        let own = task_times(&task);
        times.user += own.user;
        times.system += own.system;
    }
    times
}
