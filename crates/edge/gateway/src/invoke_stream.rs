//! InvokeWithResponseStream: the function's answer as it comes, piece by piece.
//!
//! The next piece is asked from the node when the connection has taken the last, so a client that reads slowly
//! slows the function and nothing heaps up here. A client that leaves drops the body and with it the answer.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Response, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame};
use proto_lambda::limits;
use proto_node::{FunctionFault, InvokeEnd, LogTail, Pieces, ReplyPiece, tail_of};

use crate::{
    call::Call,
    event,
    event_stream::{self, InvokeComplete},
    invoke::{EXECUTED_VERSION, START, TRACE_ID, start_word},
    refusal::Refusal,
    respond::{self, Answer},
    shared::Shared,
};

/// Members of `ResponseStreamingInvocationType` in the service model.
const TYPES: &[&str] = &["RequestResponse", "DryRun"];
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("application/vnd.amazon.eventstream");
/// `ErrorCode` of every failure of a function, as `X-Amz-Function-Error` is for Invoke.
const UNHANDLED: &str = "Unhandled";

/// Serves InvokeWithResponseStream.
pub(crate) async fn invoke(shared: &Shared, call: &Call) -> Answer {
    let Some(admitted) = event::admit(shared, call, TYPES)? else {
        return respond::nothing();
    };
    let streaming = shared.service.stream(admitted.admission, admitted.event);
    let reply = streaming.await?;
    let body = EventStream {
        pieces: Some(reply.pieces),
        log_tail: admitted.log_tail,
        sent: 0,
    };
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, EVENT_STREAM);
    let head = reply.head;
    respond::set(&mut response, EXECUTED_VERSION, &head.executed_version);
    respond::set(&mut response, START, start_word(head.start));
    respond::set(&mut response, TRACE_ID, &admitted.trace_id);
    Ok(response)
}

/// An answer as messages of an event stream, each a frame.
struct EventStream {
    /// None when the last message is out.
    pieces: Option<Pieces>,
    log_tail: LogTail,
    /// Bytes of the function's answer until now.
    sent: u64,
}

impl EventStream {
    fn last(&mut self, message: Bytes) -> Option<Bytes> {
        self.pieces = None;
        Some(message)
    }

    fn complete(&self, end: &InvokeEnd) -> Bytes {
        let tail = || BASE64_STANDARD.encode(tail_of(&end.log_tail));
        let fault = end.fault.as_ref();
        event_stream::invoke_complete(&InvokeComplete {
            error_code: fault.map(|_| UNHANDLED.to_owned()),
            error_details: fault.map(details),
            log_result: (self.log_tail == LogTail::Tail).then(tail),
        })
    }

    fn too_large() -> Bytes {
        event_stream::invoke_complete(&InvokeComplete {
            error_code: Some(UNHANDLED.to_owned()),
            error_details: Some(details(&FunctionFault::stream_too_large(
                limits::STREAMED_BYTES,
            ))),
            log_result: None,
        })
    }
}

fn details(fault: &FunctionFault) -> String {
    String::from_utf8_lossy(&fault.body).into_owned()
}

impl HttpBody for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(pieces) = self.pieces.as_mut() else {
            return Poll::Ready(None);
        };
        let message = match ready!(pieces.poll_next(context)) {
            Ok(Some(ReplyPiece::Chunk(piece))) => {
                self.sent += piece.len() as u64;
                if self.sent > limits::STREAMED_BYTES {
                    self.last(Self::too_large())
                } else {
                    Some(event_stream::payload_chunk(&piece))
                }
            }
            Ok(Some(ReplyPiece::End(end))) => {
                let message = self.complete(&end);
                self.last(message)
            }
            Ok(None) => None,
            Err(error) => {
                let Refusal(told) = control_service::InvokeError::from(error).into();
                let message = event_stream::error(told.code.name, &told.message);
                self.last(message)
            }
        };
        Poll::Ready(message.map(|message| Ok(Frame::data(message))))
    }
}
