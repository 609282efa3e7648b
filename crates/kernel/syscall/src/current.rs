//! The task whose call is being served: files that depend on who calls ask here.
//!
//! Each guest thread has a host thread of its own, so that the caller is a property of the thread.

use std::cell::RefCell;
use std::sync::Arc;

use base_abi::structs::SigInfo;
use kernel_core::signal::SignalSet;
use kernel_core::task::Task;
use kernel_files::PendingSignals;
use kernel_vfs::WaitQueue;

thread_local! {
    static TASK: RefCell<Option<Arc<Task>>> = const { RefCell::new(None) };
}

/// Says whose calls this thread serves from now on.
pub(crate) fn enter(task: &Arc<Task>) {
    TASK.set(Some(Arc::clone(task)));
}

/// The thread serves nobody any more.
pub(crate) fn leave() {
    TASK.set(None);
}

/// The task this thread serves.
pub(crate) fn task() -> Option<Arc<Task>> {
    TASK.with_borrow(Clone::clone)
}

/// Pending signals of the caller (signalfd(2)).
pub(crate) struct CallerSignals;

impl PendingSignals for CallerSignals {
    fn pending(&self) -> u64 {
        task().map_or(0, |task| {
            let shared = task.process().signals.lock().pending.set();
            shared.union(task.signals.lock().pending.set()).0
        })
    }

    fn take(&self, set: u64) -> Option<SigInfo> {
        let task = task()?;
        let set = SignalSet(set);
        let own = task.signals.lock().pending.take_in(set);
        let taken = own.or_else(|| task.process().signals.lock().pending.take_in(set));
        taken.map(|(_, info)| info)
    }

    fn queue(&self) -> WaitQueue {
        task().map_or_else(WaitQueue::new, |t| t.process().signal_queue.clone())
    }
}
