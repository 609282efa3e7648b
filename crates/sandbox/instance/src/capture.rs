//! Writing a frozen sandbox to a file.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use kernel_mm::{MemorySaver, SaveError, SnapshotWriter};
use kernel_syscall::snapshot::{self, CaptureError};
use kernel_vfs::save::Unsavable;
use proto_sandbox::{CaptureSpec, CapturedPages, FromSandbox, MAX_IMAGES, RefusalKind};
use sandbox_snapshot::{Facts, PAGES, Sections};

use crate::machine::Machine;
use crate::workload::Workload;

/// How long tasks may take to come to rest, each time.
const LIMIT: Duration = Duration::from_millis(500);
/// Tries before a guest counts as busy: a task in the middle of a call is soon out of it.
const TRIES: usize = 5;

/// Why there is no snapshot.
pub(crate) fn refused(kind: RefusalKind, reason: &dyn std::fmt::Display) -> FromSandbox {
    FromSandbox::Refused {
        kind,
        reason: reason.to_string(),
    }
}

/// Captures the guest, which is frozen and stays so.
pub(crate) fn capture(
    machine: &Machine,
    workload: &dyn Workload,
    spec: &CaptureSpec,
    files: Vec<OwnedFd>,
) -> FromSandbox {
    let began = Instant::now();
    let Some(file) = files.into_iter().next().map(File::from) else {
        return refused(RefusalKind::Host, &"no file came with the request");
    };
    match write(machine, workload, &file, spec) {
        Ok(bytes) => {
            machine.system.snapshot_requests.captured();
            FromSandbox::Captured {
                bytes,
                nanoseconds: u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX),
            }
        }
        Err(answer) => answer,
    }
}

fn write(
    machine: &Machine,
    workload: &dyn Workload,
    file: &File,
    spec: &CaptureSpec,
) -> Result<u64, FromSandbox> {
    let (system, limit) = (&machine.system, spec.max_bytes);
    let images = match spec.pages {
        CapturedPages::All => 1,
        CapturedPages::Changed => machine.images + 1,
    };
    if images > MAX_IMAGES {
        let reason = format!("it would lie over more than {} others", MAX_IMAGES - 1);
        return Err(refused(RefusalKind::Unsupported, &reason));
    }
    let mut pages = SnapshotWriter::new(file, PAGES, limit);
    let mut tries = 0;
    let (captured, memory) = loop {
        tries += 1;
        let mut outcome = None;
        let captured = snapshot::capture(system, LIMIT, &mut |mms, saver| {
            let mut memory = match spec.pages {
                CapturedPages::All => MemorySaver::new(&mut pages),
                CapturedPages::Changed => MemorySaver::over(&mut pages),
            };
            let saved = mms.iter().try_for_each(|mm| memory.add(mm, saver));
            let saved = saved.and_then(|()| memory.finish());
            let ended = match &saved {
                Ok(_) => Ok(()),
                Err(SaveError::Unsavable(what)) => Err(what.clone()),
                Err(other) => Err(Unsavable::new(other.to_string())),
            };
            outcome = Some(saved);
            ended
        });
        match (captured, outcome) {
            (Ok(captured), Some(Ok(memory))) => break (captured, memory),
            (_, Some(Err(error))) => return Err(of_memory(&error)),
            (Err(CaptureError::Busy(_)), None) if tries < TRIES => {
                // It may need to run to get out of the call.
                system.thaw();
                if let Err(error) = system.freeze(LIMIT) {
                    return Err(refused(RefusalKind::Busy, &error));
                }
            }
            (Err(error @ CaptureError::Busy(_)), _) => {
                return Err(refused(RefusalKind::Busy, &error));
            }
            (Err(error @ CaptureError::Registers { .. }), _) => {
                return Err(refused(RefusalKind::Host, &error));
            }
            (Err(error), _) => return Err(refused(RefusalKind::Guest, &error)),
            (Ok(_), None) => return Err(refused(RefusalKind::Host, &"no memory was saved")),
        }
    };
    let runtime_api = workload
        .save()
        .map_err(|error| refused(RefusalKind::Guest, &error))?;
    let features = system.kernel.platform.features();
    let sections = Sections {
        facts: Facts {
            kernel_state: snapshot::VERSION,
            xcr0: features.xcr0,
            xstate_size: features.xstate_size as u64,
            processor: features.processor.names().map(str::to_owned).collect(),
            max_address: features.max_address,
            images,
            captured_at: workload.stands_at(),
        },
        kernel: captured.state,
        memory,
        runtime_api,
    };
    let end = pages.finish();
    let written = end.and_then(|end| sandbox_snapshot::write(file, end, &sections));
    let bytes = written.map_err(|error| of_memory(&SaveError::Io(error)))?;
    if bytes > limit {
        return Err(of_memory(&SaveError::TooLarge { limit }));
    }
    Ok(bytes)
}

fn of_memory(error: &SaveError) -> FromSandbox {
    let kind = match error {
        SaveError::Unsavable(_) => RefusalKind::Guest,
        SaveError::TooLarge { .. } => RefusalKind::TooLarge,
        SaveError::Io(_) | SaveError::Memory(_) => RefusalKind::Host,
    };
    refused(kind, error)
}
