//! What the node tells a sandbox.

use serde::{Deserialize, Serialize};

use crate::StartSpec;
use crate::event::EventHead;
use crate::snapshot::{CaptureSpec, RestoreSpec, ShellSpec};

/// A message from the node to the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToSandbox {
    /// Build the sandbox and run its program. First and once.
    Start(Box<StartSpec>),
    /// Become a shell: everything that can be done before it is needed. First and once, in place of
    /// `Start`. Descriptors: the snapshot, then those that it lies over, for reading. Payload:
    /// [`crate::snapshot::HotPages`] if they are known, to be in place ahead. Answered by `ShellReady`, `Refused`
    /// or `Failed`.
    Shell(Box<ShellSpec>),
    /// Bring the snapshot back in this shell. Once. Payload: the body of [`RestoreSpec::event`], then
    /// 32 random bytes. Answered by `Restored` or `Refused`; after `Restored` the guest runs until `Ready`, or
    /// `Begun` if an event came along.
    Restore(RestoreSpec),
    /// Write the frozen guest to a file. Descriptors: the file, empty, for writing. Only after
    /// `RestorePoint`, `CaptureAsked` or `Ready` and while no event is worked on; answered by
    /// `Captured` or `Refused`, and the guest stays frozen.
    Capture(CaptureSpec),
    /// Let the guest go on from `RestorePoint` or `CaptureAsked`, as the original.
    Resume {
        /// As [`RestoreSpec::environment`].
        environment: Vec<(String, String)>,
    },
    /// Thaw and hand this event to the runtime. Payload: the event.
    Event(EventHead),
    /// Whoever reads the streamed response to this event has taken `bytes` of it: as many more may come. Ignored if
    /// it is over.
    Credit {
        /// Of the event.
        request_id: String,
        /// Since the last `Credit`.
        bytes: u64,
    },
    /// Send a signal to the first guest process.
    Signal {
        /// Linux signal number.
        signal: i32,
    },
    /// Bytes for the guest's descriptor 0. An empty payload closes it.
    Stdin,
    /// Kill all guest processes, send `Exited`, end.
    Stop,
}

impl ToSandbox {
    /// How many descriptors come with this message.
    pub fn descriptors(&self) -> usize {
        match self {
            Self::Shell(shell) => shell.images as usize,
            Self::Capture(_) => 1,
            _ => 0,
        }
    }
}
