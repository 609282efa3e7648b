//! Brings a function back in a sandbox process of its own.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use node_pool::First;
use node_sandboxes::{SandboxProcess, Sandboxes};
use node_snapshots::Opened;
use proto_sandbox::{
    FromSandbox, Message, RefusalKind, RestoreSpec, ShellSpec, StartSpec, ToSandbox,
};
use tokio::time::timeout;

use crate::launched::Launched;

/// Longest time until the guest is there; a start without snapshot takes not much longer.
const LIMIT: Duration = Duration::from_secs(5);
/// Random bytes for a clone.
const SEED_BYTES: usize = 32;

/// Why a snapshot was not restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The sandbox said so.
    #[error("{reason}")]
    Told {
        /// What to do about it.
        kind: RefusalKind,
        /// For a person.
        reason: String,
    },
    /// The sandbox ended, or said something else; this is what it said at its end.
    #[error("the sandbox ended: {0}")]
    Ended(String),
    /// It took too long.
    #[error("it took longer than {} s", LIMIT.as_secs())]
    TooLong,
    /// It could not be told.
    #[error("the sandbox could not be reached")]
    Io(#[from] io::Error),
}

/// A sandbox that waits for its guest, with pages in place that clones use at once.
pub(crate) async fn shell(
    sandboxes: &Sandboxes,
    spec: &StartSpec,
    snapshot: &Opened,
    hot: &[u8],
) -> Result<SandboxProcess, Refusal> {
    let mut process = sandboxes.spawn(spec).await?;
    let ready = timeout(LIMIT, prepare(&mut process, spec, snapshot, hot)).await;
    match ready.unwrap_or(Err(Refusal::TooLong)) {
        Ok(()) => Ok(process),
        Err(refusal) => Err(ended(process, refusal).await),
    }
}

async fn prepare(
    process: &mut SandboxProcess,
    spec: &StartSpec,
    snapshot: &Opened,
    hot: &[u8],
) -> Result<(), Refusal> {
    let start = StartSpec {
        // As another instance of the function, not as the one whose start made it.
        hostname: hostname()?,
        ..spec.clone()
    };
    let files: Vec<OwnedFd> = snapshot
        .files
        .iter()
        .map(|file| with_own_position(file))
        .collect::<io::Result<_>>()?;
    let shell = ToSandbox::Shell(Box::new(ShellSpec {
        start,
        images: u32::try_from(files.len()).unwrap_or(u32::MAX),
    }));
    process.send_all(&shell, hot, &files).await?;
    match process.receive_message().await? {
        Some(message) if message.head == FromSandbox::ShellReady => Ok(()),
        other => Err(unexpected(other)),
    }
}

/// Restores into a shell, for this event if there is one. The shell is killed if that fails.
pub(crate) async fn into(
    mut process: SandboxProcess,
    environment: Vec<(String, String)>,
    first: Option<First>,
) -> Result<Launched, Refusal> {
    let event = first.is_some();
    let restored = timeout(LIMIT, ask(&mut process, environment, first)).await;
    match restored.unwrap_or(Err(Refusal::TooLong)) {
        Ok(message) => Ok(Launched::restored(process, message)),
        Err(Refusal::TooLong) if event => too_late(process).await,
        Err(refusal) => Err(ended(process, refusal).await),
    }
}

/// Ends a sandbox that has an event and was not heard of in time. If it restored all the same it may have begun with
/// the event, which no other may have then: the messages that it left tell.
async fn too_late(mut process: SandboxProcess) -> Result<Launched, Refusal> {
    process.kill_now().await;
    match process.receive_message().await {
        Ok(Some(message)) if matches!(message.head, FromSandbox::Restored { .. }) => {
            Ok(Launched::restored(process, message))
        }
        _ => Err(ended(process, Refusal::TooLong).await),
    }
}

async fn ask(
    process: &mut SandboxProcess,
    environment: Vec<(String, String)>,
    first: Option<First>,
) -> Result<Message<FromSandbox>, Refusal> {
    let mut seed = [0; SEED_BYTES];
    random(&mut seed)?;
    let (event, body) = first.map(|first| (first.event, first.body)).unzip();
    let restore = ToSandbox::Restore(RestoreSpec { environment, event });
    let parts = [&body.unwrap_or_default()[..], &seed];
    process.send_message(&restore, &parts).await?;
    match process.receive_message().await? {
        Some(message) if matches!(message.head, FromSandbox::Restored { .. }) => Ok(message),
        other => Err(unexpected(other)),
    }
}

/// Ends a process that was of no use; what it said at its end tells why, if nothing else does.
async fn ended(process: SandboxProcess, refusal: Refusal) -> Refusal {
    let said = process.end().await;
    match refusal {
        Refusal::Ended(reason) if reason.is_empty() => Refusal::Ended(said),
        other => other,
    }
}

/// A name that no other instance has.
fn hostname() -> io::Result<String> {
    let mut bytes = [0; 8];
    random(&mut bytes)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("rekindle-{digits}"))
}

/// Never blocks once the host has started.
fn random(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}

/// The same file by a description of its own: clones share no position.
fn with_own_position(file: &File) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    File::open(path).map(OwnedFd::from)
}

fn unexpected(message: Option<Message<FromSandbox>>) -> Refusal {
    match message.map(|message| message.head) {
        Some(FromSandbox::Refused { kind, reason }) => Refusal::Told { kind, reason },
        Some(FromSandbox::Failed { message, .. }) => Refusal::Ended(message),
        Some(other) => Refusal::Ended(format!("it said {other:?}")),
        None => Refusal::Ended(String::new()),
    }
}
