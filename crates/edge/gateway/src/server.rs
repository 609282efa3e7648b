//! The listener: takes connections, and lets requests under way finish when it stops.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use control_service::Service;
use hmac::{Hmac, Mac};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use uuid::Uuid;

use crate::{Config, body::Bodies, connection, shared::Shared};

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
        let (stopping, stopped) = watch::channel(());
        let bodies = Bodies::new(&config);
        let shared = Arc::new(Shared {
            config,
            service,
            bodies,
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

    /// Serves until `stop` resolves, then lets requests under way finish within the grace time.
    pub async fn run(self, stop: impl Future<Output = ()>) {
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
                let serving = connection::serve(Arc::clone(&self.shared), stream);
                connections.spawn(async move {
                    serving.await;
                    drop(permit);
                });
            } else {
                connections.spawn(connection::refuse(stream));
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
