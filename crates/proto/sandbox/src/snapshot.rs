//! Capturing a sandbox, and bringing one back in a shell.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::StartSpec;

/// An empty sandbox, made ahead of the event that will need it: jail, files and an empty kernel are there,
/// the snapshot is opened and checked, and nothing of the guest exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShellSpec {
    /// As at a start: name, hostname, files, limits, Runtime API. Its program is not run; program,
    /// arguments and environment are in the snapshot.
    pub start: StartSpec,
}

/// What to do with the sandbox that was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterCapture {
    /// It stays frozen, as before; `Resume` or the next `Event` lets it go on.
    Keep,
    /// It ends, with `Exited`.
    End,
}

/// How to capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureSpec {
    /// Largest snapshot in bytes; above it the capture is refused with
    /// [`RefusalKind::TooLarge`].
    pub max_bytes: u64,
    /// What becomes of the original.
    pub after: AfterCapture,
}

/// Who the clone is from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreSpec {
    /// Variables that must not be in a snapshot: secrets, credentials, names of this very
    /// instance. The runtime gets them with the answer to `restore/next`.
    pub environment: Vec<(String, String)>,
}

/// Parts of a restore, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreStage {
    /// What no two clones may share is made anew: random pool, ids, clocks.
    Identity,
    /// Guest memory is mapped and its hot pages are there.
    Memory,
    /// Kernel state is in place, and guest threads exist.
    State,
    /// The Runtime API is served again.
    RuntimeApi,
}

impl fmt::Display for RestoreStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "identity",
            Self::Memory => "memory",
            Self::State => "state",
            Self::RuntimeApi => "runtime api",
        })
    }
}

/// Time that one part of a restore took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreTime {
    /// Which part.
    pub stage: RestoreStage,
    /// How long.
    pub nanoseconds: u64,
}

/// Why a capture or a restore did not happen; what the node does about it depends on this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// This sandbox cannot do it at all.
    Unsupported,
    /// The guest uses something that cannot be captured.
    Guest,
    /// The guest did not come to rest in time.
    Busy,
    /// Longer than [`CaptureSpec::max_bytes`].
    TooLarge,
    /// The snapshot is damaged: quarantine it.
    Damaged,
    /// The snapshot is whole but not for this machine or this version: make a new one.
    Foreign,
    /// The host lacks something or ran out of it: try again later.
    Host,
}
