//! What all connections share, and how a request is answered with it.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use control_service::Service;
use hmac::Hmac;
use http::{Request, Response};
use hyper::body::Incoming;
use sha2::Sha256;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    Config,
    body::Bodies,
    refusal::Refusal,
    respond::{self, Body},
};

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) service: Arc<Service>,
    pub(crate) bodies: Bodies,
    /// Signs the URLs of code downloads; new at each start.
    pub(crate) url_key: Hmac<Sha256>,
    pub(crate) address: SocketAddr,
    /// Changes when the server stops: what has no end of its own ends then.
    pub(crate) stopped: watch::Receiver<()>,
}

impl Shared {
    /// Answers one request; whatever goes wrong becomes an answer too.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let id = Uuid::new_v4().to_string();
        let started = Instant::now();
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let (operation, answer) = self.route(&id, request).await;
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
        response
    }

    /// Whether anyone on this machine may ask.
    pub(crate) fn open(&self) -> bool {
        self.config.keys.is_empty()
    }
}
