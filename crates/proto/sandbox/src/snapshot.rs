//! Capturing a sandbox, and bringing one back in a shell.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::StartSpec;
use crate::event::EventHead;

/// An empty sandbox, made ahead of the event that will need it: jail, files and an empty kernel are there,
/// the snapshot is opened and checked, and nothing of the guest exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShellSpec {
    /// As at a start: name, hostname, files, limits, Runtime API. Its program is not run; program,
    /// arguments and environment are in the snapshot.
    pub start: StartSpec,
    /// Files that come along: the snapshot, and those that it lies over. At most [`MAX_IMAGES`].
    pub images: u32,
}

/// Most files that hold the pages of one snapshot.
pub const MAX_IMAGES: u32 = 4;

/// Which pages a capture writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapturedPages {
    /// All of them.
    All,
    /// Those that are not in the snapshot that the sandbox itself came from; the new one lies over
    /// that.
    Changed,
}

/// How to capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureSpec {
    /// Largest snapshot in bytes; above it the capture is refused with
    /// [`RefusalKind::TooLarge`].
    pub max_bytes: u64,
    /// Which pages are written.
    pub pages: CapturedPages,
}

/// Who the clone is from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreSpec {
    /// Variables that must not be in a snapshot: secrets, credentials, names of this very
    /// instance. The runtime gets them with the answer to `restore/next`.
    pub environment: Vec<(String, String)>,
    /// The event that the clone is for, if there is one: the runtime has it as soon as it asks.
    pub event: Option<FirstEvent>,
}

/// An event that comes along with a restore; its body comes before the random bytes of the payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstEvent {
    /// Its deadline is set when the runtime takes it.
    pub head: EventHead,
    /// How long the runtime may work on it, in milliseconds.
    pub timeout_ms: u64,
}

/// Runs of pages that a clone uses at once, by address space.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HotPages(pub Vec<HotRun>);

/// A run of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HotRun {
    /// Number of the address space in the snapshot.
    pub space: u32,
    /// First byte.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// What clones do with it.
    pub usage: HotUse,
}

/// What clones do with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HotUse {
    /// They write it: each has its own.
    Write,
    /// They read or run it: it stays shared.
    Read,
}

impl HotPages {
    /// Bytes of all that is ever kept or believed.
    pub const MAX_BYTES: usize = 64 << 10;
    const RUN: usize = 17;

    /// As a payload; what is beyond [`HotPages::MAX_BYTES`] is left out.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for run in self.0.iter().take(Self::MAX_BYTES / Self::RUN) {
            bytes.extend(run.space.to_le_bytes());
            bytes.extend(run.len.to_le_bytes());
            bytes.extend(run.addr.to_le_bytes());
            bytes.push(match run.usage {
                HotUse::Write => 0,
                HotUse::Read => 1,
            });
        }
        bytes
    }

    /// From a payload; what is no run is left out. The numbers in it are not checked.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let bytes = bytes.get(..Self::MAX_BYTES).unwrap_or(bytes);
        let run = |run: &[u8]| {
            let (space, rest) = run.split_first_chunk()?;
            let (len, rest) = rest.split_first_chunk()?;
            let (addr, rest) = rest.split_first_chunk()?;
            Some(HotRun {
                space: u32::from_le_bytes(*space),
                len: u32::from_le_bytes(*len),
                addr: u64::from_le_bytes(*addr),
                usage: match rest {
                    [0] => HotUse::Write,
                    [1] => HotUse::Read,
                    _ => return None,
                },
            })
        };
        Self(bytes.chunks_exact(Self::RUN).filter_map(run).collect())
    }
}

/// Parts of a restore, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreStage {
    /// What no two clones may share is made anew: random pool, ids, clocks.
    Identity,
}

impl fmt::Display for RestoreStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "identity",
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
