//! How far a revision is on its way to its first snapshot, and who serves its events until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

/// How far a revision is; one that starts without a snapshot is always ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// Its snapshot is being made.
    Preparing,
    /// It can be invoked.
    #[default]
    Ready,
    /// It can be invoked, though it has no snapshot: why.
    Without(String),
    /// It can be invoked, though it did not start when it was prepared: why.
    Unprepared(String),
}

/// What all records of one revision have in common; `F` is a version of a function.
#[derive(Debug)]
pub(crate) struct Progress<F> {
    readiness: watch::Sender<Readiness>,
    /// Somebody makes its snapshot.
    begun: AtomicBool,
    /// The revision that takes its events until it is ready, and is let go then.
    stand_in: Mutex<Option<Arc<F>>>,
}

impl<F> Progress<F> {
    pub(crate) fn ready() -> Arc<Self> {
        Arc::new(Self {
            readiness: watch::Sender::new(Readiness::Ready),
            begun: AtomicBool::new(true),
            stand_in: Mutex::new(None),
        })
    }

    /// Of a revision that was made just now.
    pub(crate) fn preparing(stand_in: Option<Arc<F>>) -> Arc<Self> {
        Arc::new(Self {
            readiness: watch::Sender::new(Readiness::Preparing),
            begun: AtomicBool::new(false),
            stand_in: Mutex::new(stand_in),
        })
    }

    pub(crate) fn stand_in(&self) -> Option<Arc<F>> {
        self.stand_in.lock().clone()
    }

    pub(crate) fn readiness(&self) -> Readiness {
        self.readiness.borrow().clone()
    }

    /// It can be invoked from now on.
    pub(crate) fn settle(&self, readiness: Readiness) {
        self.stand_in.lock().take();
        self.readiness.send_replace(readiness);
    }

    /// Whether nobody has begun with it; from now on somebody has.
    pub(crate) fn begin(&self) -> bool {
        !self.begun.swap(true, Ordering::AcqRel)
    }

    pub(crate) async fn settled(&self) {
        let mut readiness = self.readiness.subscribe();
        // The sender is ours, so it is there.
        let _ = readiness
            .wait_for(|readiness| *readiness != Readiness::Preparing)
            .await;
    }
}
