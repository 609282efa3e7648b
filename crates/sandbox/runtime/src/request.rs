//! A request of the Runtime API between its head and the end of its body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proto_sandbox::Outcome;
use serde::{Deserialize, Serialize};

use crate::answer::HttpAnswer;
use crate::body::{BodyReader, Trailers};
use crate::connection::Received;
use crate::event::RuntimeEvent;
use crate::head::{Delivery, Framing};
use crate::limits::RuntimeLimits;
use crate::state::InvocationNames;

/// What to do when the body of a request is complete.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Answer this, whatever the body was.
    Refused(HttpAnswer),
    Ping,
    Next,
    Response {
        invocation: InvocationNames,
        content_type: Option<String>,
        delivery: Delivery,
    },
    Error {
        invocation: InvocationNames,
        error_type: Option<String>,
    },
    InitError {
        error_type: Option<String>,
    },
    RestoreNext,
    RestoreError {
        error_type: Option<String>,
    },
    TemplateNext,
}

impl Request {
    /// Whether nothing comes of the request's body.
    pub(crate) fn needs_no_body(&self) -> bool {
        matches!(
            self,
            Self::Refused(_) | Self::Ping | Self::Next | Self::RestoreNext | Self::TemplateNext
        )
    }

    fn streams(&self) -> bool {
        matches!(
            self,
            Self::Response {
                delivery: Delivery::Streamed,
                ..
            }
        )
    }

    /// Most bytes that its body may have.
    pub(crate) fn limit(&self, limits: &RuntimeLimits) -> u64 {
        if self.needs_no_body() {
            0
        } else if self.streams() {
            limits.streamed_bytes
        } else {
            limits.body_bytes
        }
    }

    /// How its body is to be read.
    pub(crate) fn body(&self, framing: Framing, limits: &RuntimeLimits) -> BodyReader {
        let (most, discard) = (self.limit(limits), limits.discard_bytes);
        if self.streams() {
            BodyReader::streamed(framing, most, discard, limits.window_bytes)
        } else {
            BodyReader::whole(framing, most, discard)
        }
    }

    /// What is told before its body comes.
    pub(crate) fn announced(&self) -> Option<RuntimeEvent> {
        match self {
            Self::Response {
                invocation,
                content_type,
                delivery: Delivery::Streamed,
            } => Some(RuntimeEvent::ResponseHead {
                request_id: invocation.request_id.clone(),
                content_type: content_type.clone(),
            }),
            _ => None,
        }
    }

    /// What is told of a part of its body.
    pub(crate) fn piece(&self, data: Vec<u8>) -> Option<RuntimeEvent> {
        match self {
            Self::Response { invocation, .. } => Some(RuntimeEvent::ResponsePiece {
                request_id: invocation.request_id.clone(),
                data,
            }),
            _ => None,
        }
    }
}

/// A response whose body is complete, which a streaming runtime may still have turned into an error by
/// its trailers.
pub(crate) fn answered(
    invocation: &InvocationNames,
    content_type: Option<String>,
    delivery: Delivery,
    body: Received,
) -> RuntimeEvent {
    let request_id = invocation.request_id.clone();
    let failure = failed(body.trailers);
    match (delivery, failure) {
        (Delivery::Buffered, None) => RuntimeEvent::Response {
            request_id,
            content_type,
            payload: body.data,
        },
        (Delivery::Buffered, Some((outcome, body))) => RuntimeEvent::Error {
            request_id,
            outcome,
            body,
        },
        (Delivery::Streamed, failure) => {
            let (failure, body) = failure.unzip();
            RuntimeEvent::ResponseEnd {
                request_id,
                failure,
                body: body.unwrap_or_default(),
            }
        }
    }
}

/// The error that trailers tell, with its body.
fn failed(trailers: Trailers) -> Option<(Outcome, Vec<u8>)> {
    let error_type = Some(trailers.error_type?);
    let text = trailers.error_body.unwrap_or_default();
    let body = BASE64.decode(text).unwrap_or_default();
    Some((Outcome::Function { error_type }, body))
}

/// A response or error of the runtime that will never be complete.
pub(crate) fn broken_off(
    invocation: &InvocationNames,
    delivery: Delivery,
    outcome: Outcome,
) -> RuntimeEvent {
    let request_id = invocation.request_id.clone();
    let body = Vec::new();
    match delivery {
        Delivery::Buffered => RuntimeEvent::Error {
            request_id,
            outcome,
            body,
        },
        Delivery::Streamed => RuntimeEvent::ResponseEnd {
            request_id,
            failure: Some(outcome),
            body,
        },
    }
}
