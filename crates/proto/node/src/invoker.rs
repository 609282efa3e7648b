//! The trait that a node implements, with its request and its errors.

use std::{collections::BTreeSet, future::Future, pin::Pin, sync::Arc, time::Instant};

use bytes::Bytes;
use tokio::sync::broadcast;

use crate::{FunctionSpec, InvokeOutcome, LogRecord, Revision};

/// A boxed future, so that [`Invoker`] can be used as a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whether the caller wants the end of the log with the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogTail {
    /// The outcome's `log_tail` may stay empty.
    #[default]
    None,
    /// The last [`crate::LOG_TAIL_BYTES`] bytes of this invocation's log.
    Tail,
}

/// One event for a function.
#[derive(Clone, Debug)]
pub struct InvokeRequest {
    /// UUID in the usual text form; the function sees it as its request id.
    pub request_id: String,
    /// The event: valid JSON, at most 6 MiB.
    pub payload: Bytes,
    /// ARN by which the caller named the function, with its qualifier if it gave one.
    pub invoked_arn: String,
    /// Client context as JSON text, already decoded from base64.
    pub client_context: Option<String>,
    /// Value for `Lambda-Runtime-Trace-Id` (`Root=1-…;Parent=…;Sampled=…`).
    pub trace_id: Option<String>,
    /// Whether to collect the end of the log.
    pub log_tail: LogTail,
    /// Latest moment at which an instance must have taken the event; after it the node answers
    /// [`InvokeError::Throttled`]. The function's own time limit starts when an instance takes it.
    pub queue_deadline: Instant,
}

/// Why an invocation was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThrottleReason {
    /// All instances that the node or the function may have are busy and its queue is full.
    Concurrency,
    /// The event waited until its queue deadline.
    QueueTimeout,
}

/// What the platform could not do; the function's own failures are outcomes.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// No room now; the caller may try again.
    #[error("no instance was free: {0:?}")]
    Throttled(ThrottleReason),
    /// This node has no interpreter or bootstrap for the runtime.
    #[error("runtime {runtime} is not available: {reason}")]
    RuntimeUnavailable {
        /// The function's runtime identifier.
        runtime: String,
        /// What is missing.
        reason: String,
    },
    /// What is to run the function's instructions is not there on this machine.
    #[error("platform is not available: {reason}")]
    PlatformUnavailable {
        /// What is missing.
        reason: String,
    },
    /// The sandbox could not be made or broke for a reason that is not the function's.
    #[error("sandbox failed: {0}")]
    Sandbox(String),
    /// The node is going down and takes no new events.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// Why a function that was prepared has no snapshot. It can be invoked all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSnapshot {
    /// It started, and no snapshot of it could be made.
    #[error("{0}")]
    GivenUp(String),
    /// It did not start.
    #[error("{0}")]
    NotStarted(String),
}

/// Runs functions. Implemented by the node's pool, used by the gateway.
///
/// Calls may come from any number of tasks at once. Dropping the future of [`Invoker::invoke`]
/// must leave the node consistent: the event may run to its end, its answer is dropped.
pub trait Invoker: Send + Sync + 'static {
    /// Runs one event to its end: finds or starts an instance, waits for the answer.
    fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        request: InvokeRequest,
    ) -> BoxFuture<'_, Result<InvokeOutcome, InvokeError>>;

    /// The revision was replaced or deleted: starts no more instances of it and stops idle ones at
    /// once, busy ones after their event. Resolves when no instance of it exists any more, so that
    /// the caller may remove the code directory. Unknown revisions resolve immediately.
    fn forget(&self, revision: Revision) -> BoxFuture<'_, ()>;

    /// These revisions are all that there are: removes what is kept on disk of any other, which a
    /// server left that was killed in the middle of a change. To be called before the first event.
    fn keep_only(&self, revisions: BTreeSet<Revision>) -> BoxFuture<'_, ()> {
        let _ = revisions;
        Box::pin(async {})
    }

    /// Starts `function` once without an event, so that a snapshot of it can be made; resolves when it
    /// is made or given up.
    fn prepare(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), NoSnapshot>> {
        let _ = function;
        Box::pin(async { Ok(()) })
    }

    /// Whether new instances of `function` come from a snapshot.
    fn has_snapshot(&self, function: &FunctionSpec) -> bool {
        let _ = function;
        false
    }

    /// A new subscription to the log lines of all functions on this node from now on.
    ///
    /// The channel holds [`crate::LOG_CHANNEL_RECORDS`]; a slow reader sees `Lagged`, never slows a function.
    fn logs(&self) -> broadcast::Receiver<Arc<LogRecord>>;

    /// The newest log lines of a function that are kept on disk, at most `limit`, in order of
    /// time; they survive the node. A node that keeps none answers none.
    fn stored_logs(&self, function: &str, limit: usize) -> BoxFuture<'_, Vec<LogRecord>> {
        let _ = (function, limit);
        Box::pin(async { Vec::new() })
    }

    /// The function was deleted: removes its log lines from disk, so that a later function of the same
    /// name does not show them. Resolves when no reader finds them any more.
    fn remove_logs(&self, function: &str) -> BoxFuture<'_, ()> {
        let _ = function;
        Box::pin(async {})
    }

    /// Takes no new events, lets running ones finish until the deadline, then stops everything.
    fn shutdown(&self, deadline: Instant) -> BoxFuture<'_, ()>;
}
