//! A gateway on a free port, for tests.

#![allow(
    dead_code,
    reason = "not every test that shares this module needs all of it"
)]

pub(crate) mod http;
pub(crate) mod native;
pub(crate) mod scripted;
pub(crate) mod streaming;

use std::{net::SocketAddr, sync::Arc};

use control_registry::{Registry, SnapshotPolicy};
use control_service::Service;
use edge_gateway::{Config, Gateway};
use proto_node::Parts;
use tokio::{sync::oneshot, task::JoinHandle};

/// A node of a test; what it does not do itself, nothing does.
pub(crate) trait Double {
    /// The node.
    fn parts(self) -> Parts;
}

/// A running gateway with its own data directory; dropping it stops it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    _data: tempfile::TempDir,
}

impl Server {
    /// Starts a gateway on a free loopback port; its functions start from snapshots if they ask for it.
    pub(crate) async fn start(config: Config, node: impl Double) -> Self {
        let service = control_service::Config::default();
        Self::with(config, node, SnapshotPolicy::Asked, service).await
    }

    /// The same; which functions start from snapshots is up to `snapshots`.
    pub(crate) async fn with(
        config: Config,
        node: impl Double,
        snapshots: SnapshotPolicy,
        service: control_service::Config,
    ) -> Self {
        let data = tempfile::tempdir().unwrap();
        let registry = Registry::open(control_registry::Config {
            snapshots,
            ..control_registry::Config::new(data.path())
        })
        .await
        .unwrap();
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            ..config
        };
        let service = Service::start(Arc::new(registry), Arc::new(node.parts()), service).await;
        let gateway = Gateway::bind(config, service).await.unwrap();
        let address = gateway.address();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(gateway.run(async {
            let _ = stopped.await;
        }));
        Self {
            address,
            stop: Some(stop),
            task,
            _data: data,
        }
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(mut self) {
        self.stop.take();
        self.task.await.unwrap();
    }
}
