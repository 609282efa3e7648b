//! A sandbox that waits for its moment, and the guest from a snapshot.
//!
//! ```text
//!   Shell::make ─▶ jail, files ─▶ snapshot parsed ─▶ kernel objects, mappings, threads, hot pages; time stands still
//!   Shell::restore ─▶ random numbers and clocks of its own ─▶ Restored
//!   Restored::run ─▶ the guest runs ─▶ Running
//! ```
//!
//! What all clones have in common is made for the shell, the pages among it that clones before it used at once:
//! copied where they wrote, shared and in place where they read. All others come when they are used.
//! An instance that is put back is to come: `Running ─▶ Shell`, with the memory of the snapshot again.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel_syscall::snapshot::load_space;
use proto_sandbox::{
    FromSandbox, HotPages, Message, RefusalKind, RestoreSpec, RestoreStage, RestoreTime, StartSpec,
    ToSandbox,
};
use sandbox_confine::jail::Open;
use sandbox_snapshot::CapturedAt;

use crate::boot::{self, Empty};
use crate::hot::ClonedSpaces;
use crate::inbox::Inbox;
use crate::machine::Machine;
use crate::parsed::{self, NotRestored, Parsed};
use crate::running::Running;
use crate::workload::{self, Ends, GoOn, Learn, Workload};
use crate::{BuildError, capture};

/// Bytes of randomness for a clone.
const SEED: usize = 32;

/// Why there is no shell.
pub(crate) enum CannotRestore {
    /// The snapshot is not restored.
    Refused(NotRestored),
    /// The sandbox could not be built.
    Failed(BuildError),
}

impl From<NotRestored> for CannotRestore {
    fn from(refusal: NotRestored) -> Self {
        CannotRestore::Refused(refusal)
    }
}

impl From<BuildError> for CannotRestore {
    fn from(error: BuildError) -> Self {
        CannotRestore::Failed(error)
    }
}

/// A guest from a snapshot that stands still, and time with it.
pub(crate) struct Shell {
    machine: Machine,
    workload: Box<dyn Workload>,
    captured_at: CapturedAt,
    /// How far the guest's monotonic clock had come.
    monotonic: Duration,
    learn: Learn,
}

impl Shell {
    /// Builds a sandbox and everything of the snapshot's in it that can be there ahead.
    pub(crate) fn make(
        spec: &StartSpec,
        jail: Open,
        snapshot: &[OwnedFd],
        hot: &HotPages,
        ends: &Ends,
    ) -> Result<Shell, CannotRestore> {
        let images = open(snapshot)?;
        let (empty, _) = boot::build(spec, jail)?;
        Self::fill(spec, empty, &images, hot, ends)
    }

    /// The same in a kernel that is there.
    pub(crate) fn fill(
        spec: &StartSpec,
        empty: Empty,
        images: &[Arc<File>],
        hot: &HotPages,
        ends: &Ends,
    ) -> Result<Shell, CannotRestore> {
        // Frozen from the start: what is restored runs when all of it is there.
        if empty.system.freeze(Duration::ZERO).is_err() {
            return Err(
                NotRestored(RefusalKind::Host, "the kernel is not empty".to_owned()).into(),
            );
        }
        let platform = &empty.system.kernel.platform;
        let parsed = parsed::parse(images, &platform.features())?;
        platform.prepare(&parsed.kernel.contexts());
        let (mut machine, standard) =
            Machine::prepare(spec, empty.system, empty.own, &ends.outbox)?;
        machine.images = u32::try_from(images.len()).unwrap_or(u32::MAX);
        let Parsed {
            kernel,
            mut memory,
            workload: saved,
            captured_at,
        } = parsed;
        let monotonic = kernel.monotonic();
        let system = &machine.system;
        // Deadlines of the guest are times of its own clock, which goes on with the guest.
        system.hold_time();
        let mut spaces = ClonedSpaces::default();
        let loaded = kernel.load(system, &standard, &mut |id, loader| {
            let mm = load_space(system, &mut memory, images, id, loader)?;
            spaces.add(&mm, id);
            Ok(mm)
        });
        loaded.map_err(|error| parsed::of_load(&error))?;
        spaces.fill(hot);
        let learn = if hot.0.is_empty() && captured_at != CapturedAt::Template {
            Learn::WhatIsUsed(spaces)
        } else {
            Learn::Nothing
        };
        let workload = workload::load(&spec.workload, &machine, ends, &saved)?;
        Ok(Shell {
            machine,
            workload,
            captured_at,
            monotonic,
            learn,
        })
    }

    /// Says that it is there, waits until it is needed, and lets the guest run. Nothing when it was refused, or is
    /// not needed any more.
    pub(crate) fn wait(self, inbox: &mut Inbox<'_>, ends: &Ends) -> Option<Running> {
        ends.outbox.send(&FromSandbox::ShellReady, &[]);
        let Message {
            head: ToSandbox::Restore(spec),
            payload: mut body,
        } = inbox.message().ok().flatten()?
        else {
            // Stop, or a node that does not keep the rules.
            return None;
        };
        let seed = body.split_off(body.len().saturating_sub(SEED));
        let Ok(seed) = <[u8; SEED]>::try_from(seed) else {
            let refused = capture::refused(RefusalKind::Host, &"no random bytes came along");
            ends.outbox.send(&refused, &[]);
            return None;
        };
        let restored = self.restore(seed);
        let times = vec![restored.identity];
        ends.outbox.send(&FromSandbox::Restored { times }, &[]);
        Some(restored.run(spec, body))
    }

    /// Makes anew what no two clones may share, and has time go on.
    fn restore(self, seed: [u8; SEED]) -> Restored {
        let began = Instant::now();
        let system = &self.machine.system;
        system.kernel.rng.reseed(seed);
        system.resume_time(self.monotonic);
        let nanoseconds = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Restored {
            identity: RestoreTime {
                stage: RestoreStage::Identity,
                nanoseconds,
            },
            shell: self,
            began,
        }
    }
}

/// A guest that is itself again, and has not run yet.
struct Restored {
    shell: Shell,
    began: Instant,
    identity: RestoreTime,
}

impl Restored {
    /// Lets the guest run, for an event if one came along.
    fn run(self, spec: RestoreSpec, body: Vec<u8>) -> Running {
        let Shell {
            machine,
            mut workload,
            captured_at,
            learn,
            ..
        } = self.shell;
        if captured_at == CapturedAt::Template {
            // The function begins here: it can be captured itself.
            machine.system.snapshot_requests.begin_anew();
        }
        let go_on = GoOn {
            from: captured_at,
            since: self.began,
            learn,
            event: spec.event.map(|event| (event, body)),
            environment: spec.environment,
        };
        workload.go_on(&machine, go_on);
        Running { machine, workload }
    }
}

/// The files with the snapshot's pages.
fn open(snapshot: &[OwnedFd]) -> Result<Vec<Arc<File>>, NotRestored> {
    let images = snapshot
        .iter()
        .map(|fd| Ok(Arc::new(File::from(fd.try_clone()?))));
    let images = images.collect::<std::io::Result<_>>();
    images.map_err(|error| NotRestored(RefusalKind::Host, error.to_string()))
}
