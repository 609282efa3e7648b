//! Settings of the registry.

use std::path::PathBuf;

/// Which functions start from snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotPolicy {
    /// All: `$LATEST` and every published version.
    Always,
    /// Published versions with `SnapStart.ApplyOn=PublishedVersions`, and whatever has
    /// `REKINDLE_SNAPSHOT=on` or `REKINDLE_FRESH=true`.
    Asked,
    /// None.
    #[default]
    Never,
}

/// Settings of the registry.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory that holds the database and the code; made if missing.
    pub data: PathBuf,
    /// Account in every ARN: twelve digits.
    pub account: String,
    /// Region in every ARN.
    pub region: String,
    /// Which functions start from snapshots. They are not settled until someone prepares them:
    /// [`crate::Function::begin_preparing`].
    pub snapshots: SnapshotPolicy,
}

impl Config {
    /// The defaults for a data directory: account 000000000000 in us-east-1, no snapshots.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            snapshots: SnapshotPolicy::default(),
        }
    }
}
