//! From a new revision to its first snapshot.

use std::sync::Arc;

use control_registry::{Function, Readiness};
use proto_lambda::FunctionRef;
use proto_node::NoSnapshot;
use tokio::time::timeout;

use crate::Service;

/// Revisions whose preparation has begun.
#[must_use = "an answer waits for them"]
#[derive(Clone)]
pub(crate) struct Begun(Vec<Arc<Function>>);

impl Begun {
    /// Resolves when each snapshot is made or given up.
    pub(crate) async fn settled(&self) {
        for function in &self.0 {
            function.settled().await;
        }
    }
}

impl Service {
    /// Has the snapshots made of those revisions of a function that were made just now.
    pub(crate) fn begin_preparing(self: &Arc<Self>, name: &str) -> Begun {
        let mut begun = self.registry.versions_of(name);
        begun.retain(|function| function.begin_preparing());
        for function in &begun {
            tokio::spawn(Arc::clone(self).prepare(Arc::clone(function)));
        }
        Begun(begun)
    }

    /// Makes snapshots anew that do not fit any more, one at a time, beside what clients want: those that the node found outdated when it started. The functions
    /// stay as ready as they are: an event that comes before starts its function without, as it would have.
    pub async fn prepare_again(self: Arc<Self>) {
        let outdated = self.node.outdated().await;
        for function in self.registry.with_revisions(&outdated) {
            Arc::clone(&self).prepare(function).await;
        }
    }

    async fn prepare(self: Arc<Self>, function: Arc<Function>) {
        let (node, spec) = (Arc::clone(&self.node), Arc::clone(&function.spec));
        // A task of its own, so that a node that falls over leaves no function pending for ever.
        let prepared = tokio::spawn(async move { node.prepare(spec).await }).await;
        let name = function.record.name.as_str();
        let readiness = match prepared {
            Ok(Ok(())) => Readiness::Ready,
            Ok(Err(NoSnapshot::GivenUp(reason) | NoSnapshot::NoNode(reason))) => {
                Readiness::Without(reason)
            }
            Ok(Err(NoSnapshot::NotStarted(reason))) => Readiness::Unprepared(reason),
            Err(error) => {
                tracing::error!(function = name, %error, "a preparation failed");
                Readiness::Without("the server's log has the reason".to_owned())
            }
        };
        if readiness != Readiness::Ready {
            tracing::warn!(function = name, ?readiness, "no snapshot could be made");
        }
        function.settle(readiness);
        let revision = &function.record.revision;
        let versions = self.registry.versions_of(name);
        if versions.iter().all(|one| one.record.revision != *revision) {
            // Deleted or replaced meanwhile: nothing of it shall stay.
            self.retire(function.retired());
        }
    }

    /// Waits for what [`Self::begin_preparing`] has begun, as long as an answer may wait.
    pub(crate) async fn wait_for(&self, begun: &Begun) {
        let _ = timeout(self.config.answer_wait, begun.settled()).await;
    }

    /// Waits for a change before this one to come to its end, so that few clients have to try again.
    pub(crate) async fn after_last_change(&self, wanted: &FunctionRef) {
        if let Ok(function) = self.registry.find(wanted) {
            let _ = timeout(self.config.queue_wait, function.settled()).await;
        }
    }
}
