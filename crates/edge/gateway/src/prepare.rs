//! From a new revision to its first snapshot, and what its events do until then.

use std::{sync::Arc, time::Duration};

use control_registry::{Function, Readiness};
use proto_lambda::{ApiError, ErrorCode, FunctionRef};
use proto_node::NoSnapshot;
use tokio::time::timeout;

use crate::server::Shared;

/// How long the answer to a creation, an update or a publication waits for the snapshot, so that a
/// client that waits for `Active` finds it at its first look.
const ANSWER_WAIT: Duration = Duration::from_secs(3);

/// Has the snapshots made of those revisions of a function that were made just now; which they are.
pub(crate) fn begin(shared: &Arc<Shared>, name: &str) -> Vec<Arc<Function>> {
    let mut begun = shared.registry.versions_of(name);
    begun.retain(|function| function.begin_preparing());
    for function in &begun {
        tokio::spawn(prepare(Arc::clone(shared), Arc::clone(function)));
    }
    begun
}

async fn prepare(shared: Arc<Shared>, function: Arc<Function>) {
    let (node, spec) = (Arc::clone(&shared.node), Arc::clone(&function.spec));
    let prepared = tokio::spawn(async move { node.prepare(spec).await }).await;
    function.settle(match prepared {
        Ok(Ok(())) => Readiness::Ready,
        Ok(Err(NoSnapshot::GivenUp(reason) | NoSnapshot::NoNode(reason))) => {
            Readiness::Without(reason)
        }
        Ok(Err(NoSnapshot::NotStarted(reason))) => Readiness::Unprepared(reason),
        Err(error) => {
            tracing::error!(function = function.record.name, %error, "a preparation failed");
            Readiness::Without("the server's log has the reason".to_owned())
        }
    });
    let revision = &function.record.revision;
    let versions = shared.registry.versions_of(&function.record.name);
    if versions.iter().all(|one| one.record.revision != *revision) {
        // Deleted meanwhile: nothing of it shall stay.
        shared.retire(function.retired());
    }
}

/// Waits for what [`begin`] has begun, as long as an answer may wait.
pub(crate) async fn wait(begun: &[Arc<Function>]) {
    let _ = timeout(ANSWER_WAIT, settled(begun)).await;
}

/// Waits for what [`begin`] has begun.
pub(crate) async fn settled(begun: &[Arc<Function>]) {
    for function in begun {
        function.settled().await;
    }
}

/// Waits for a change before this one to come to its end, so that few clients have to try again.
pub(crate) async fn after_last_change(shared: &Shared, wanted: &FunctionRef) {
    if let Ok(function) = shared.registry.find(wanted) {
        let _ = timeout(shared.config.queue_wait, function.settled()).await;
    }
}

/// Refuses events of a version that is to start from a snapshot which is not there yet, as AWS does.
pub(crate) fn check(function: &Function) -> Result<(), ApiError> {
    if function.asks_for_snap_start() && function.readiness() == Readiness::Preparing {
        return Err(ApiError::new(
            ErrorCode::SNAP_START_NOT_READY,
            "Lambda is initializing your function. \
             It will be ready to invoke once your function state becomes active.",
        ));
    }
    Ok(())
}

/// The revision that serves an event for `named`: the one before it while its snapshot is made. A new
/// function has none; the event waits, and after `queue_wait` starts it without.
pub(crate) async fn serving(
    shared: &Shared,
    (wanted, chance): (&FunctionRef, f64),
    named: Arc<Function>,
) -> Result<Arc<Function>, ApiError> {
    if named.readiness() != Readiness::Preparing {
        return Ok(named);
    }
    if let Some(stand_in) = named.stand_in() {
        return Ok(stand_in);
    }
    let _ = timeout(shared.config.queue_wait, named.settled()).await;
    // It may be deleted, or another one, by now.
    shared.registry.route(wanted, chance)
}
