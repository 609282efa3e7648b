//! The node's side of the seam to the gateway.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use node_code::CodeStore;
use node_logs::{LogHub, LogStore};
use node_pool::{Arrival, Pool};
use node_sandboxes::{GroupState, Sandboxes};
use proto_node::{
    Body, BoxFuture, Capacity, CapacityKind, CapacityView, Code, CodeError, CodeRef, FunctionSpec,
    Invoke, InvokeError, InvokeHead, LogRecord, LogSubscription, Logs, NoSnapshot, Reply, Revision,
    Revisions, Taken, TargetError,
};

use crate::config::AgentConfig;
use crate::error::AgentError;
use crate::launcher::ProcessLauncher;

/// Longest event in bytes: as the API has it, 6 MiB.
const EVENT_BYTES: usize = 6 * 1024 * 1024;

/// Runs functions on this machine. Dropping it ends every sandbox.
pub struct Agent {
    pool: Pool,
    sandboxes: Arc<Sandboxes>,
    code: Arc<CodeStore>,
    outdated: BTreeSet<Revision>,
}

impl Agent {
    /// Starts an agent without instances. Must be called inside a tokio runtime.
    pub fn start(config: AgentConfig) -> Result<Self, AgentError> {
        let store = config.logs.clone().map(LogStore::open).transpose();
        let hub = Arc::new(LogHub::new(store.map_err(AgentError::Logs)?));
        let pool = config.pool;
        let code = CodeStore::open(&config.directory.join("code")).map_err(AgentError::Code)?;
        let code = Arc::new(code);
        let launcher = Arc::new(ProcessLauncher::new(config, Arc::clone(&code))?);
        Ok(Self {
            outdated: launcher.outdated(),
            sandboxes: launcher.sandboxes(),
            code,
            pool: Pool::new(launcher, hub, pool),
        })
    }

    /// Works on the disk, so not on an async thread.
    fn off_thread(&self, work: impl FnOnce(&CodeStore) + Send + 'static) -> BoxFuture<'_, ()> {
        let store = Arc::clone(&self.code);
        Box::pin(async move {
            if let Err(error) = tokio::task::spawn_blocking(move || work(&store)).await {
                tracing::error!(%error, "code could not be removed");
            }
        })
    }

    /// What control groups of its sandboxes have in force.
    pub fn control_groups(&self) -> GroupState {
        self.sandboxes.control_groups()
    }

    /// Instances alive now.
    pub fn instances(&self) -> usize {
        self.pool.instances()
    }
}

impl Invoke for Agent {
    fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        head: InvokeHead,
        body: Body,
        taken: Taken,
    ) -> BoxFuture<'_, Result<Reply, InvokeError>> {
        Box::pin(async move {
            if !self.code.use_by(&function.code, &function.revision) {
                return Err(InvokeError::CodeMissing);
            }
            let payload = body.read(EVENT_BYTES).await.map_err(InvokeError::Event)?;
            let event = Arrival {
                head,
                payload,
                taken,
            };
            self.pool.invoke(function, event).await
        })
    }
}

impl Revisions for Agent {
    fn forget(&self, revision: Revision) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.pool.forget(&revision).await;
            self.code.forget(&revision);
        })
    }

    fn keep_only(&self, revisions: BTreeSet<Revision>) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.pool.keep_only(revisions).await })
    }

    fn prepare(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, Result<(), NoSnapshot>> {
        Box::pin(async move {
            if !self.code.use_by(&function.code, &function.revision) {
                let reason = "the node lacks the function's code";
                return Err(NoSnapshot::NotStarted(reason.to_owned()));
            }
            self.pool.prepare(function).await
        })
    }

    fn has_snapshot(&self, function: Arc<FunctionSpec>) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.pool.has_snapshot(&function) })
    }

    fn outdated(&self) -> BoxFuture<'_, BTreeSet<Revision>> {
        Box::pin(async { self.outdated.clone() })
    }
}

impl Code for Agent {
    fn has_code(&self, code: CodeRef) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.code.has(&code) })
    }

    fn put_code(&self, code: CodeRef, archive: Body) -> BoxFuture<'_, Result<(), CodeError>> {
        Box::pin(async move { self.code.put(&code, archive).await })
    }

    fn remove_code(&self, code: CodeRef) -> BoxFuture<'_, ()> {
        self.off_thread(move |store| store.remove(&code))
    }

    fn keep_code(&self, codes: BTreeSet<CodeRef>) -> BoxFuture<'_, ()> {
        self.off_thread(move |store| store.keep_only(&codes))
    }
}

impl Logs for Agent {
    fn subscribe(&self) -> LogSubscription {
        LogSubscription::new(self.pool.logs().subscribe())
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
}

impl Capacity for Agent {
    fn view(&self) -> BoxFuture<'_, CapacityView> {
        Box::pin(async { self.pool.capacity() })
    }

    fn target(
        &self,
        function: Arc<FunctionSpec>,
        kind: CapacityKind,
        count: u32,
    ) -> BoxFuture<'_, Result<(), TargetError>> {
        Box::pin(async move {
            if !self.code.use_by(&function.code, &function.revision) {
                let reason = "the node lacks the function's code";
                return Err(TargetError::NoNode(reason.to_owned()));
            }
            self.pool.target(function, kind, count)
        })
    }

    fn drain(&self, within: Duration) -> BoxFuture<'_, ()> {
        Box::pin(self.pool.shutdown(within))
    }
}
