//! Invoke: from an HTTP request to an event, and from its outcome to an HTTP answer.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use control_service::Event;
use http::{HeaderName, Response, StatusCode};
use proto_lambda::{ApiError, ErrorCode, limits};
use proto_node::{InvokeOutcome, InvokeResult, LogTail, StartKind, tail_of};
use serde::de::IgnoredAny;
use uuid::Uuid;

use crate::{
    call::Call,
    respond::{self, Answer, Body},
    server::Shared,
};

const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
/// How the instance came up, and for a restored one how long that took in milliseconds.
const START: HeaderName = HeaderName::from_static("x-rekindle-start");
const RESTORE_MS: HeaderName = HeaderName::from_static("x-rekindle-restore-ms");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// Longest trace header that is passed on.
const TRACE_ID_BYTES: usize = 512;

/// How the caller wants the function run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InvocationType {
    RequestResponse,
    DryRun,
}

/// Serves Invoke.
pub(crate) async fn invoke(shared: &Shared, call: &Call) -> Answer {
    let wanted = call.qualified_function()?;
    let kind = invocation_type(call)?;
    let log_tail = match call.word_header("x-amz-log-type", "logType", &["None", "Tail"])? {
        Some("Tail") => LogTail::Tail,
        _ => LogTail::None,
    };
    let admission = shared.service.admit(wanted)?;
    let payload = event(&call.body)?;
    let client_context = client_context(call)?;
    if kind == InvocationType::DryRun {
        return respond::nothing();
    }
    let trace_id = trace_id(call);
    let event = Event {
        request_id: call.id.clone(),
        payload,
        client_context,
        trace_id: Some(trace_id.clone()),
        log_tail,
    };
    let outcome = shared.service.invoke(admission, event).await?;
    let mut response = answer(outcome, log_tail);
    respond::set(&mut response, TRACE_ID, &trace_id);
    Ok(response)
}

fn invocation_type(call: &Call) -> Result<InvocationType, ApiError> {
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
    let allowed = &["Event", "RequestResponse", "DryRun"];
    match call.word_header("x-amz-invocation-type", "invocationType", allowed)? {
        Some("DryRun") => Ok(InvocationType::DryRun),
        Some("Event") => Err(ApiError::invalid_parameter(
            "Rekindle does not queue asynchronous invocations yet; use InvocationType RequestResponse.",
        )),
        _ => Ok(InvocationType::RequestResponse),
    }
}

/// The event: nothing means an empty object, as at AWS; anything else must be JSON.
fn event(body: &Bytes) -> Result<Bytes, ApiError> {
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

fn answer(outcome: InvokeOutcome, log_tail: LogTail) -> Response<Body> {
    let (body, fault) = match outcome.result {
        InvokeResult::Success(body) => (body, false),
        InvokeResult::Fault(fault) => (fault.body, true),
    };
    let mut response = respond::json_text(StatusCode::OK, body);
    respond::set(&mut response, EXECUTED_VERSION, &outcome.executed_version);
    if fault {
        respond::set(&mut response, FUNCTION_ERROR, "Unhandled");
    }
    if log_tail == LogTail::Tail {
        respond::set(
            &mut response,
            LOG_RESULT,
            &BASE64_STANDARD.encode(tail_of(&outcome.log_tail)),
        );
    }
    let start = match outcome.start {
        StartKind::Warm => "warm",
        StartKind::Cold => "cold",
        StartKind::Restored => "restored",
    };
    respond::set(&mut response, START, start);
    if let Some(restore) = outcome.restore {
        let milliseconds = format!("{:.3}", restore.as_secs_f64() * 1e3);
        respond::set(&mut response, RESTORE_MS, &milliseconds);
    }
    // Durations of Server-Timing are in milliseconds (W3C Server Timing, 3).
    let stages = outcome.timings.0.iter().map(|entry| {
        format!(
            ", {};dur={:.3}",
            entry.stage.name(),
            entry.time.as_secs_f64() * 1e3
        )
    });
    let mut timing = stages.fold(format!("start;desc={start}"), |text, stage| text + &stage);
    if !outcome.exits.is_empty() {
        let exits = outcome.exits.iter();
        let exits: Vec<String> = exits
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        timing.push_str(&format!(", exits;desc=\"{}\"", exits.join(" ")));
    }
    respond::set(&mut response, SERVER_TIMING, &timing);
    response
}
