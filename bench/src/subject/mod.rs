//! What is measured: functions on a `rekindle serve` of the benchmark's own, called through HTTP.

mod call;
mod function;
mod started;

pub(crate) use call::{Answer, Caller, burst};
pub(crate) use function::{Deployed, Function, Language, Snapshots, deploy};
pub(crate) use started::{Kind, Started};

use std::time::{Duration, Instant};

use edge_cli::server::Server;

use crate::processes::{Sandbox, sandboxes};

/// `--keep-idle` of a server that keeps no idle instance; the shortest time there is.
pub(crate) const NOT_AT_ALL: &str = "0.001ms";

/// How long a server may take until nothing of an answered event is left.
const SETTLED_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks at its processes; two that are alike mean that it has settled.
const LOOK: Duration = Duration::from_millis(15);

/// Waits until the server neither starts nor ends sandboxes, and what it takes to start the next is there.
pub(crate) async fn settle(server: &Server) -> Vec<Sandbox> {
    let deadline = Instant::now() + SETTLED_WITHIN;
    let mut last = sandboxes(server.pid());
    loop {
        tokio::time::sleep(LOOK).await;
        let now = sandboxes(server.pid());
        if now == last || Instant::now() > deadline {
            return now;
        }
        last = now;
    }
}
