//! What a sandbox tells its node.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::snapshot::{RefusalKind, RestoreTime};

/// A message from the sandbox to the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromSandbox {
    /// A part of the start is over; stages come in the order of [`StageName`].
    Stage {
        /// Which part.
        name: StageName,
        /// How long it took, since the end of the one before.
        nanoseconds: u64,
    },
    /// The shell waits for `Restore`.
    ShellReady,
    /// The runtime asked `restore/next`, its last step before a snapshot: the guest is frozen
    /// until `Capture` and `Resume`.
    RestorePoint,
    /// A guest process wrote to `/proc/rekindle/snapshot` and waits there: the guest is frozen
    /// until `Capture` and `Resume`.
    CaptureAsked,
    /// The snapshot is written, though not synced.
    Captured {
        /// Length of the file.
        bytes: u64,
        /// How long the guest stood still for it.
        nanoseconds: u64,
    },
    /// The snapshot lives in this shell. `Ready` or `Begun` follows, after the runtime's own hooks.
    Restored {
        /// The parts, in order.
        times: Vec<RestoreTime>,
    },
    /// What a restored guest wrote of the snapshot's pages until it was done with its first event: copied
    /// ahead for the clones after it. Payload: [`crate::snapshot::HotPages`].
    Touched,
    /// `Capture` or `Restore` was not done. After a refused `Restore` the shell is used up.
    Refused {
        /// What to do about it.
        kind: RefusalKind,
        /// For a person.
        reason: String,
    },
    /// The runtime posted to `restore/error`: a hook failed after `Restored` or `Resume`.
    /// Payload: the error body. It normally exits next.
    RestoreError {
        /// `Lambda-Runtime-Function-Error-Type`, when it was sent.
        error_type: Option<String>,
    },
    /// The runtime asked for its first event: initialisation is over and the
    /// guest is frozen.
    Ready,
    /// In place of `Ready` where the first event came along with `Restore`: the runtime asked for it, and
    /// gets it next. Said before the runtime can know anything of it: an event without `Begun` was not begun.
    Begun {
        /// How long the runtime took for its own hooks, as [`StageName::AfterRestore`].
        nanoseconds: u64,
        /// When, in nanoseconds since 1970: by the time this is read the event may be answered.
        at: u64,
    },
    /// The runtime posted to `/init/error`. Payload: the error body. It normally
    /// exits next.
    InitError {
        /// `Lambda-Runtime-Function-Error-Type`, when it was sent.
        error_type: Option<String>,
    },
    /// The runtime answered, all at once. Payload: the response.
    Response {
        /// Of the event.
        request_id: String,
        /// `Content-Type` of the runtime's request.
        content_type: Option<String>,
        /// How often guest code was left until then, by reason; with the first answer of a sandbox alone.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        exits: BTreeMap<String, u64>,
    },
    /// The runtime began to answer by a stream.
    ResponseHead {
        /// Of the event.
        request_id: String,
        /// `Content-Type` of the runtime's request.
        content_type: Option<String>,
    },
    /// A part of a streamed response. Payload: its bytes, at most [`crate::PIECE_BYTES`].
    ResponsePiece {
        /// Of the event.
        request_id: String,
    },
    /// A streamed response is over. Payload: the error body, empty unless the failure is `Function`.
    ResponseEnd {
        /// Of the event.
        request_id: String,
        /// What went wrong, if anything did.
        failure: Option<Outcome>,
        /// As with `Response`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        exits: BTreeMap<String, u64>,
    },
    /// The runtime reported an error, or its answer was no good. Payload: the
    /// error body, empty unless the outcome is `Function`.
    Error {
        /// Of the event.
        request_id: String,
        /// What went wrong.
        outcome: Outcome,
    },
    /// The runtime hung up, or ended, before it had read this event to its end: nobody has begun with it.
    NotRead {
        /// Of the event.
        request_id: String,
    },
    /// Bytes written by the guest. Payload: the bytes, not necessarily whole lines.
    Log {
        /// Where it wrote.
        stream: LogStream,
        /// Bytes thrown away since the last `Log` because they came too fast.
        #[serde(default)]
        dropped: u64,
    },
    /// Closes the turn of an event, after its answer: the runtime asked for the next
    /// event (or ended), the guest is frozen.
    Usage {
        /// Highest memory use of this sandbox so far, in bytes.
        max_memory_bytes: u64,
    },
    /// The first guest process ended (and all others were killed). Last message.
    Exited {
        /// How.
        status: GuestExit,
        /// Why, when it was not by itself.
        reason: ExitReason,
        /// As in `Usage`.
        max_memory_bytes: u64,
    },
    /// The sandbox could not be built. Last message.
    Failed {
        /// Who is at fault.
        kind: FailureKind,
        /// For a person.
        message: String,
    },
}

/// Parts of a cold start, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageName {
    /// From the spawn of the process to a kernel and an empty guest in a jail.
    Sandbox,
    /// Layers and mounts opened and put together.
    RootFs,
    /// Program loaded; its first instruction is about to run.
    Exec,
    /// Up to the runtime's first connection to the Runtime API: the interpreter
    /// and the bootstrap are loaded.
    RuntimeInit,
    /// Up to the runtime's first `/next` (or `restore/next`): the function's own code is loaded.
    FunctionInit,
    /// From the answer to `restore/next` up to the first `/next`: the runtime's own hooks.
    AfterRestore,
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sandbox => "sandbox",
            Self::RootFs => "root fs",
            Self::Exec => "exec",
            Self::RuntimeInit => "runtime init",
            Self::FunctionInit => "function init",
            Self::AfterRestore => "after restore",
        })
    }
}

/// Why an event has no response, or no whole one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// The runtime posted to `/invocation/{id}/error`.
    Function {
        /// `Lambda-Runtime-Function-Error-Type`, when it was sent.
        error_type: Option<String>,
    },
    /// The response was longer than `RuntimeApiSpec::max_response_bytes` or, streamed, `max_streamed_bytes`; the
    /// runtime was told 413 and lives on.
    ResponseTooLarge,
    /// The runtime's request broke off in the middle of the response.
    Truncated,
}

/// Which descriptor the guest wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// How the first guest process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestExit {
    /// It called exit with this code (0 to 255).
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

/// Why the guest ended, when it was not by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// By itself, or by a signal of its own.
    Itself,
    /// `ToSandbox::Stop`.
    Stopped,
    /// Over `SandboxLimits::memory_bytes`.
    OutOfMemory,
}

/// Who is at fault when a sandbox cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The program is missing, not executable, or of another machine.
    Program,
    /// The root file system cannot be put together.
    RootFs,
    /// The specification makes no sense or has another version.
    Spec,
    /// What runs guests' instructions on this host: the platform that was asked for is not there.
    Platform,
    /// The host lacks something or ran out of it.
    Host,
}
