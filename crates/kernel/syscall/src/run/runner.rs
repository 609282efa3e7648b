//! A task and its processor, and where it stands still when the kernel is frozen.

use std::sync::Arc;

use kernel_core::freeze::ThawTicket;
use kernel_core::task::{Restart, SavedCall, Standstill, Task};
use platform_api::{Context, Syscall};

use crate::System;
use crate::cpu_time::CpuMeter;

/// Whether the task goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It runs guest code next.
    Continue,
    /// It ends.
    Exit,
}

/// A task and its processor.
pub(crate) struct Runner {
    pub(crate) system: Arc<System>,
    pub(crate) task: Arc<Task>,
    pub(crate) cpu: Box<dyn Context>,
    pub(super) meter: CpuMeter,
    /// The call it sleeps in, for snapshots; at start the call to make again.
    pub(super) call: Option<(Syscall, Restart)>,
    /// The last question of the freezer that was answered.
    pub(super) answered: u64,
    /// Others wait until this task has run.
    pub(super) thaw_ticket: Option<ThawTicket>,
}

impl Runner {
    /// Counts as running again, unless the kernel is frozen: then it waits.
    pub(super) fn rejoin(&mut self) {
        self.system.kernel.freezer.count_in();
        self.checkpoint();
    }

    pub(super) fn checkpoint(&mut self) {
        if self.system.kernel.freezer.wanted() {
            let system = Arc::clone(&self.system);
            let asleep = self.meter.sleep(&self.task);
            let mut answer = |number| self.stand_still(number);
            let ticket = system.kernel.freezer.checkpoint_with(&mut answer);
            self.thaw_ticket = ticket;
            self.meter.wake(asleep);
            // The answer holds the files of a call: none of them outlives the standstill, captured or not.
            let answer = self.task.standstill.lock().take();
            drop(answer);
        }
    }

    /// Says where the task stands, once for each time it is asked.
    pub(super) fn stand_still(&mut self, number: u64) {
        if self.answered == number {
            return;
        }
        self.answered = number;
        let cpu = self.cpu.state().ok().cloned();
        let saved = |(call, restart): &(Syscall, Restart)| {
            SavedCall::new(call.nr, call.args, call.ip, restart)
        };
        let call = self.call.as_ref().map(saved);
        let files = self.call.as_ref().map(|(_, restart)| restart.files.clone());
        let at = Standstill {
            cpu,
            call,
            files: files.unwrap_or_default(),
        };
        *self.task.standstill.lock() = Some((number, at));
        self.system.kernel.freezer.answered(number);
    }
}
