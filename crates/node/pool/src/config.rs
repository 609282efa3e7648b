//! How a pool behaves.

use std::time::Duration;

use crate::decide::Limits;

/// How a pool behaves.
#[derive(Debug, Clone, Copy)]
pub struct PoolConfig {
    /// How much may be alive and wait.
    pub limits: Limits,
    /// Longest initialisation before the first event; 10 s on AWS.
    pub init_timeout: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            limits: Limits {
                processors: std::thread::available_parallelism().map_or(1, usize::from),
                ..Limits::default()
            },
            init_timeout: Duration::from_secs(10),
        }
    }
}
