//! The life of a sandbox process, as its parent sees it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use proto_sandbox::{FailureKind, FromSandbox, HotPages, MAX_IMAGES, ToSandbox, VERSION};
use sandbox_confine::jail::Open;

use crate::inbox::Inbox;
use crate::notices::Notices;
use crate::outbox::Outbox;
use crate::parsed::NotRestored;
use crate::shell::{CannotRestore, Shell};
use crate::workload::Ends;
use crate::{BuildError, Diagnostics, boot, capture};

/// Runs one sandbox over the socket to its parent until it ends. The process must have one thread.
///
/// # Errors
/// When not even the first message could be read.
pub fn run(socket: OwnedFd, diagnostics: Diagnostics) -> io::Result<()> {
    run_in(Open::enter(), socket, diagnostics)
}

/// The same for a process that has left the host's namespaces.
pub(crate) fn run_in(jail: Open, socket: OwnedFd, diagnostics: Diagnostics) -> io::Result<()> {
    let began = Instant::now();
    let socket = UnixStream::from(socket);
    let outbox = Arc::new(Outbox::new(socket.try_clone()?));
    let notices = Notices::new()?;
    let mut inbox = Inbox::new(&socket, Arc::clone(&notices));
    let ends = Ends { outbox, notices };
    let first = match inbox.message() {
        Ok(Some(message)) => message,
        Ok(None) => return Ok(()),
        Err(error) => return Err(io::Error::other(error)),
    };
    let running = match first.head {
        ToSandbox::Start(spec) if spec.version == VERSION => {
            boot::start(&spec, jail, &ends, began, diagnostics)
                .map(Some)
                .map_err(CannotRestore::Failed)
        }
        ToSandbox::Shell(spec) if spec.start.version == VERSION => {
            let images = spec.images.clamp(1, MAX_IMAGES);
            let snapshot = inbox.claim(images as usize)?;
            let hot = HotPages::from_bytes(&first.payload);
            Shell::make(&spec.start, jail, &snapshot, &hot, &ends)
                .map(|shell| shell.wait(&mut inbox, &ends))
        }
        _ => Err(CannotRestore::Failed(BuildError {
            kind: FailureKind::Spec,
            message: "the first message is no Start or Shell of this version".to_owned(),
        })),
    };
    match running {
        Ok(Some(running)) => running.serve(&mut inbox, &ends.outbox, diagnostics),
        // It was told why, or nobody is there to be told.
        Ok(None) => {}
        Err(CannotRestore::Refused(NotRestored(kind, reason))) => {
            ends.outbox.send(&capture::refused(kind, &reason), &[]);
        }
        Err(CannotRestore::Failed(BuildError { kind, message })) => {
            ends.outbox
                .send(&FromSandbox::Failed { kind, message }, &[]);
        }
    }
    Ok(())
}
