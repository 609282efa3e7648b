//! Which guest threads run right now, and on which host thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use host_sys::process::Pid;
use parking_lot::Mutex;
use platform_api::Interrupt;

use crate::wakeup;

/// What other host threads see of a guest thread.
#[derive(Debug)]
pub(crate) struct ThreadHandle {
    tid: Pid,
    /// The owner's thread number while it is inside `run`, else 0.
    running: AtomicI32,
    interrupted: AtomicBool,
}

/// Handles of the guest threads that have an owner. Lock order: alone.
static HANDLES: Mutex<Vec<Arc<ThreadHandle>>> = Mutex::new(Vec::new());

/// Guest threads inside `run`, with their owners.
pub(crate) fn running() -> Vec<(Pid, Pid)> {
    let handles = HANDLES.lock();
    handles
        .iter()
        .map(|handle| (handle.tid, handle.running.load(Ordering::SeqCst)))
        .filter(|(_, owner)| *owner != 0)
        .collect()
}

impl ThreadHandle {
    pub(crate) fn new(tid: Pid) -> Arc<ThreadHandle> {
        Arc::new(ThreadHandle {
            tid,
            running: AtomicI32::new(0),
            interrupted: AtomicBool::new(false),
        })
    }

    /// Makes the handle visible to the tracer.
    pub(crate) fn register(self: &Arc<ThreadHandle>) {
        HANDLES.lock().push(self.clone());
    }

    /// Undoes [`register`](ThreadHandle::register).
    pub(crate) fn unregister(self: &Arc<ThreadHandle>) {
        let mut handles = HANDLES.lock();
        if let Some(at) = handles.iter().position(|handle| Arc::ptr_eq(handle, self)) {
            handles.swap_remove(at);
        }
    }

    /// From here on an interruption wakes `owner`.
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

impl Interrupt for ThreadHandle {
    fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
        let owner = self.running.load(Ordering::SeqCst);
        if owner != 0 {
            wakeup::wake_owner(owner);
        }
    }
}
