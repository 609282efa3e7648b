//! What a task looks at before it runs guest code: freeze, exit, stop, signals.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kernel_core::task::StopState;

use super::deliver::{Delivery, Interrupted};
use super::runner::{Flow, Runner};

impl Runner {
    /// Deals with everything that wants attention: freeze, exit, stop, signals.
    pub(crate) fn work(&mut self, mut interrupted: Option<Interrupted>) -> Flow {
        loop {
            self.checkpoint();
            if self.task.process().exiting().is_some() {
                return Flow::Exit;
            }
            if self.task.leaving() {
                return Flow::Exit;
            }
            if self.wait_while_stopped() {
                continue;
            }
            match self.deliver_one(&mut interrupted) {
                Delivery::None => return Flow::Continue,
                Delivery::Handled | Delivery::Ignored => {}
                Delivery::Exit => return Flow::Exit,
            }
        }
    }

    /// Parks while the process is stopped by job control; true if it was.
    pub(super) fn wait_while_stopped(&mut self) -> bool {
        let (system, task) = (Arc::clone(&self.system), Arc::clone(&self.task));
        let stopped = || {
            let tree = system.kernel.tree.lock();
            let links = tree.links(task.pid());
            links.is_some_and(|l| matches!(l.stop, StopState::Stopped { .. }))
        };
        if !stopped() {
            return false;
        }
        self.task.stopped.store(true, Ordering::SeqCst);
        self.thaw_ticket = None;
        let asleep = self.meter.sleep(&self.task);
        while stopped() && self.task.process().exiting().is_none() {
            system.kernel.freezer.leave();
            self.task.parker.park(None);
            self.rejoin();
            self.task.parker.take_attention();
        }
        self.meter.wake(asleep);
        self.task.stopped.store(false, Ordering::SeqCst);
        // What arrived while stopped wants to be looked at.
        self.task.parker.raise_attention();
        true
    }
}
