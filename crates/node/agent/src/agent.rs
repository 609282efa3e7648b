//! The node's side of the seam to the gateway.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use node_logs::{LogHub, LogStore};
use node_pool::Pool;
use proto_node::{
    BoxFuture, FunctionSpec, InvokeError, InvokeOutcome, InvokeRequest, Invoker, LogRecord,
    NoSnapshot, Revision,
};
use tokio::sync::broadcast;

use crate::config::AgentConfig;
use crate::launcher::ProcessLauncher;
use crate::snapshots::SnapshotsError;

/// Why an agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The bootstraps of the runtimes could not be written.
    #[error("the runtimes' bootstraps could not be written")]
    Runtimes(#[source] io::Error),
    /// The store of snapshots could not be opened.
    #[error("the store of snapshots could not be opened")]
    Snapshots(#[source] SnapshotsError),
    /// The log store could not be opened.
    #[error("the log store could not be opened")]
    Logs(#[source] io::Error),
    /// The thread that starts sandbox processes could not be made.
    #[error("the thread that starts sandboxes could not be made")]
    Spawner(#[source] io::Error),
}

/// Runs functions on this machine. Dropping it ends every sandbox.
pub struct Agent {
    pool: Pool,
    outdated: BTreeSet<Revision>,
}

impl Agent {
    /// Starts an agent without instances. Must be called inside a tokio runtime.
    pub fn start(config: AgentConfig) -> Result<Self, AgentError> {
        let store = config.logs.clone().map(LogStore::open).transpose();
        let hub = Arc::new(LogHub::new(store.map_err(AgentError::Logs)?));
        let pool = config.pool;
        let launcher = Arc::new(ProcessLauncher::new(config)?);
        Ok(Self {
            outdated: launcher.outdated(),
            pool: Pool::new(launcher, hub, pool),
        })
    }

    /// Revisions whose snapshots were made by another build or for another processor, and were removed as this agent
    /// started: whoever prepares them spares their next events a start from the beginning.
    pub fn outdated(&self) -> &BTreeSet<Revision> {
        &self.outdated
    }

    /// Instances alive now.
    pub fn instances(&self) -> usize {
        self.pool.instances()
    }
}

impl Invoker for Agent {
    fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        request: InvokeRequest,
    ) -> BoxFuture<'_, Result<InvokeOutcome, InvokeError>> {
        Box::pin(self.pool.invoke(function, request))
    }

    fn forget(&self, revision: Revision) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.pool.forget(&revision).await })
    }

    fn keep_only(&self, revisions: BTreeSet<Revision>) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.pool.keep_only(revisions).await })
    }

    fn prepare(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), NoSnapshot>> {
        Box::pin(self.pool.prepare(function))
    }

    fn has_snapshot(&self, function: &FunctionSpec) -> bool {
        self.pool.has_snapshot(function)
    }

    fn logs(&self) -> broadcast::Receiver<Arc<LogRecord>> {
        self.pool.logs().subscribe()
    }

    fn stored_logs(&self, function: &str, limit: usize) -> BoxFuture<'_, Vec<LogRecord>> {
        let (store, function) = (self.pool.logs().store().cloned(), function.to_owned());
        Box::pin(async move {
            let Some(store) = store else {
                return Vec::new();
            };
            // Disk, so not on an async thread.
            let reading = tokio::task::spawn_blocking(move || store.read(&function, 0, limit));
            match reading.await {
                Ok(Ok(stored)) => stored.records,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "stored log lines could not be read");
                    Vec::new()
                }
                Err(_) => Vec::new(),
            }
        })
    }

    fn remove_logs(&self, function: &str) -> BoxFuture<'_, ()> {
        let (store, function) = (self.pool.logs().store().cloned(), function.to_owned());
        Box::pin(async move {
            let Some(store) = store else {
                return;
            };
            // Waits for room in the writer's queue, so not on an async thread.
            let removing = tokio::task::spawn_blocking(move || store.remove(&function));
            if removing.await.is_err() {
                tracing::error!("stored log lines could not be removed");
            }
        })
    }

    fn shutdown(&self, deadline: Instant) -> BoxFuture<'_, ()> {
        Box::pin(self.pool.shutdown(deadline))
    }
}
