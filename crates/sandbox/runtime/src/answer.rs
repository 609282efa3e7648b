//! The answers of the Runtime API, as bytes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::event::Event;
use crate::head::Persistence;

/// An answer without a connection yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HttpAnswer {
    status: Cow<'static, str>,
    content_type: Cow<'static, str>,
    headers: Vec<(Cow<'static, str>, String)>,
    body: Vec<u8>,
}

impl HttpAnswer {
    fn json(status: &'static str, body: Vec<u8>) -> Self {
        Self {
            status: status.into(),
            content_type: "application/json".into(),
            headers: Vec::new(),
            body,
        }
    }

    fn error(status: &'static str, error_type: &str, message: &str) -> Self {
        let body = json!({ "errorMessage": message, "errorType": error_type });
        Self::json(status, body.to_string().into_bytes())
    }

    fn text(status: &'static str, body: &str) -> Self {
        Self {
            status: status.into(),
            content_type: "text/plain; charset=utf-8".into(),
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        }
    }

    pub(crate) fn accepted() -> Self {
        Self::json("202 Accepted", b"{\"status\":\"OK\"}\n".to_vec())
    }

    /// The answer to `/restore/next`: empty as on AWS, unless there are variables that the
    /// snapshot could not hold.
    pub(crate) fn restored(environment: &[(String, String)]) -> Self {
        if environment.is_empty() {
            return Self::json("200 OK", Vec::new());
        }
        let variables: serde_json::Map<String, serde_json::Value> = environment
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        let body = json!({ "environment": variables });
        Self::json("200 OK", body.to_string().into_bytes())
    }

    pub(crate) fn pong() -> Self {
        Self::text("200 OK", "pong")
    }

    pub(crate) fn not_found() -> Self {
        Self::text("404 Not Found", "404 page not found\n")
    }

    pub(crate) fn method_not_allowed(allowed: &'static str) -> Self {
        let mut answer = Self::text("405 Method Not Allowed", "");
        answer.headers.push(("Allow".into(), allowed.to_owned()));
        answer
    }

    pub(crate) fn bad_request() -> Self {
        Self::error(
            "400 Bad Request",
            "BadRequest",
            "The request is not valid HTTP/1.1",
        )
    }

    pub(crate) fn head_too_large(limit: usize) -> Self {
        Self::error(
            "431 Request Header Fields Too Large",
            "RequestHeaderFieldsTooLarge",
            &format!("The request head is longer than {limit} bytes"),
        )
    }

    pub(crate) fn invalid_request_id() -> Self {
        Self::error("400 Bad Request", "InvalidRequestID", "Invalid request ID")
    }

    pub(crate) fn invalid_transition(from: &str, to: &str) -> Self {
        let message = format!(
            "RuntimeState transition from {from} to {to} failed for runtime. Error: RuntimeState transition is not allowed"
        );
        Self::error("403 Forbidden", "InvalidStateTransition", &message)
    }

    pub(crate) fn body_too_large(limit: u64) -> Self {
        Self::error(
            "413 Request Entity Too Large",
            "RequestEntityTooLarge",
            &format!("Exceeded maximum allowed payload size ({limit} bytes)."),
        )
    }

    /// The answer to `/next`.
    pub(crate) fn event(event: Event) -> Self {
        let head = event.head;
        let mut headers = vec![
            ("Lambda-Runtime-Aws-Request-Id".into(), head.request_id),
            (
                "Lambda-Runtime-Deadline-Ms".into(),
                head.deadline_ms.to_string(),
            ),
            (
                "Lambda-Runtime-Invoked-Function-Arn".into(),
                head.invoked_function_arn,
            ),
        ];
        let optional = [
            (
                "Lambda-Runtime-Invocation-Id",
                Some(head.invocation_id).filter(|id| !id.is_empty()),
            ),
            ("Lambda-Runtime-Trace-Id", head.trace_id),
            ("Lambda-Runtime-Client-Context", head.client_context),
            ("Lambda-Runtime-Cognito-Identity", head.cognito_identity),
            ("Lambda-Runtime-Aws-Tenant-Id", head.tenant_id),
        ];
        headers.extend(
            optional
                .into_iter()
                .filter_map(|(name, value)| Some((Cow::Borrowed(name), value?))),
        );
        Self {
            status: "200 OK".into(),
            content_type: "application/json".into(),
            headers,
            body: event.payload,
        }
    }

    /// Appends the answer to `output`.
    pub(crate) fn render(&self, persistence: Persistence, output: &mut Vec<u8>) {
        output.reserve(self.body.len() + 512);
        let mut line = |parts: &[&[u8]]| {
            parts.iter().for_each(|part| output.extend_from_slice(part));
            output.extend_from_slice(b"\r\n");
        };
        line(&[b"HTTP/1.1 ", self.status.as_bytes()]);
        line(&[b"Content-Type: ", self.content_type.as_bytes()]);
        line(&[b"Content-Length: ", self.body.len().to_string().as_bytes()]);
        for (name, value) in &self.headers {
            line(&[name.as_bytes(), b": ", &header_value(value)]);
        }
        if persistence == Persistence::Close {
            line(&[b"Connection: close"]);
        }
        line(&[]);
        output.extend_from_slice(&self.body);
    }
}

/// `value` without bytes that would end the header: a client context is text from
/// outside. Line ends in JSON can only be white space, so a blank says the same.
fn header_value(value: &str) -> Vec<u8> {
    let blank = |byte: u8| {
        if byte == b'\t' || !byte.is_ascii_control() {
            byte
        } else {
            b' '
        }
    };
    value.bytes().map(blank).collect()
}
