//! The versioned messages between a node (the parent) and one sandbox process
//! (the child).
//!
//! They cross a connected unix **stream** socket whose child end is handed over
//! by number (`rekindle sandbox --fd N`). Each message is one [`frame`]: a small
//! JSON header that says what it is, and raw payload bytes that are never
//! looked at (an event, a response, a piece of log).
//!
//! ```text
//! node (parent)                       sandbox (child)
//!   Start ─────────────────────────▶
//!         ◀───────────────────────── Stage{sandbox} Stage{rootfs} Stage{exec}
//!         ◀───────────────────────── Stage{runtime_init} Stage{function_init} Ready
//!   Event ─────────────────────────▶ (thaws)
//!         ◀───────────────────────── Log* (Response | Error) Usage   (freezes)
//!   Event ─────────────────────────▶
//!         ◀───────────────────────── Log* ResponseHead ResponsePiece*
//!   Credit ────────────────────────▶   (a reader is further)
//!         ◀───────────────────────── ResponsePiece* ResponseEnd Usage
//!   Stop  ─────────────────────────▶
//!         ◀───────────────────────── Exited, then the socket closes
//! ```
//!
//! Capture, when the node wants a snapshot:
//!
//! ```text
//!         ◀───────────────────────── RestorePoint | CaptureAsked | Ready   (frozen)
//!   Capture + file ────────────────▶
//!         ◀───────────────────────── Captured | Refused                    (still frozen)
//!   Resume ────────────────────────▶ goes on as the original
//!         ◀───────────────────────── Stage{after_restore} Ready | RestoreError
//! ```
//!
//! Restore, in a sandbox that was made ahead:
//!
//! ```text
//!   Shell + files ─────────────────▶
//!         ◀───────────────────────── ShellReady | Refused
//!   Restore ───────────────────────▶
//!         ◀───────────────────────── Restored{times} | Refused
//!         ◀───────────────────────── Stage{after_restore} Ready | RestoreError
//!   Event ─────────────────────────▶ …
//!         ◀───────────────────────── … Touched Usage      (once, if Shell named no hot pages)
//! ```
//!
//! Rules both sides keep:
//! * `Start` (or `Shell`) is the first message and comes once; what precedes it is an error.
//! * A guest at `RestorePoint` or `CaptureAsked` runs again only after `Resume`; a node that
//!   wants no snapshot sends it at once. After `Ready` no `Resume` is needed.
//! * `Refused` names what the node should do: see [`RefusalKind`].
//! * The child ends itself (and every guest process) when the socket closes, and
//!   asks the host for SIGKILL at its parent's death before it reads `Start`.
//! * One event at a time: the node sends the next `Event` only after `Response`,
//!   `Error` or `ResponseEnd` of the last one, and `Usage`, which closes it.
//! * At most [`STREAM_WINDOW`] bytes of a streamed response are under way: the sandbox takes
//!   more from the guest only after `Credit`, so a reader that stalls holds back the guest and nothing else.
//! * The guest runs from `Event` until `Usage` and is frozen otherwise; during
//!   initialisation it runs until `Ready`.
//! * `Log` messages written by the guest before it answered come before the
//!   answer: both travel in one stream, in order.
//! * `Exited` is the last message of a sandbox; `Failed` stands in for it when
//!   the guest could never be started.

pub mod event;
pub mod frame;
pub mod from_sandbox;
pub mod jail;
pub mod rights;
pub mod snapshot;
pub mod start;
pub mod to_sandbox;
pub mod zygote;

pub use event::EventHead;
pub use frame::{Decoder, FrameError, Message, encode, read_message, write_message};
pub use from_sandbox::{
    ExitReason, FailureKind, FromSandbox, GuestExit, LogStream, Outcome, StageName,
};
pub use jail::JailLayer;
pub use rights::{MAX_DESCRIPTORS, RightsReader, write_with_descriptors};
pub use snapshot::{
    CaptureSpec, CapturedPages, FirstEvent, HotPages, HotRun, HotUse, MAX_IMAGES, RefusalKind,
    RestoreSpec, RestoreStage, RestoreTime, ShellSpec,
};
pub use start::{
    Access, Initialization, Layer, Mount, PlatformChoice, Program, RootFs, RuntimeApiSpec,
    SandboxLimits, StartSpec, Stdio, WorkloadSpec,
};
pub use to_sandbox::ToSandbox;
pub use zygote::{FromZygote, ToZygote};

/// Version of these messages; [`StartSpec::version`] carries it, and a child that
/// does not know it answers [`FromSandbox::Failed`].
pub const VERSION: u32 = 11;

/// Largest buffered response in bytes: 6 MiB and 100 bytes, as AWS counts it.
pub const MAX_RESPONSE_BYTES: u64 = 6 * 1024 * 1024 + 100;

/// Largest streamed response in bytes: AWS's quota of 200 MB, counted in MiB as it counts its 6 MB.
pub const MAX_STREAMED_BYTES: u64 = 200 * 1024 * 1024;

/// Largest payload of [`FromSandbox::ResponsePiece`] in bytes: as much as is read from the guest at once.
pub const PIECE_BYTES: usize = 64 * 1024;

/// Bytes of one streamed response that may be under way to whoever reads it: enough to keep a guest running while
/// the last pieces travel, and little beside what a sandbox holds anyway.
pub const STREAM_WINDOW: u64 = 256 * 1024;

/// Where the guest finds the Lambda Runtime API, as on AWS (`AWS_LAMBDA_RUNTIME_API`).
pub const RUNTIME_API_ADDRESS: &str = "169.254.100.1:9001";
