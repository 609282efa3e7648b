//! Which guest threads run right now, and on which host thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use host_sys::process::Pid;
use parking_lot::Mutex;
use platform_api::Interrupt;

use crate::bell;

/// What other host threads see of a guest thread.
#[derive(Debug)]
pub(crate) struct Seat {
    tid: Pid,
    /// The owner's thread number while it is inside `run`, else 0.
    running: AtomicI32,
    interrupted: AtomicBool,
}

/// All seats that have an owner. Lock order: alone.
static SEATS: Mutex<Vec<Arc<Seat>>> = Mutex::new(Vec::new());

/// Guest threads inside `run`, with their owners.
pub(crate) fn running() -> Vec<(Pid, Pid)> {
    let seats = SEATS.lock();
    seats
        .iter()
        .map(|seat| (seat.tid, seat.running.load(Ordering::SeqCst)))
        .filter(|(_, owner)| *owner != 0)
        .collect()
}

impl Seat {
    pub(crate) fn new(tid: Pid) -> Arc<Seat> {
        Arc::new(Seat {
            tid,
            running: AtomicI32::new(0),
            interrupted: AtomicBool::new(false),
        })
    }

    /// Makes the seat visible to the keeper.
    pub(crate) fn enter(self: &Arc<Seat>) {
        SEATS.lock().push(self.clone());
    }

    /// Undoes [`enter`](Seat::enter).
    pub(crate) fn leave(self: &Arc<Seat>) {
        let mut seats = SEATS.lock();
        if let Some(at) = seats.iter().position(|seat| Arc::ptr_eq(seat, self)) {
            seats.swap_remove(at);
        }
    }

    /// From here on an interruption rings `owner`.
    #[inline]
    pub(crate) fn begin(&self, owner: Pid) {
        self.running.store(owner, Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn end(&self) {
        self.running.store(0, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// Takes the interruption, if there is one.
    pub(crate) fn take_interruption(&self) -> bool {
        self.interrupted.swap(false, Ordering::SeqCst)
    }
}

impl Interrupt for Seat {
    fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
        let owner = self.running.load(Ordering::SeqCst);
        if owner != 0 {
            bell::ring_owner(owner);
        }
    }
}
