//! The listener: takes connections, and lets requests under way finish when it stops.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use control_service::Service;
use hmac::{Hmac, Mac};
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};
use uuid::Uuid;

use edge_keys::{Checker, Place};

use crate::{Config, body::Bodies, connection, seat::Seats, shared::Shared};

/// How long to wait when the host has no descriptor for a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Anybody could run code here.
    #[error(
        "listening on {0} needs access keys (--keys): without them only loopback addresses are allowed"
    )]
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

/// The HTTP server.
pub struct Gateway {
    listener: TcpListener,
    shared: Arc<Shared>,
    stopping: watch::Sender<()>,
}

impl Gateway {
    /// Starts to listen; requests are served by [`Self::run`].
    pub async fn bind(config: Config, service: Arc<Service>) -> Result<Self, BindError> {
        if config.keys.is_none() && !config.listen.ip().is_loopback() {
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
        let (stopping, stopped) = watch::channel(());
        let (bodies, seats) = (Bodies::new(&config), Seats::new(&config));
        let registry = service.registry();
        let place = Place {
            region: registry.region().to_owned(),
            account: registry.account().to_owned(),
        };
        let checker = config.keys.clone().map(|keys| Checker::new(keys, place));
        let shared = Arc::new(Shared {
            config,
            service,
            bodies,
            seats,
            checker,
            url_key,
            address,
            stopped,
        });
        Ok(Self {
            listener,
            shared,
            stopping,
        })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("{}://{}", self.shared.scheme(), self.shared.address)
    }

    /// Serves until `stop` resolves, then lets requests under way finish within the grace time.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        tracing::info!(address = %self.shared.address, keys = self.shared.checker.as_ref().map(Checker::keys), "listening");
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = &mut stop => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let sitting = self.shared.seats.take(peer.ip());
                    let shared = Arc::clone(&self.shared);
                    connections.spawn(connection::serve(shared, stream, sitting));
                }
                Err(error) => {
                    // Out of descriptors, most likely: one comes back.
                    tracing::warn!(%error, "a connection could not be accepted");
                    self.shared.seats.give_way();
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
        drop(self.listener);
        drop(self.stopping);
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(self.shared.config.shutdown_grace, all)
            .await
            .is_err()
        {
            tracing::warn!("requests were still under way when the grace time ended");
        }
    }
}
