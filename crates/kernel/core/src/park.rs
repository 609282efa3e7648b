//! How a task sleeps: one flag, one condition variable, any number of wakers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use kernel_vfs::{Events, Notify};
use parking_lot::{Condvar, Mutex};

/// The sleeping place of one task. Registered with wait queues as a [`Notify`].
///
/// A wake-up is sticky: one that comes before [`park`](Parker::park) makes it return at once.
#[derive(Default)]
pub struct Parker {
    woken: Mutex<bool>,
    condition: Condvar,
    attention: AtomicBool,
}

/// Why [`Parker::park`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A wait queue or another task said so: look again.
    Notified,
    /// The deadline passed.
    Deadline,
}

impl Parker {
    /// Sleeps until woken or until the deadline.
    pub fn park(&self, deadline: Option<Instant>) -> Wake {
        let mut woken = self.woken.lock();
        loop {
            if std::mem::take(&mut *woken) {
                return Wake::Notified;
            }
            match deadline {
                None => self.condition.wait(&mut woken),
                Some(at) => {
                    if self.condition.wait_until(&mut woken, at).timed_out() && !*woken {
                        return Wake::Deadline;
                    }
                }
            }
        }
    }

    /// Wakes the task if it sleeps here, now or next.
    pub fn unpark(&self) {
        let mut woken = self.woken.lock();
        *woken = true;
        self.condition.notify_one();
    }

    /// Forgets a wake-up that came for an earlier wait.
    pub fn clear(&self) {
        *self.woken.lock() = false;
    }

    /// Marks that signals, exit, stop or freeze want to be looked at.
    pub fn raise_attention(&self) {
        self.attention.store(true, Ordering::SeqCst);
    }

    /// Consumes the mark.
    pub fn take_attention(&self) -> bool {
        self.attention.swap(false, Ordering::SeqCst)
    }

    /// Reads the mark.
    #[must_use]
    pub fn has_attention(&self) -> bool {
        self.attention.load(Ordering::SeqCst)
    }
}

impl Notify for Parker {
    fn notify(&self, _events: Events) {
        self.unpark();
    }
}
