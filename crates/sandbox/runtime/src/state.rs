//! The life of a runtime as AWS's Runtime API sees it.
//!
//! ```text
//! Started ──next──▶ Ready ──event──▶ Running ──response/error head──▶ Responding
//!    │                ▲                                                   │ body complete
//!    ├─init/error─▶ InitError      Ready ◀──next── Answered ◀─────────────┘ (or broken off)
//!    │
//!    └─restore/next─▶ RestoreReady ──resume──▶ RestoreRunning ──next──▶ Ready
//!       (snap-start)                                └─restore/error─▶ RestoreError
//! ```
//!
//! A snapshot taken in RestoreReady goes on with `resume` in every clone. Before that, and only where no function
//! is known yet: Started ──template/next──▶ TemplateReady ──resume, with the function──▶ Started.

use proto_sandbox::EventHead;
use serde::{Deserialize, Serialize};

use crate::answer::HttpAnswer;
use crate::connection::ConnectionId;

/// The two names under which an invocation is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InvocationNames {
    pub(crate) request_id: String,
    invocation_id: String,
}

impl From<&EventHead> for InvocationNames {
    fn from(head: &EventHead) -> Self {
        Self {
            request_id: head.request_id.clone(),
            invocation_id: head.invocation_id.clone(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RuntimeState {
    /// The process runs, `/next` was not asked for yet.
    Started,
    /// `/init/error` was posted; nothing may follow.
    InitError,
    /// This connection waits in `/restore/next`: the moment for a snapshot.
    RestoreReady(ConnectionId),
    /// This connection waits in `/template/next`: what is loaded is the same for many functions.
    TemplateReady(ConnectionId),
    /// `/restore/next` was answered: the runtime runs its hooks.
    RestoreRunning,
    /// `/restore/error` was posted; nothing may follow.
    RestoreError,
    /// Waiting for an event.
    Ready,
    /// An event was handed out.
    Running(InvocationNames),
    /// This connection is sending the answer.
    Responding(InvocationNames, ConnectionId),
    /// The event is answered; `/next` is awaited.
    HttpAnswered(InvocationNames),
}

impl RuntimeState {
    /// The state's name in error messages.
    fn name(&self) -> &'static str {
        match self {
            Self::Started => "Started",
            Self::InitError => "InitError",
            Self::RestoreReady(_) => "RestoreReady",
            Self::TemplateReady(_) => "TemplateReady",
            Self::RestoreRunning => "RestoreRunning",
            Self::RestoreError => "RestoreError",
            Self::Ready => "Ready",
            Self::Running(_) => "Running",
            Self::Responding(..) => "InvocationResponse",
            Self::HttpAnswered(_) => "ResponseSent",
        }
    }

    pub(crate) fn refuse(&self, wanted: &str) -> HttpAnswer {
        HttpAnswer::invalid_transition(self.name(), wanted)
    }

    /// Checks an answer to the event `request_id` and makes `connection` its sender.
    pub(crate) fn begin_answer(
        &mut self,
        connection: ConnectionId,
        request_id: &str,
        invocation_id: Option<&str>,
        wanted: &str,
    ) -> Result<InvocationNames, HttpAnswer> {
        let (Self::Running(current) | Self::Responding(current, _) | Self::HttpAnswered(current)) =
            self
        else {
            return Err(HttpAnswer::invalid_request_id());
        };
        let stale = invocation_id.is_some_and(|id| id != current.invocation_id);
        if current.request_id != request_id || stale {
            return Err(HttpAnswer::invalid_request_id());
        }
        let Self::Running(current) = self else {
            return Err(self.refuse(wanted));
        };
        let current = current.clone();
        *self = Self::Responding(current.clone(), connection);
        Ok(current)
    }
}

/// In which call a runtime waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// `GET /restore/next`.
    RestoreNext,
    /// `GET /template/next`.
    TemplateNext,
    /// `GET /invocation/next`.
    Next,
}
