//! Settings of the store.

use std::path::PathBuf;

/// Settings of the store.
#[derive(Clone, Debug)]
pub struct Config {
    /// A directory of its own; made if missing.
    pub directory: PathBuf,
    /// Most bytes of all snapshots together, those in quarantine included.
    pub budget_bytes: u64,
    /// Most snapshots that stay in quarantine for a look; older ones are deleted.
    pub quarantined: usize,
}

impl Config {
    /// 16 GiB, and eight for a look.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            budget_bytes: 16 << 30,
            quarantined: 8,
        }
    }
}
