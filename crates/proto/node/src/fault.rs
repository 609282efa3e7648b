//! How a function can fail, and the JSON body that its caller then gets.
//!
//! Bodies follow what AWS Lambda answers (developer guide, "Lambda runtime errors").

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Longest response of a function in bytes: 6 MiB and 100 bytes of slack, as AWS counts.
pub const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024 + 100;

/// What went wrong inside the function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// The runtime reported an error, from the handler or from init; the body is its own JSON.
    Reported,
    /// The process ended without an answer.
    Exit,
    /// The time limit passed.
    Timeout,
    /// The response was longer than [`MAX_RESPONSE_BYTES`].
    ResponseTooLarge,
    /// The memory limit was hit and the process was killed.
    OutOfMemory,
}

/// A failure of the function with the body its caller gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionFault {
    /// What went wrong.
    pub kind: FaultKind,
    /// JSON object with `errorMessage`, `errorType` and, if the runtime gave it, `stackTrace`.
    pub body: Bytes,
}

impl FunctionFault {
    /// The runtime posted `body` to `…/error` or `init/error`.
    pub fn reported(body: Bytes) -> Self {
        Self {
            kind: FaultKind::Reported,
            body,
        }
    }

    /// The process ended: `reason` is for example `exit status 127` or `signal: killed`;
    /// none when it ended with status 0.
    pub fn exited(request_id: &str, reason: Option<&str>) -> Self {
        let how = match reason {
            Some(reason) => format!("Runtime exited with error: {reason}"),
            None => "Runtime exited without providing a reason".to_owned(),
        };
        Self::with_type(
            FaultKind::Exit,
            "Runtime.ExitError",
            &format!("RequestId: {request_id} Error: {how}"),
        )
    }

    /// The process was killed at the memory limit.
    pub fn out_of_memory(request_id: &str) -> Self {
        Self::with_type(
            FaultKind::OutOfMemory,
            "Runtime.OutOfMemory",
            &format!("RequestId: {request_id} Error: Runtime exited with error: signal: killed"),
        )
    }

    /// The event ran longer than `limit`.
    pub fn timed_out(request_id: &str, limit: Duration) -> Self {
        let seconds = limit.as_secs_f64();
        Self::with_type(
            FaultKind::Timeout,
            "Sandbox.Timedout",
            &format!("RequestId: {request_id} Error: Task timed out after {seconds:.2} seconds"),
        )
    }

    /// The response was longer than [`MAX_RESPONSE_BYTES`].
    pub fn response_too_large() -> Self {
        Self::with_type(
            FaultKind::ResponseTooLarge,
            "Function.ResponseSizeTooLarge",
            &format!(
                "Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."
            ),
        )
    }

    /// What the function streamed was longer than `limit` bytes.
    pub fn stream_too_large(limit: u64) -> Self {
        Self::with_type(
            FaultKind::ResponseTooLarge,
            "Function.ResponseSizeTooLarge",
            &format!(
                "Response payload size exceeded maximum allowed payload size ({limit} bytes)."
            ),
        )
    }

    fn with_type(kind: FaultKind, error_type: &str, message: &str) -> Self {
        let body = json!({ "errorType": error_type, "errorMessage": message });
        Self {
            kind,
            body: Bytes::from(body.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fault: &FunctionFault) -> (String, String) {
        let body: serde_json::Value = serde_json::from_slice(&fault.body).unwrap();
        (
            body["errorType"].as_str().unwrap().to_owned(),
            body["errorMessage"].as_str().unwrap().to_owned(),
        )
    }

    #[test]
    fn bodies_read_as_aws_writes_them() {
        assert_eq!(
            fields(&FunctionFault::exited("id", None)),
            (
                "Runtime.ExitError".into(),
                "RequestId: id Error: Runtime exited without providing a reason".into()
            )
        );
        assert_eq!(
            fields(&FunctionFault::exited("id", Some("exit status 127"))).1,
            "RequestId: id Error: Runtime exited with error: exit status 127"
        );
        assert_eq!(
            fields(&FunctionFault::timed_out("id", Duration::from_secs(1))),
            (
                "Sandbox.Timedout".into(),
                "RequestId: id Error: Task timed out after 1.00 seconds".into()
            )
        );
        assert_eq!(
            fields(&FunctionFault::response_too_large()).1,
            "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
        );
    }
}
