//! Within which limits is decided: one budget of memory and processors for sandboxes of all kinds.

use std::time::Duration;

/// How much may be alive and how much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Instances and preparations on this machine.
    pub instances: usize,
    /// Sum over all sandboxes in MiB: the memory limits of instances and preparations, and for shells what they have
    /// to themselves.
    pub memory_mb: u64,
    /// Instances of one function revision.
    pub instances_per_function: usize,
    /// Events that wait, over all functions; as many preparations may wait.
    pub waiting: usize,
    /// Events of one function revision that wait.
    pub waiting_per_function: usize,
    /// How long an instance without events is kept.
    pub idle: Duration,
    /// Processors of this machine: what comes up for nobody in particular leaves one of them to events.
    pub processors: usize,
    /// Functions that are prepared at once; others wait.
    pub preparations: usize,
    /// How long an event that needs room leaves busy instances of other functions alone.
    pub patience: Duration,
    /// How long a preparation lets events go first when there is no room; then its turn comes as theirs does.
    pub preparation_patience: Duration,
    /// Shells of all functions.
    pub shells: usize,
    /// Shells that one function gets because its starts follow each other closely.
    pub shells_per_function: usize,
    /// What a shell costs of the memory, in MiB.
    pub shell_mb: u64,
}

/// What a shell has to itself: its process, its stub and the pages that clones use at once. 1.9 MB (Python) and 2.2 MB
/// (Node.js) were measured as the share (PSS) of one more instance, which has all that a shell has.
const SHELL_MB: u64 = 3;

impl Default for Limits {
    fn default() -> Self {
        Self {
            instances: 1000,
            memory_mb: 64 * 1024,
            instances_per_function: 1000,
            waiting: 4096,
            waiting_per_function: 1024,
            idle: Duration::from_secs(60),
            processors: 2,
            preparations: 2,
            patience: Duration::from_secs(1),
            preparation_patience: Duration::from_secs(10),
            shells: 32,
            shells_per_function: 8,
            shell_mb: SHELL_MB,
        }
    }
}
