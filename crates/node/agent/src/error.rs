//! Why an agent cannot start.

use std::io;

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
    /// The store of code could not be opened.
    #[error("the store of code could not be opened")]
    Code(#[source] node_code::OpenError),
    /// The log store could not be opened.
    #[error("the log store could not be opened")]
    Logs(#[source] io::Error),
    /// The thread that starts sandbox processes could not be made.
    #[error("the thread that starts sandboxes could not be made")]
    Spawner(#[source] io::Error),
}
