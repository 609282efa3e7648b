//! The life of a sandbox process, as its parent sees it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use kernel_core::task::ExitStatus as GuestExit;
use platform_api::Platform;
use proto_sandbox::{
    ExitReason, ExitStatus, FailureKind, FromSandbox, HotPages, MAX_IMAGES, RefusalKind,
    RightsReader, ToSandbox, VERSION, read_message,
};
use sandbox_confine::jail::Open;

use crate::function::Function;
use crate::outbox::Outbox;
use crate::{Failure, Instance, boot, capture, restore};

/// Whether it is told what the sandbox was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// No.
    Silent,
    /// On standard error: the layers of the jail as it begins, and how often guests were left as it ends.
    Layers,
}

/// Runs one sandbox over the socket to its parent until it ends. The process must have one thread.
///
/// # Errors
/// When not even the first message could be read.
pub fn run(socket: OwnedFd, report: Report) -> io::Result<()> {
    run_in(Open::enter(), socket, report)
}

/// The same for a process that has left the host's namespaces.
pub(crate) fn run_in(jail: Open, socket: OwnedFd, report: Report) -> io::Result<()> {
    let began = Instant::now();
    let socket = UnixStream::from(socket);
    let outbox = Arc::new(Outbox::new(socket.try_clone()?));
    let mut reader = RightsReader::new(&socket);
    let first = match read_message::<ToSandbox>(&mut reader) {
        Ok(Some(message)) => message,
        Ok(None) => return Ok(()),
        Err(error) => return Err(io::Error::other(error)),
    };
    let started = match first.head {
        ToSandbox::Start(spec) if spec.version == VERSION => {
            boot::start(&spec, jail, report, &outbox, began).map(Some)
        }
        ToSandbox::Shell(shell) if shell.start.version == VERSION => {
            let images = shell.images.clamp(1, MAX_IMAGES);
            let snapshot = reader.claim(images as usize)?;
            let hot = HotPages::from_bytes(&first.payload);
            restore::shell(&shell.start, jail, &snapshot, &hot, &mut reader, &outbox)
        }
        _ => Err(Failure {
            kind: FailureKind::Spec,
            message: "the first message is no Start or Shell of this version".to_owned(),
        }),
    };
    match started {
        Ok(Some((instance, function))) => {
            serve(instance, function.as_ref(), &mut reader, &outbox, report);
        }
        // It was told why, or nobody is there to be told.
        Ok(None) => {}
        Err(failure) => refuse(&outbox, failure),
    }
    Ok(())
}

/// How often guests were left, by reason.
fn exits(platform: &dyn Platform) -> String {
    let counts = platform
        .exits()
        .map(|(exit, count)| format!("{} {count}", exit.name()));
    counts.join(", ")
}

fn refuse(outbox: &Outbox, failure: Failure) {
    outbox.send(
        &FromSandbox::Failed {
            kind: failure.kind,
            message: failure.message,
        },
        &[],
    );
}

/// What ends a sandbox from outside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Itself,
    Stopped,
}

/// Obeys the parent until the guest has ended.
fn serve(
    mut instance: Instance,
    function: Option<&Function>,
    reader: &mut RightsReader<'_>,
    outbox: &Arc<Outbox>,
    report: Report,
) {
    let ending = std::sync::Mutex::new(Ending::Itself);
    let shared = &instance;
    let socket = reader.socket();
    std::thread::scope(|scope| {
        let ending = &ending;
        scope.spawn(move || {
            obey(shared, function, reader, ending, outbox);
        });
        shared.wait(None);
        // Ends the reading thread; the writing half stays open.
        let _ = socket.shutdown(std::net::Shutdown::Read);
    });
    let status = instance.wait(None).unwrap_or(GuestExit::Code(0));
    instance.streams.drain();
    instance.streams.flusher(outbox).flush();
    instance.memory.stop.store(true, Ordering::Relaxed);
    let stopped = ending.into_inner().is_ok_and(|e| e == Ending::Stopped);
    let reason = if instance.memory.exceeded.load(Ordering::SeqCst) {
        ExitReason::OutOfMemory
    } else if stopped {
        ExitReason::Stopped
    } else {
        ExitReason::Itself
    };
    let status = match status {
        GuestExit::Code(code) => ExitStatus::Code(i32::from(code)),
        GuestExit::Signal { number, .. } => ExitStatus::Signal(i32::from(number)),
    };
    if report == Report::Layers {
        eprintln!(
            "rekindle: exits: {}",
            exits(&*instance.system.kernel.platform)
        );
    }
    let max_memory_bytes = instance.memory.highest.load(Ordering::Relaxed);
    outbox.send(
        &FromSandbox::Exited {
            status,
            reason,
            max_memory_bytes,
        },
        &[],
    );
}

fn obey(
    instance: &Instance,
    function: Option<&Function>,
    reader: &mut RightsReader<'_>,
    ending: &std::sync::Mutex<Ending>,
    outbox: &Outbox,
) {
    loop {
        let message = match read_message::<ToSandbox>(reader) {
            Ok(Some(message)) => message,
            Ok(None) | Err(_) => {
                // The parent is gone, or the guest has ended and this end was shut.
                instance.kill();
                return;
            }
        };
        match message.head {
            ToSandbox::Start(_) | ToSandbox::Shell(_) => {
                tracing::warn!("a second start was ignored");
            }
            ToSandbox::Restore(_) => tracing::warn!("what is no shell cannot be restored"),
            ToSandbox::Capture(spec) => {
                let answer = match reader.claim(1) {
                    Ok(files) => capture::capture(instance, function, &spec, files),
                    Err(error) => capture::refused(RefusalKind::Host, &error),
                };
                outbox.send(&answer, &[]);
            }
            ToSandbox::Resume { environment } => match function {
                Some(function) => function.resume(instance, &environment),
                None => instance.thaw(),
            },
            ToSandbox::Event(head) => match function {
                Some(function) => function.deliver(instance, head, message.payload),
                None => tracing::warn!("an event for what is no function was ignored"),
            },
            ToSandbox::Credit { request_id, bytes } => match function {
                Some(function) => function.credit(&request_id, bytes),
                None => tracing::warn!("credit for what is no function was ignored"),
            },
            ToSandbox::Signal { signal } => instance.signal(signal),
            ToSandbox::Stdin => instance.streams.feed(message.payload),
            ToSandbox::Stop => {
                if let Ok(mut ending) = ending.lock() {
                    *ending = Ending::Stopped;
                }
                instance.kill();
            }
        }
    }
}
