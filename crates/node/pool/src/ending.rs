//! How an event ended, before it is told.

use std::time::Duration;

use bytes::Bytes;
use proto_node::{FunctionFault, InvokeError, InvokeResult};
use proto_sandbox::Outcome;

use crate::clock;
use crate::failure::Failure;
use crate::invocation::After;
use crate::report::Status;

/// How an event ended, before it is told.
pub(crate) struct End {
    pub(crate) result: Result<InvokeResult, InvokeError>,
    /// Of an answer that was not streamed.
    pub(crate) content_type: Option<String>,
    pub(crate) status: Option<Status>,
    pub(crate) after: After,
    /// Lines the platform adds about it, before END.
    pub(crate) lines: Vec<String>,
}

impl End {
    pub(crate) fn answered(result: InvokeResult, content_type: Option<String>) -> Self {
        Self {
            result: Ok(result),
            content_type,
            status: None,
            after: After::Keep,
            lines: Vec::new(),
        }
    }

    /// The runtime reported an error, or its answer was no good.
    pub(crate) fn failed(outcome: Outcome, body: Bytes, request_id: &str) -> Self {
        let fault = match outcome {
            Outcome::Function { .. } => FunctionFault::reported(body),
            Outcome::ResponseTooLarge => FunctionFault::response_too_large(),
            Outcome::Truncated => truncated(request_id),
        };
        Self::answered(InvokeResult::Fault(fault), None)
    }

    pub(crate) fn of(failure: Failure, request_id: &str) -> Self {
        let (status, lines) = (failure.status(), failure.lines(request_id));
        let result = failure.result(request_id);
        Self {
            result,
            content_type: None,
            status: Some(status),
            after: After::End,
            lines,
        }
    }

    pub(crate) fn timed_out(request_id: &str, limit: Duration) -> Self {
        let text = format!("Task timed out after {:.2} seconds", limit.as_secs_f64());
        let line = format!("{} {request_id} {text}", clock::iso(clock::epoch_ms()));
        Self {
            result: Ok(InvokeResult::Fault(FunctionFault::timed_out(
                request_id, limit,
            ))),
            content_type: None,
            status: Some(Status::Timeout),
            after: After::End,
            lines: vec![line, String::new()],
        }
    }

    /// The runtime ended before it had read the event.
    pub(crate) fn not_read() -> Self {
        Self {
            after: After::PassOn,
            ..Self::platform(InvokeError::Sandbox(
                "the runtime ended before it had read the event".into(),
            ))
        }
    }

    pub(crate) fn platform(error: InvokeError) -> Self {
        let status = Some(Status::Error("Sandbox.Failure".into()));
        Self {
            result: Err(error),
            content_type: None,
            status,
            after: After::End,
            lines: Vec::new(),
        }
    }
}

/// The runtime's answer broke off: AWS calls that a truncated response.
fn truncated(request_id: &str) -> FunctionFault {
    let mut fault = FunctionFault::exited(request_id, None);
    fault.body = Bytes::from(
        serde_json::json!({
            "errorType": "Runtime.TruncatedResponse",
            "errorMessage": format!("RequestId: {request_id} Error: The runtime's response broke off"),
        })
        .to_string(),
    );
    fault
}
