//! The service itself: what its operations share, and how a revision ends.

use std::{future::Future, sync::Arc, time::Duration};

use control_nodes::Supplied;
use control_registry::{Registry, Retired};
use proto_node::Node;
use tokio::task::JoinHandle;

use crate::{Interrupted, LogHistory};

/// Settings of the service.
#[derive(Clone, Debug)]
pub struct Config {
    /// Longest time that an event waits for an instance, and a change for the one before it.
    pub queue_wait: Duration,
    /// How long the answer to a creation, an update or a publication waits for the snapshot, so that a
    /// client that waits for `Active` finds it at its first look.
    pub answer_wait: Duration,
    /// Log lines kept in memory for each function.
    pub log_lines: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queue_wait: Duration::from_secs(10),
            answer_wait: Duration::from_secs(3),
            log_lines: 1000,
        }
    }
}

/// What can be done with functions.
pub struct Service {
    pub(crate) config: Config,
    pub(crate) registry: Arc<Registry>,
    /// Gets the code that it lacks.
    pub(crate) node: Arc<dyn Node>,
    /// The same.
    pub(crate) supplied: Arc<Supplied<dyn Node>>,
    logs: Arc<LogHistory>,
    /// Fills `logs`.
    following: JoinHandle<()>,
}

impl Service {
    /// Has the node keep what there is and nothing else, and begins to follow its log lines. The node gets the code
    /// that it lacks from the registry.
    pub async fn start(registry: Arc<Registry>, node: Arc<dyn Node>, config: Config) -> Arc<Self> {
        let catalogue = Arc::clone(&registry) as _;
        let supplied = Arc::new(Supplied::new(node, catalogue));
        let node: Arc<dyn Node> = Arc::clone(&supplied) as _;
        node.keep_only(registry.revisions()).await;
        node.keep_code(registry.codes()).await;
        let logs = Arc::new(LogHistory::new(config.log_lines));
        let following = tokio::spawn(Arc::clone(&logs).follow(node.subscribe()));
        Arc::new(Self {
            config,
            registry,
            node,
            supplied,
            logs,
            following,
        })
    }

    /// What there is: for looking, changes go through the service.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The last log lines of each function.
    pub fn logs(&self) -> &LogHistory {
        &self.logs
    }

    /// The node that runs functions.
    pub fn node(&self) -> &Arc<dyn Node> {
        &self.node
    }

    /// Has the node forget a revision, then removes its code; in the background.
    pub(crate) fn retire(self: &Arc<Self>, retired: Retired) -> JoinHandle<()> {
        let service = Arc::clone(self);
        tokio::spawn(async move {
            service.node.forget(retired.revision.clone()).await;
            for code in service.registry.collect(retired).await {
                service.node.remove_code(code).await;
            }
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.following.abort();
    }
}

/// Runs work on a task of its own, so that it comes to its end even if the caller goes away.
pub(crate) async fn detached<T, E>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Interrupted> + Send + 'static,
{
    tokio::spawn(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a task of the service failed");
        Err(Interrupted.into())
    })
}
