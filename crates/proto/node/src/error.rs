//! Why an event has no answer: what the platform could not do.

use serde::{Deserialize, Serialize};

use crate::body::BodyBroken;

/// Why an invocation was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleReason {
    /// All instances that the node or the function may have are busy and its queue is full.
    Concurrency,
    /// The event waited as long as it may.
    QueueTimeout,
}

/// Whether an event had been handed to an instance when its node was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Begun {
    /// It had not: it may run elsewhere.
    No,
    /// It had: what it did is unknown.
    Yes,
    /// The node does not say; it must be taken for begun.
    Unknown,
}

/// What the platform could not do; the function's own failures are outcomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
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
    /// The node has not got the function's code: who has gives it, and asks again.
    #[error("the node lacks the function's code")]
    CodeMissing,
    /// The event did not come in whole.
    #[error("the event did not come in: {0}")]
    Event(BodyBroken),
    /// The node went away with the event, or before it.
    #[error("the node was lost; begun: {begun:?}")]
    NodeLost {
        /// Whether the event may run elsewhere.
        begun: Begun,
    },
    /// The node is going down and takes no new events.
    #[error("the node is shutting down")]
    ShuttingDown,
}
