//! Sandboxes made ahead of the events that will need them: their guests are loaded, have the pages that clones use at
//! once, and have not run.
//!
//! This is the shelf on which they wait, no more: how many there are of which function is decided in
//! `node_pool::decide`. A shell knows which snapshot it is for: its jail lets it see that function's files and no
//! others.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use node_pool::InstanceId;
use node_sandboxes::{SandboxProcess, Sandboxes};
use node_snapshots::Opened;
use parking_lot::Mutex;
use proto_sandbox::StartSpec;

use crate::restore::{self, Refusal};

/// One in so many shells has no pages in place ahead, so that its clone tells anew what it uses at once: that may
/// have changed.
const LEARN_EVERY: u64 = 256;

/// A shell, and the checked files that it holds. A snapshot of the same name may be made anew when this one was found
/// to be damaged: the shell is of no use then.
pub(crate) struct WaitingShell {
    process: SandboxProcess,
    snapshot: Opened,
}

impl WaitingShell {
    /// What waits in it, if it is of this snapshot; if not it ends.
    pub(crate) fn of(self, snapshot: &Opened) -> Option<SandboxProcess> {
        same(&self.snapshot, snapshot).then_some(self.process)
    }
}

/// All shells of this machine, by the names that they were given.
pub(crate) struct Shells {
    sandboxes: Arc<Sandboxes>,
    waiting: Mutex<HashMap<InstanceId, WaitingShell>>,
    made: AtomicU64,
}

impl Shells {
    pub(crate) fn new(sandboxes: Arc<Sandboxes>) -> Shells {
        Shells {
            sandboxes,
            waiting: Mutex::default(),
            made: AtomicU64::new(0),
        }
    }

    /// Makes a shell and keeps it.
    pub(crate) async fn make(
        &self,
        id: InstanceId,
        spec: &StartSpec,
        snapshot: Opened,
    ) -> Result<(), Refusal> {
        let nth = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        let hot = match nth.is_multiple_of(LEARN_EVERY) {
            true => Arc::default(),
            false => Arc::clone(&snapshot.hot),
        };
        let process = restore::shell(&self.sandboxes, spec, &snapshot, &hot).await?;
        tracing::debug!(?id, pid = process.pid(), "a shell waits");
        self.waiting
            .lock()
            .insert(id, WaitingShell { process, snapshot });
        Ok(())
    }

    /// Takes a shell from the shelf; it ends when it is dropped.
    pub(crate) fn take(&self, id: InstanceId) -> Option<WaitingShell> {
        self.waiting.lock().remove(&id)
    }

    /// Ends a shell.
    pub(crate) async fn end(&self, id: InstanceId) {
        // Ending a process takes a while: without the lock.
        if let Some(shell) = self.take(id) {
            shell.process.end().await;
        }
    }

    /// Ends them all.
    pub(crate) fn close(&self) {
        let shells = std::mem::take(&mut *self.waiting.lock());
        drop(shells);
    }
}

/// Whether both are the same files, checked at the same time.
fn same(one: &Opened, other: &Opened) -> bool {
    let pairs = one.files.iter().zip(&other.files);
    one.files.len() == other.files.len() && pairs.into_iter().all(|(a, b)| Arc::ptr_eq(a, b))
}
