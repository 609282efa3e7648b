//! `GET /_rekindle/logs?function=NAME[&follow=true]`: log lines as JSON, one per line.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use proto_lambda::{FunctionRef, limits};
use proto_node::LogRecord;
use tokio::sync::broadcast::error::RecvError;

use crate::{
    call::Call,
    respond::{Answer, Stream},
    shared::Shared,
};

/// Most lines given from disk.
const MAX_STORED: usize = 1000;

fn line(record: &LogRecord) -> Bytes {
    // Records are plain text and numbers, which always serialise.
    let mut text = serde_json::to_vec(record).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

pub(crate) fn answer(shared: &Arc<Shared>, call: &Call) -> Answer {
    let wanted = FunctionRef::parse(
        &call.query("function").unwrap_or_default(),
        limits::NAMESPACED_NAME_CHARS,
    )?;
    let function = shared.service.registry().find(&wanted)?;
    let name = function.record.name.clone();
    let follow = call.query("follow").as_deref() == Some("true");
    let (kept, mut live) = shared.service.logs().look(&name);
    let (pieces, body) = Stream::channel();
    let service = Arc::clone(&shared.service);
    let mut stopped = shared.stopped.clone();
    tokio::spawn(async move {
        // What memory does not hold any more, or never did since the server started anew.
        let oldest = kept.first().map_or(u64::MAX, |record| record.timestamp_ms);
        for record in service.stored_logs(&name, MAX_STORED).await {
            if record.timestamp_ms < oldest && pieces.send(line(&record)).await.is_err() {
                return;
            }
        }
        for record in kept {
            if pieces.send(line(&record)).await.is_err() {
                return;
            }
        }
        if !follow {
            return;
        }
        loop {
            let record = tokio::select! {
                record = live.recv() => record,
                () = pieces.closed() => return,
                _ = stopped.changed() => return,
            };
            match record {
                Ok(record) if record.function == name => {
                    if pieces.send(line(&record)).await.is_err() {
                        return;
                    }
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
    let mut response = Response::new(body);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    Ok(response)
}
