//! What happens in the guest, told to the one thread that owns the sandbox's state.
//!
//! Whoever tells runs in a thread of the guest's and never waits. One notice of a kind is kept: a guest that does the
//! same again and again makes no queue.
//!
//! Lock order: [`Notices::waiting`] is the only lock here, and the last one that is taken.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};

/// Something that the owner acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Of the runtime that the workload serves.
    Runtime(RuntimeNotice),
    /// All guest processes have ended.
    Ended,
}

/// What a Lambda runtime did, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuntimeNotice {
    /// It connected for the first time.
    Connected(Instant),
    /// It waits in `restore/next`.
    RestorePoint(Instant),
    /// Somebody wrote to `/proc/rekindle/snapshot`, and waits.
    CaptureAsked(Instant),
    /// It asked for its first event.
    Ready(Instant),
    /// It asked for another event after an answer.
    Idle,
}

impl Notice {
    fn is_like(&self, other: &Notice) -> bool {
        let kind = std::mem::discriminant::<RuntimeNotice>;
        match (self, other) {
            (Notice::Ended, Notice::Ended) => true,
            (Notice::Runtime(one), Notice::Runtime(other)) => kind(one) == kind(other),
            _ => false,
        }
    }
}

/// Notices that the owner has not taken yet, and a descriptor that is readable while there may be some.
pub(crate) struct Notices {
    waiting: Mutex<VecDeque<Notice>>,
    wake: OwnedFd,
}

impl Notices {
    pub(crate) fn new() -> io::Result<Arc<Notices>> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let waiting = Mutex::default();
        Ok(Arc::new(Notices { waiting, wake }))
    }

    /// Tells the owner.
    pub(crate) fn tell(&self, notice: Notice) {
        let mut waiting = self.waiting.lock();
        if waiting.iter().any(|other| other.is_like(&notice)) {
            return;
        }
        waiting.push_back(notice);
        drop(waiting);
        // It can only fail when the counter is full, and then the owner is awake.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// The oldest notice.
    pub(crate) fn take(&self) -> Option<Notice> {
        self.waiting.lock().pop_front()
    }

    /// What to wait on; [`Notices::awake`] makes it wait again.
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// To be called before looking what is there.
    pub(crate) fn awake(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_come_in_order_and_one_of_a_kind() {
        let notices = Notices::new().unwrap();
        let (first, second) = (Instant::now(), Instant::now());
        let asked = |at| Notice::Runtime(RuntimeNotice::CaptureAsked(at));
        let told = [
            asked(first),
            Notice::Runtime(RuntimeNotice::Idle),
            asked(second),
            Notice::Ended,
            Notice::Ended,
        ];
        told.into_iter().for_each(|notice| notices.tell(notice));
        let taken: Vec<_> = std::iter::from_fn(|| notices.take()).collect();
        let idle = Notice::Runtime(RuntimeNotice::Idle);
        assert_eq!(taken, [asked(first), idle, Notice::Ended]);
    }
}
