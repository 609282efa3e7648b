//! What goes in (an event for the function) and what comes out.

use std::collections::BTreeMap;
use std::time::Duration;

use proto_sandbox::{EventHead, FromSandbox, Outcome};
use serde::{Deserialize, Serialize};

/// One event for the function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Becomes the response headers of `/next`.
    pub head: EventHead,
    /// The body of `/next`.
    pub payload: Vec<u8>,
}

/// What the guest's runtime did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// It connected for the first time: the interpreter and bootstrap are up.
    Connected,
    /// It waits in `/restore/next`: the function is loaded, its hooks before a snapshot have run.
    RestorePoint,
    /// A hook after `/restore/next` failed.
    RestoreError {
        /// `Lambda-Runtime-Function-Error-Type`.
        error_type: Option<String>,
        /// The error body.
        body: Vec<u8>,
    },
    /// It asked for its first event: the function is loaded.
    Ready,
    /// It asked for its first event, which was there before it asked: it gets it next.
    Begun {
        /// How long it took, from when the event was there.
        hooks: Duration,
    },
    /// It asked for another event after an answer: the turn is over.
    Idle,
    /// It hung up, or ended, before it had read the event that it asked for: it has not begun with it.
    NotRead {
        /// Of the event.
        request_id: String,
    },
    /// It answered the event.
    Response {
        /// Of the event.
        request_id: String,
        /// `Content-Type` of the request.
        content_type: Option<String>,
        /// The answer.
        payload: Vec<u8>,
    },
    /// It began to answer the event by a stream.
    ResponseHead {
        /// Of the event.
        request_id: String,
        /// `Content-Type` of the request.
        content_type: Option<String>,
    },
    /// It wrote to that stream.
    ResponsePiece {
        /// Of the event.
        request_id: String,
        /// What follows the pieces before; at most [`proto_sandbox::PIECE_BYTES`].
        data: Vec<u8>,
    },
    /// That stream is over.
    ResponseEnd {
        /// Of the event.
        request_id: String,
        /// What went wrong, if anything did.
        failure: Option<Outcome>,
        /// The error body; empty unless the failure is `Function`.
        body: Vec<u8>,
    },
    /// It failed the event, or its answer was no good.
    Error {
        /// Of the event.
        request_id: String,
        /// What went wrong.
        outcome: Outcome,
        /// The error body; empty unless the outcome is `Function`.
        body: Vec<u8>,
    },
    /// It could not initialise.
    InitError {
        /// `Lambda-Runtime-Function-Error-Type`.
        error_type: Option<String>,
        /// The error body.
        body: Vec<u8>,
    },
}

impl RuntimeEvent {
    /// The message (and payload) that tells the node; none for `Connected`,
    /// `Begun`, `Idle` and `RestorePoint`, whose messages carry what only the sandbox knows.
    pub fn into_message(self) -> Option<(FromSandbox, Vec<u8>)> {
        Some(match self {
            Self::Connected | Self::Begun { .. } | Self::Idle | Self::RestorePoint => return None,
            Self::Ready => (FromSandbox::Ready, Vec::new()),
            Self::Response {
                request_id,
                content_type,
                payload,
            } => (
                FromSandbox::Response {
                    request_id,
                    content_type,
                    exits: BTreeMap::new(),
                },
                payload,
            ),
            Self::ResponseHead {
                request_id,
                content_type,
            } => (
                FromSandbox::ResponseHead {
                    request_id,
                    content_type,
                },
                Vec::new(),
            ),
            Self::ResponsePiece { request_id, data } => {
                (FromSandbox::ResponsePiece { request_id }, data)
            }
            Self::ResponseEnd {
                request_id,
                failure,
                body,
            } => (
                FromSandbox::ResponseEnd {
                    request_id,
                    failure,
                    exits: BTreeMap::new(),
                },
                body,
            ),
            Self::Error {
                request_id,
                outcome,
                body,
            } => (
                FromSandbox::Error {
                    request_id,
                    outcome,
                },
                body,
            ),
            Self::NotRead { request_id } => (FromSandbox::NotRead { request_id }, Vec::new()),
            Self::RestoreError { error_type, body } => {
                (FromSandbox::RestoreError { error_type }, body)
            }
            Self::InitError { error_type, body } => (FromSandbox::InitError { error_type }, body),
        })
    }
}
