//! What a node must know to start an instance of one function version.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Names one immutable pair of code and configuration; the key under which a node keeps instances.
///
/// A new one is made whenever code or configuration changes. It is *not* the API's `RevisionId`,
/// which also changes when only the state does (Pending to Active).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub String);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names the archive with a function's code; equal ones hold the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CodeRef {
    /// SHA-256 of the archive in lower-case hex, 64 digits.
    pub sha256: String,
    /// Length of the archive in bytes.
    pub bytes: u64,
}

impl CodeRef {
    /// Whether the digest is one: what names a file must be nothing else.
    pub fn is_well_formed(&self) -> bool {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        self.sha256.len() == 64 && self.sha256.bytes().all(digit)
    }
}

/// The variable that names, separated by commas, those variables whose values are in no snapshot.
pub const SECRETS_VARIABLE: &str = "REKINDLE_SECRETS";

/// The variable by which a function says whether its instances come from a snapshot: `on` or `off`.
pub const SNAPSHOT_VARIABLE: &str = "REKINDLE_SNAPSHOT";

/// The variable by which a function asks for an instance of its own for every event: `true` or `false`.
pub const FRESH_VARIABLE: &str = "REKINDLE_FRESH";

/// The variable by which a function demands a platform: `process` or `kvm`.
pub const PLATFORM_VARIABLE: &str = "REKINDLE_PLATFORM";

/// The variable with events, a JSON list, that a function handles before it is captured.
pub const WARM_UP_VARIABLE: &str = "REKINDLE_WARM_UP";

/// The names in a value of [`SECRETS_VARIABLE`].
pub fn secret_names(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

/// Whether instances of a version start from a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapStart {
    /// They do not.
    #[default]
    Off,
    /// The runtime is told so, runs its hooks and waits in `restore/next` when it is loaded.
    On,
}

/// How far events of one function are kept apart (`REKINDLE_FRESH`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// An instance takes one event after another.
    #[default]
    PerInstance,
    /// An instance takes one event and ends.
    PerEvent,
}

/// What a function demands to run its instructions (`REKINDLE_PLATFORM`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformDemand {
    /// What the node takes for all.
    #[default]
    None,
    /// Stub processes.
    Process,
    /// A virtual machine.
    Kvm,
}

/// Everything needed to start an instance of one function version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionSpec {
    /// Key of this code and configuration.
    pub revision: Revision,
    /// Function name, 1 to 64 characters of `[a-zA-Z0-9-_]`.
    pub name: String,
    /// `$LATEST` or a number.
    pub version: String,
    /// ARN without a version.
    pub arn: String,
    /// Twelve digits.
    pub account: String,
    /// Region name for `AWS_REGION`, for example `us-east-1`.
    pub region: String,
    /// Runtime identifier as the API knows it, for example `python3.11` or `provided.al2023`.
    pub runtime: String,
    /// Handler, for example `app.handler`; may be empty for `provided.*`.
    pub handler: String,
    /// Architectures entry: `x86_64`.
    pub architecture: String,
    /// Memory limit in MiB, 128 to 10,240.
    pub memory_mb: u32,
    /// Longest run time of one event, 1 s to 900 s.
    pub timeout: Duration,
    /// Size of the writable `/tmp` in MiB, 512 to 10,240.
    pub ephemeral_storage_mb: u32,
    /// The user's environment variables; at most 4 KiB in all.
    pub environment: BTreeMap<String, String>,
    /// Its code.
    pub code: CodeRef,
    /// Whether its instances start from a snapshot.
    pub snap_start: SnapStart,
    /// Whether an instance takes a second event.
    #[serde(default)]
    pub isolation: Isolation,
    /// What must run its instructions.
    #[serde(default)]
    pub platform: PlatformDemand,
    /// Log group, for example `/aws/lambda/hello`.
    pub log_group: String,
}

impl FunctionSpec {
    /// Variables that must be in no snapshot, with their values: those that [`SECRETS_VARIABLE`] names.
    pub fn secrets(&self) -> Vec<(String, String)> {
        let named = self.environment.get(SECRETS_VARIABLE);
        let names = named.map(|value| secret_names(value)).into_iter().flatten();
        names
            .filter_map(|name| self.environment.get_key_value(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}
