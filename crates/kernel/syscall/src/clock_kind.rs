//! Clocks by the ids of clock_gettime(2): those of the sandbox, and CPU time of processes and threads.

use base_abi::Errno;
use base_abi::general::{CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};
use kernel_core::Kernel;
use kernel_core::task::{Task, TimesUsed};
use kernel_time::{Clocks, GuestClock};

use crate::cpu_time::{task_times, times_of_process};

/// Whose time a clock id means.
#[derive(serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockKind {
    /// A clock of the sandbox.
    Guest(GuestClock),
    /// CPU time of a process.
    Process(i32),
    /// CPU time of a thread.
    Thread(i32),
    /// Time that a process spent in its own code.
    ProcessUser(i32),
    /// The same of a thread.
    ThreadUser(i32),
}

impl ClockKind {
    /// From a clock id; negative ones hold a process or thread number (clock_getcpuclockid(3)).
    ///
    /// # Errors
    /// `EINVAL` for clocks that do not exist.
    pub(crate) fn from_id(kernel: &Kernel, caller: &Task, id: i32) -> Result<ClockKind, Errno> {
        if let Ok(id) = u32::try_from(id) {
            return match id {
                CLOCK_PROCESS_CPUTIME_ID => Ok(ClockKind::Process(caller.pid())),
                CLOCK_THREAD_CPUTIME_ID => Ok(ClockKind::Thread(caller.tid())),
                _ => GuestClock::from_id(id)
                    .map(ClockKind::Guest)
                    .ok_or(Errno::EINVAL),
            };
        }
        const PER_THREAD: i32 = 4;
        const KINDS: i32 = 3;
        /// `CPUCLOCK_VIRT`.
        const USER: i32 = 1;
        let number = !(id >> 3);
        let thread = id & PER_THREAD != 0;
        if id & KINDS == KINDS {
            return Err(Errno::EINVAL);
        }
        let or = |own: i32| if number == 0 { own } else { number };
        let kind = match (thread, id & KINDS == USER) {
            (false, false) => ClockKind::Process(or(caller.pid())),
            (false, true) => ClockKind::ProcessUser(or(caller.pid())),
            (true, false) => ClockKind::Thread(or(caller.tid())),
            (true, true) => ClockKind::ThreadUser(or(caller.tid())),
        };
        // Threads of others are nobody's business.
        let tree = kernel.tree.lock();
        let exists = match kind {
            ClockKind::Process(pid) | ClockKind::ProcessUser(pid) => tree.links(pid).is_some(),
            ClockKind::Thread(tid) | ClockKind::ThreadUser(tid) => {
                tree.task(tid).is_some_and(|t| t.pid() == caller.pid())
            }
            ClockKind::Guest(_) => true,
        };
        if exists { Ok(kind) } else { Err(Errno::EINVAL) }
    }

    /// Nanoseconds on the clock.
    pub(crate) fn now(self, kernel: &Kernel, clocks: &Clocks) -> u64 {
        match self {
            ClockKind::Guest(clock) => clocks.now(clock),
            ClockKind::Process(pid) => both(times_of_process(kernel, pid)),
            ClockKind::ProcessUser(pid) => times_of_process(kernel, pid).user,
            ClockKind::Thread(tid) => both(times_of_thread(kernel, tid)),
            ClockKind::ThreadUser(tid) => times_of_thread(kernel, tid).user,
        }
    }
}

fn both(times: TimesUsed) -> u64 {
    times.user + times.system
}

fn times_of_thread(kernel: &Kernel, tid: i32) -> TimesUsed {
    let task = kernel.tree.lock().task(tid).cloned();
    task.map_or_else(TimesUsed::default, |task| task_times(&task))
}
