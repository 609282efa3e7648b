//! CPU time of tasks: how long guest code ran, how long this kernel worked for it.
//!
//! It is wall time between entering and leaving guest code, less the time asleep: on a machine with
//! more runnable threads than processors it counts waiting for a processor too.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use host_sys::clock::{HostClock, now};
use kernel_core::Kernel;
use kernel_core::task::{Pid, Task, TimesUsed};

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
}

impl CpuMeter {
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
        host_nanos().saturating_sub(since)
    };
    TimesUsed {
        user: task.user_time.load(Ordering::Relaxed) + running,
        system: task.system_time.load(Ordering::Relaxed),
    }
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
