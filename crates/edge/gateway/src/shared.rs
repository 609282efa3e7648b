//! What all connections share, and how a request is answered with it.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use control_service::Service;
use edge_keys::{Checker, Transport};
use hmac::Hmac;
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use proto_lambda::{ApiError, ErrorCode};
use sha2::Sha256;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    Config,
    body::Bodies,
    refusal::Refusal,
    respond::{self, Body},
    seat::{Seat, Seats, Serving},
};

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) service: Arc<Service>,
    pub(crate) bodies: Bodies,
    pub(crate) seats: Arc<Seats>,
    /// Checks signatures; none where every request is served.
    pub(crate) checker: Option<Checker>,
    /// Signs the URLs of code downloads; new at each start.
    pub(crate) url_key: Hmac<Sha256>,
    pub(crate) address: SocketAddr,
    /// Changes when the server stops: what has no end of its own ends then.
    pub(crate) stopped: watch::Receiver<()>,
}

/// A request on its connection.
pub(crate) struct Turn {
    pub(crate) transport: Transport,
    seat: Arc<Seat>,
    serving: Option<Serving>,
}

impl Turn {
    /// The request is whole and may be served: takes the room for that, which is given back with its answer.
    pub(crate) fn begin(&mut self) -> Result<(), ApiError> {
        let full = |_| {
            ApiError::new(
                ErrorCode::SERVICE_UNAVAILABLE,
                "Too many requests at once; try again.",
            )
        };
        self.serving = Some(self.seat.serve().map_err(full)?);
        Ok(())
    }
}

impl Shared {
    /// Answers one request; whatever goes wrong becomes an answer too.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        seat: Arc<Seat>,
        transport: Transport,
    ) -> Response<Answered> {
        seat.asks();
        let mut turn = Turn {
            transport,
            seat,
            serving: None,
        };
        let id = Uuid::new_v4().to_string();
        let started = Instant::now();
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let (operation, answer) = self.route(&id, request, &mut turn).await;
        let mut response = answer.unwrap_or_else(|Refusal(error)| {
            if error.code.status >= 500 {
                tracing::warn!(request_id = id, operation, %error, "request failed");
            }
            respond::error(&error)
        });
        respond::set(&mut response, respond::REQUEST_ID, &id);
        tracing::info!(
            request_id = id,
            operation,
            %method,
            path,
            status = response.status().as_u16(),
            milliseconds = started.elapsed().as_secs_f64() * 1e3,
            "request"
        );
        if turn.serving.is_none() {
            turn.seat.answered();
        }
        response.map(|body| Answered {
            body,
            _serving: turn.serving,
        })
    }

    /// Whether anyone on this machine may ask.
    pub(crate) fn open(&self) -> bool {
        self.checker.is_none()
    }

    /// How URLs to this server begin.
    pub(crate) fn scheme(&self) -> &'static str {
        match self.config.tls {
            Some(_) => "https",
            None => "http",
        }
    }
}

/// An answer on its way to the connection, with the room that its request takes.
pub(crate) struct Answered {
    body: Body,
    _serving: Option<Serving>,
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
