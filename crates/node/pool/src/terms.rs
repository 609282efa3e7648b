//! What callers say in the terms of the decision, and the other way round.

use std::num::NonZeroU32;

use proto_node::{FunctionSpec, InvokeError, ThrottleReason};

use crate::decide::{Rejection, Shape};

/// What is decided by. A runtime of Lambda asks for its next event when it is done with the last.
pub(crate) fn shape(function: &FunctionSpec) -> Shape {
    Shape {
        memory_mb: function.memory_mb,
        slots: NonZeroU32::MIN,
        isolation: function.isolation,
    }
}

/// Why an event is turned away, for its caller.
pub(crate) fn rejected(why: Rejection) -> InvokeError {
    match why {
        Rejection::Concurrency | Rejection::Forgotten => {
            InvokeError::Throttled(ThrottleReason::Concurrency)
        }
        Rejection::QueueTimeout => InvokeError::Throttled(ThrottleReason::QueueTimeout),
        Rejection::Draining => InvokeError::ShuttingDown,
    }
}
