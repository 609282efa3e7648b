//! A pool of instances, as its callers see it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use node_logs::LogHub;
use proto_node::{FunctionSpec, InvokeError, NoSnapshot, Reply, Revision};
use tokio::runtime::Handle;
use tokio::time::timeout_at;

use crate::answer::Answer;
use crate::clock;
use crate::config::PoolConfig;
use crate::decide::{Input, Kind, TicketId};
use crate::instance::Instance;
use crate::invocation::{Arrival, Invocation};
use crate::launch::Launcher;
use crate::prepare;
use crate::shared::{Shared, keep_time};

/// Longest that an event waits, whatever its caller says.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the end of killed instances is waited for at shutdown.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// The instances of one machine. Dropping it ends them all.
pub struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// A pool without instances. Must be called inside a tokio runtime.
    pub fn new(launcher: Arc<dyn Launcher>, hub: Arc<LogHub>, config: PoolConfig) -> Self {
        let begin = |runtime: &Handle, begin| drop(runtime.spawn(Instance::new(begin).run()));
        let shared = Shared::new(launcher, hub, config, begin);
        tokio::spawn(keep_time(Arc::downgrade(&shared)));
        Self { shared }
    }

    /// Where the log records of all instances pass.
    pub fn logs(&self) -> &Arc<LogHub> {
        &self.shared.hub
    }

    /// Runs one event; resolves when it is answered, or when the function begins to answer by a stream. When the
    /// future or the reply is dropped, an event that waits is forgotten; one that runs does so to its end.
    pub async fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        event: Arrival,
    ) -> Result<Reply, InvokeError> {
        let (answer, answered) = Answer::new();
        let arrived = clock::now();
        let invocation = Invocation {
            function,
            deadline: arrived + event.head.queue_time.min(LONGEST_WAIT),
            request: event.head,
            payload: event.payload,
            taken: Some(event.taken),
            answer,
            arrived,
            lost: 0,
        };
        let ticket = self.shared.arrive(invocation);
        let _cancel = Cancel {
            shared: &self.shared,
            ticket,
        };
        answered.await.unwrap_or(Err(InvokeError::ShuttingDown))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Starts nothing more of `revision`; resolves when nothing is left.
    pub async fn forget(&self, revision: &Revision) {
        self.shared.step(Input::Forget(revision.clone()));
        self.shared.until_gone(revision).await;
        self.shared.launcher.forget(revision).await;
    }

    /// Has the launcher keep nothing of any other revisions than these.
    pub async fn keep_only(&self, revisions: BTreeSet<Revision>) {
        self.shared.launcher.keep_only(revisions).await;
    }

    /// Starts `function` once without an event and has it captured on the way.
    pub async fn prepare(&self, function: Arc<FunctionSpec>) -> Result<(), NoSnapshot> {
        prepare::prepare(Arc::clone(&self.shared), function).await
    }

    /// Whether new instances of `function` come from a snapshot.
    pub fn has_snapshot(&self, function: &FunctionSpec) -> bool {
        self.shared.launcher.has_snapshot(function)
    }

    /// Instances alive now.
    pub fn instances(&self) -> usize {
        self.shared.of_kind(Kind::Instance)
    }

    /// Takes no new events, lets running ones end for as long as `within`, then ends everything.
    pub async fn shutdown(&self, within: Duration) {
        let deadline = clock::now() + within;
        self.shared.step(Input::Drain);
        if timeout_at(deadline.into(), self.shared.until_empty())
            .await
            .is_ok()
        {
            return;
        }
        self.shared.stop_all();
        let limit = clock::now() + KILL_GRACE;
        if timeout_at(limit.into(), self.shared.until_empty())
            .await
            .is_err()
        {
            tracing::error!("sandboxes are still there after being killed");
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Forgets a waiting event when nobody awaits its answer any more.
struct Cancel<'a> {
    shared: &'a Shared,
    ticket: TicketId,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        self.shared.cancel(self.ticket);
    }
}
