//! Invoke: an event, and its outcome as an HTTP answer.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderName, Response, StatusCode};
use proto_node::{InvokeOutcome, InvokeResult, LogTail, StartKind, tail_of};

use crate::{
    call::Call,
    event::{self, Admitted},
    respond::{self, Answer, Body},
    shared::Shared,
};

/// Members of `InvocationType` in the service model.
const TYPES: &[&str] = &["Event", "RequestResponse", "DryRun"];
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
/// For a restored instance how long that took in milliseconds.
const RESTORE_MS: HeaderName = HeaderName::from_static("x-rekindle-restore-ms");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
pub(crate) const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
pub(crate) const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
/// How the instance came up.
pub(crate) const START: HeaderName = HeaderName::from_static("x-rekindle-start");

/// Serves Invoke.
pub(crate) async fn invoke(shared: &Shared, call: &Call) -> Answer {
    let Some(admitted) = event::admit(shared, call, TYPES)? else {
        return respond::nothing();
    };
    let Admitted {
        admission, event, ..
    } = admitted;
    let outcome = shared.service.invoke(admission, event).await?;
    let mut response = answer(outcome, admitted.log_tail);
    respond::set(&mut response, TRACE_ID, &admitted.trace_id);
    Ok(response)
}

/// How the instance came up, as a header says it.
pub(crate) fn start_word(start: StartKind) -> &'static str {
    match start {
        StartKind::Warm => "warm",
        StartKind::Cold => "cold",
        StartKind::Restored => "restored",
    }
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
    let start = start_word(outcome.start);
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
