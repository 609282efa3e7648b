//! What a node keeps of revisions: snapshots, and instances until they are forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{BoxFuture, FunctionSpec, Revision};

/// Why a function that was prepared has no snapshot. It can be invoked all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum NoSnapshot {
    /// It started, and no snapshot of it could be made.
    #[error("{0}")]
    GivenUp(String),
    /// It did not start.
    #[error("{0}")]
    NotStarted(String),
    /// There is no node that could make one now.
    #[error("no node could be reached: {0}")]
    NoNode(String),
}

/// What a node keeps of revisions.
pub trait Revisions: Send + Sync + 'static {
    /// Starts `function` once without an event, so that a snapshot of it can be made; resolves when it
    /// is made or given up.
    fn prepare(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), NoSnapshot>>;

    /// Whether new instances of `function` come from a snapshot.
    fn has_snapshot(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, bool>;

    /// Revisions whose snapshots were made by another build or for another processor, and were removed as the node
    /// started: whoever prepares them spares their next events a start from the beginning.
    fn outdated(&self) -> BoxFuture<'_, BTreeSet<Revision>>;

    /// The revision was replaced or deleted: starts no more instances of it and stops idle ones at
    /// once, busy ones after their event. Resolves when no instance of it exists any more, so that
    /// the caller may remove its code. Unknown revisions resolve immediately.
    fn forget(&self, revision: Revision) -> BoxFuture<'_, ()>;

    /// These revisions are all that there are: removes what is kept on disk of any other, which a
    /// server left that was killed in the middle of a change. To be called before the first event.
    fn keep_only(&self, revisions: BTreeSet<Revision>) -> BoxFuture<'_, ()>;
}
