//! An event on its way to its answer, and what instances are told.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use proto_node::{Begun, FunctionSpec, InvokeError, InvokeHead, Taken, Unheard};
use proto_sandbox::{EventHead, FirstEvent};

use crate::answer::Answer;
use crate::clock;
use crate::launch::First;

/// An event as it arrives.
#[derive(Debug)]
pub struct Arrival {
    /// What goes with it.
    pub head: InvokeHead,
    /// The event itself.
    pub payload: Bytes,
    /// Whom to tell that an instance gets it.
    pub taken: Taken,
}

/// An event on its way to its answer.
pub(crate) struct Invocation {
    pub(crate) function: Arc<FunctionSpec>,
    pub(crate) request: InvokeHead,
    pub(crate) payload: Bytes,
    /// Whom to tell that an instance gets it; none if that is told.
    pub(crate) taken: Option<Taken>,
    pub(crate) answer: Answer,
    pub(crate) arrived: Instant,
    /// Latest moment at which an instance must have taken it.
    pub(crate) deadline: Instant,
    /// Instances that ended before they began with it.
    pub(crate) lost: u8,
}

impl Invocation {
    /// To be called before any of it is sent to a sandbox; none is, if nobody hears it.
    pub(crate) fn tell_taken(&mut self) -> Result<(), Unheard> {
        self.taken.take().map_or(Ok(()), Taken::tell)
    }

    /// Answers an event that did not begin since nobody would have heard of it: whoever gave it is gone, or asks anew.
    pub(crate) fn turn_away(self) {
        let unheard = InvokeError::NodeLost { begun: Begun::No };
        self.answer.finish(Err(unheard), None);
    }
}

/// What an event's end means for its instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It may take another event.
    Keep,
    /// It must end.
    End,
    /// It must end, and has not begun with its event: another shall take it.
    PassOn,
}

/// What the pool tells an instance.
pub(crate) enum Order {
    Invoke(Box<Invocation>),
    /// End now, whatever is running.
    Stop,
}

/// An event as it goes along with a restore.
pub(crate) fn first(function: &FunctionSpec, invocation: &Invocation) -> First {
    First {
        event: FirstEvent {
            head: event_head(function, &invocation.request),
            timeout_ms: u64::try_from(function.timeout.as_millis()).unwrap_or(u64::MAX),
        },
        body: invocation.payload.clone(),
    }
}

/// The event without its body; its deadline counts from now.
pub(crate) fn event_head(function: &FunctionSpec, request: &InvokeHead) -> EventHead {
    let limit = u64::try_from(function.timeout.as_millis()).unwrap_or(u64::MAX);
    EventHead {
        request_id: request.request_id.clone(),
        invocation_id: uuid::Uuid::new_v4().to_string(),
        deadline_ms: clock::epoch_ms().saturating_add(limit),
        invoked_function_arn: request.invoked_arn.clone(),
        trace_id: request.trace_id.clone(),
        client_context: request.client_context.clone(),
        cognito_identity: None,
        tenant_id: None,
    }
}
