//! Brings a function back in a sandbox process of its own.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use node_snapshots::Opened;
use proto_sandbox::{
    FromSandbox, Message, RefusalKind, RestoreSpec, ShellSpec, StartSpec, ToSandbox,
};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::process::SandboxProcess;

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

/// Restores into a fresh process, which is killed if that fails.
pub(crate) async fn restore(
    mut process: SandboxProcess,
    spec: &StartSpec,
    environment: Vec<(String, String)>,
    snapshot: &Opened,
) -> Result<SandboxProcess, Refusal> {
    let restored = timeout(LIMIT, ask(&mut process, spec, environment, snapshot)).await;
    match restored.unwrap_or(Err(Refusal::TooLong)) {
        Ok(message) => {
            process.restored_with(message);
            Ok(process)
        }
        Err(refusal) => {
            let said = process.end().await;
            Err(match refusal {
                Refusal::Ended(reason) if reason.is_empty() => Refusal::Ended(said),
                other => other,
            })
        }
    }
}

async fn ask(
    process: &mut SandboxProcess,
    spec: &StartSpec,
    environment: Vec<(String, String)>,
    snapshot: &Opened,
) -> Result<Message<FromSandbox>, Refusal> {
    let shell = ShellSpec {
        start: spec.clone(),
    };
    let files: Vec<OwnedFd> = snapshot
        .files
        .iter()
        .map(|file| with_own_position(file))
        .collect::<io::Result<_>>()?;
    let shell = ToSandbox::Shell(Box::new(shell));
    process.send_all(&shell, &[], &files).await?;
    drop(files);
    let ready = process.receive_message().await?;
    if ready.as_ref().map(|message| &message.head) != Some(&FromSandbox::ShellReady) {
        return Err(unexpected(ready));
    }
    let mut seed = [0; SEED_BYTES];
    let mut random = tokio::fs::File::open("/dev/urandom").await?;
    random.read_exact(&mut seed).await?;
    let restore = ToSandbox::Restore(RestoreSpec { environment });
    process.send_all(&restore, &seed, &[]).await?;
    match process.receive_message().await? {
        Some(message) if matches!(message.head, FromSandbox::Restored { .. }) => Ok(message),
        other => Err(unexpected(other)),
    }
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
