//! From the request of an invocation to its event.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use control_service::{Admission, Event};
use proto_lambda::{ApiError, ErrorCode, limits};
use proto_node::LogTail;
use serde::de::IgnoredAny;
use uuid::Uuid;

use crate::{call::Call, refusal::Refusal, shared::Shared};

/// Longest trace header that is passed on.
const TRACE_ID_BYTES: usize = 512;

/// How the caller wants the function run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InvocationType {
    RequestResponse,
    DryRun,
}

/// An event that may run, and what its answer needs to know of it.
pub(crate) struct Admitted {
    pub(crate) admission: Admission,
    pub(crate) event: Event,
    pub(crate) log_tail: LogTail,
    pub(crate) trace_id: String,
}

/// Checks a request in the order in which AWS does; none for a dry run. `types` are the words that its
/// `X-Amz-Invocation-Type` may be.
pub(crate) fn admit(
    shared: &Shared,
    call: &Call,
    types: &[&str],
) -> Result<Option<Admitted>, Refusal> {
    let wanted = call.qualified_function()?;
    let kind = invocation_type(call, types)?;
    let log_tail = match call.word_header("x-amz-log-type", "logType", &["None", "Tail"])? {
        Some("Tail") => LogTail::Tail,
        _ => LogTail::None,
    };
    let admission = shared.service.admit(wanted)?;
    let payload = payload(&call.body)?;
    let client_context = client_context(call)?;
    if kind == InvocationType::DryRun {
        return Ok(None);
    }
    let trace_id = trace_id(call);
    let event = Event {
        request_id: call.id.clone(),
        payload,
        client_context,
        trace_id: Some(trace_id.clone()),
        log_tail,
    };
    Ok(Some(Admitted {
        admission,
        event,
        log_tail,
        trace_id,
    }))
}

fn invocation_type(call: &Call, allowed: &[&str]) -> Result<InvocationType, ApiError> {
    for (header, member) in [
        ("x-amz-tenant-id", "TenantId"),
        ("x-amz-durable-execution-name", "DurableExecutionName"),
    ] {
        if call.header(header).is_some() {
            return Err(ApiError::invalid_parameter(format!(
                "Rekindle does not support {member} yet."
            )));
        }
    }
    match call.word_header("x-amz-invocation-type", "invocationType", allowed)? {
        Some("DryRun") => Ok(InvocationType::DryRun),
        Some("Event") => Err(ApiError::invalid_parameter(
            "Rekindle does not queue asynchronous invocations yet; use InvocationType RequestResponse.",
        )),
        _ => Ok(InvocationType::RequestResponse),
    }
}

/// The event: nothing means an empty object, as at AWS; anything else must be JSON.
fn payload(body: &Bytes) -> Result<Bytes, ApiError> {
    if body.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    let invalid = |reason: String| {
        ApiError::new(
            ErrorCode::INVALID_REQUEST_CONTENT,
            format!("Could not parse request body into json: {reason}"),
        )
    };
    let text = std::str::from_utf8(body).map_err(|error| invalid(format!("not UTF-8: {error}")))?;
    // Skipping a value needs no recursion, so nesting cannot exhaust the stack.
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| invalid(error.to_string()))?;
    Ok(body.clone())
}

fn client_context(call: &Call) -> Result<Option<String>, ApiError> {
    let Some(encoded) = call
        .header("x-amz-client-context")
        .filter(|text| !text.is_empty())
    else {
        return Ok(None);
    };
    if encoded.len() > limits::CLIENT_CONTEXT_BYTES {
        return Err(ApiError::invalid_parameter(format!(
            "Client context must be no more than {} bytes.",
            limits::CLIENT_CONTEXT_BYTES
        )));
    }
    let decoded = BASE64_STANDARD
        .decode(encoded)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.filter(|text| serde_json::from_str::<serde_json::Map<_, _>>(text).is_ok()) {
        Some(text) => Ok(Some(text)),
        None => Err(ApiError::new(
            ErrorCode::INVALID_REQUEST_CONTENT,
            "Client context must be a valid Base64-encoded JSON object.",
        )),
    }
}

/// The caller's trace header, or a new one that is not sampled.
fn trace_id(call: &Call) -> String {
    let acceptable = |text: &&str| {
        text.len() <= TRACE_ID_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if let Some(given) = call.header("x-amzn-trace-id").filter(acceptable) {
        return given.to_owned();
    }
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let root = Uuid::new_v4().simple().to_string();
    let parent = Uuid::new_v4().simple().to_string();
    format!(
        "Root=1-{seconds:08x}-{};Parent={};Sampled=0",
        &root[..24],
        &parent[..16]
    )
}
