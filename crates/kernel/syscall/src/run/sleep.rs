//! Sleeping in a blocked call, and what ends the sleep.

use kernel_core::task::{Blocked, CalledFiles, OnSignal, Restart, TimedCall};
use platform_api::Syscall;

use super::deliver::{Delivery, Interrupted};
use super::runner::{Flow, Runner};
use crate::clock;

/// How a sleep ended.
pub(super) enum Slept {
    /// The handler is to run again.
    Again,
    /// The call is over: a handler of the guest took it, or the task ends.
    Ended(Flow),
}

impl Runner {
    /// Sleeps in a blocked call until there is reason to run its handler again.
    pub(super) fn sleep(
        &mut self,
        call: &Syscall,
        restart: &mut Restart,
        blocked: Blocked,
    ) -> Slept {
        self.call = Some((*call, restart.clone()));
        let slept = self.sleep_in_call(call, restart, blocked);
        self.call = None;
        slept
    }

    fn sleep_in_call(&mut self, call: &Syscall, restart: &mut Restart, blocked: Blocked) -> Slept {
        let deadline = restart.deadline.map(|d| self.system.host_instant(d));
        *self.task.blocked_call.lock() = Some(TimedCall {
            nr: call.nr,
            args: call.args,
            deadline: restart.deadline,
        });
        // Signals do not end some waits; death ends all.
        let uninterruptible = blocked.on_signal == OnSignal::Uninterruptible
            && self.task.process().exiting().is_none();
        if uninterruptible || !self.task.parker.has_attention() {
            self.thaw_ticket = None;
            self.system.kernel.freezer.leave();
            let asleep = self.meter.sleep(&self.task);
            self.task.parker.park(deadline);
            self.rejoin();
            self.meter.wake(asleep);
        }
        drop(blocked.registrations);
        *self.task.blocked_call.lock() = None;
        if uninterruptible && self.task.process().exiting().is_none() {
            return Slept::Again;
        }
        if !self.task.parker.take_attention() {
            return Slept::Again;
        }
        let mut interrupted = Some(Interrupted {
            nr: call.nr,
            on_signal: blocked.on_signal,
            progress: restart.progress,
        });
        let outcome = self.work_in_call(&mut interrupted, restart);
        if outcome == Flow::Exit {
            self.abandon(restart);
            return Slept::Ended(Flow::Exit);
        }
        if interrupted.is_some() {
            // No handler ran: the call goes on as if nothing had happened.
            return Slept::Again;
        }
        self.abandon(restart);
        Slept::Ended(Flow::Continue)
    }

    /// Like `work`, but leaves `interrupted` in place when no handler took it.
    fn work_in_call(&mut self, interrupted: &mut Option<Interrupted>, restart: &Restart) -> Flow {
        loop {
            if interrupted.is_none() && self.call.take().is_some() {
                // A handler's frame took the call over: what stands now is code of the guest. All that the call tells it is told
                // before a checkpoint, as a capture there knows of no call.
                self.tell_remaining(restart);
            }
            self.checkpoint();
            if self.task.process().exiting().is_some() || self.task.leaving() {
                return Flow::Exit;
            }
            if self.wait_while_stopped() {
                continue;
            }
            match self.deliver_one(interrupted) {
                Delivery::None => return Flow::Continue,
                Delivery::Handled | Delivery::Ignored => {}
                Delivery::Exit => return Flow::Exit,
            }
        }
    }

    /// nanosleep(2): writes how much of the sleep a handler cut off.
    fn tell_remaining(&self, restart: &Restart) {
        let (at, Some(deadline)) = (restart.remaining_at, restart.deadline) else {
            return;
        };
        if at != 0 {
            let left = deadline.saturating_sub(self.system.monotonic());
            // A bad address changes nothing any more: the call has already failed.
            let _ = self.task.mm().write_obj(at, &clock::timespec(left));
        }
    }

    fn abandon(&self, restart: &mut Restart) {
        if let Some(waiter) = restart.futex.take() {
            self.system.kernel.futexes.cancel(&waiter);
        }
        restart.files = CalledFiles::default();
        self.system.objects.fifos.abandon();
    }
}
