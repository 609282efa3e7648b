//! The listener, and what all connections share.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use control_service::Service;
use hmac::{Hmac, Mac};
use http::{Request, Response};
use hyper::body::Incoming;
use sha2::Sha256;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use uuid::Uuid;

use crate::{
    Config,
    body::Bodies,
    connection,
    refusal::Refusal,
    respond::{self, Body},
};

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Anybody could run code here.
    #[error("listening on {0} needs access keys: without them only loopback addresses are allowed")]
    KeysRequired(SocketAddr),
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What came back.
        source: io::Error,
    },
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) service: Arc<Service>,
    pub(crate) bodies: Bodies,
    /// Signs the URLs of code downloads; new at each start.
    pub(crate) url_key: Hmac<Sha256>,
    pub(crate) address: SocketAddr,
}

/// The HTTP server.
pub struct Gateway {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Gateway {
    /// Starts to listen; requests are served by [`Self::run`].
    pub async fn bind(config: Config, service: Arc<Service>) -> Result<Self, BindError> {
        if config.keys.is_empty() && !config.listen.ip().is_loopback() {
            return Err(BindError::KeysRequired(config.listen));
        }
        let failed = |source| BindError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let secret = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        let url_key = Hmac::new_from_slice(&secret)
            .map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
        let bodies = Bodies::new(&config);
        let shared = Arc::new(Shared {
            config,
            service,
            bodies,
            url_key,
            address,
        });
        Ok(Self { listener, shared })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Serves until `stop` resolves, then lets requests under way finish within the grace time.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(());
        let room = Arc::new(Semaphore::new(self.shared.config.connections));
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        tracing::info!(address = %self.shared.address, keys = self.shared.config.keys.len(), "listening");
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = &mut stop => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: wait for some to come back.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            if let Ok(permit) = Arc::clone(&room).try_acquire_owned() {
                let serving = connection::serve(Arc::clone(&self.shared), stream, stopped.clone());
                connections.spawn(async move {
                    serving.await;
                    drop(permit);
                });
            } else {
                connections.spawn(connection::refuse(stream));
            }
        }
        drop(self.listener);
        drop(stopping);
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(self.shared.config.shutdown_grace, all)
            .await
            .is_err()
        {
            tracing::warn!("requests were still under way when the grace time ended");
        }
    }
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
