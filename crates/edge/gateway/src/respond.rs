//! Answers: JSON, empty, errors, streams.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body as HttpBody, Frame};
use proto_lambda::ApiError;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::refusal::Refusal;

/// The one body type of all answers.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;
/// An answer or the error to tell.
pub(crate) type Answer = Result<Response<Body>, Refusal>;

pub(crate) const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Bytes with a status.
pub(crate) fn bytes(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// JSON text with a status.
pub(crate) fn json_text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = bytes(status, body);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// A value as JSON with a status.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => Ok(json_text(status, body)),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            Err(ApiError::service("The answer could not be written.").into())
        }
    }
}

/// 200 with a value.
pub(crate) fn ok(value: &impl Serialize) -> Answer {
    json(StatusCode::OK, value)
}

/// 204.
pub(crate) fn nothing() -> Answer {
    Ok(bytes(StatusCode::NO_CONTENT, Bytes::new()))
}

/// An error in Lambda's shape.
pub(crate) fn error(error: &ApiError) -> Response<Body> {
    let status =
        StatusCode::from_u16(error.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_text(status, error.body());
    response
        .headers_mut()
        .insert(ERROR_TYPE, HeaderValue::from_static(error.code.name));
    response
}

/// A header value from text that we made; what cannot be one is left out.
pub(crate) fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Pieces in a stream before its producer waits.
const STREAM_PIECES: usize = 4;

/// A body whose pieces are produced while it is sent.
pub(crate) struct Stream(mpsc::Receiver<Bytes>);

impl Stream {
    /// The producer's end and the body; the body ends when the producer's end is dropped.
    pub(crate) fn channel() -> (mpsc::Sender<Bytes>, Body) {
        let (sender, receiver) = mpsc::channel(STREAM_PIECES);
        (sender, Self(receiver).boxed_unsync())
    }
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}
