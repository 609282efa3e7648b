//! A sandbox that waits for its moment, and the guest from a snapshot.
//!
//! ```text
//!   Shell ─▶ jail, files ─▶ snapshot parsed ─▶ kernel objects, mappings, threads, hot pages; time stands still ─▶ ShellReady
//!   Restore ─▶ identity, clocks ─▶ Restored ─▶ the guest runs
//! ```
//!
//! What all clones have in common is made for the shell, the pages among it that clones before it used at once:
//! copied where they wrote, shared and in place where they read. All others come when they are used.

use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use kernel_mm::{Mm, SavedMemory};
use kernel_syscall::snapshot::{SavedKernel, VERSION, load_space};
use kernel_vfs::save::LoadError;
use platform_api::Features;
use proto_sandbox::{
    FromSandbox, HotPages, HotRun, HotUse, Message, RefusalKind, RestoreStage, RestoreTime,
    RightsReader, StartSpec, ToSandbox, read_message,
};
use sandbox_confine::jail::Open;
use sandbox_snapshot::{Facts, FormatError, Moment, Sections};

use crate::function::{Function, Learn};
use crate::outbox::Outbox;
use crate::{Failure, Instance, boot, capture};

/// Bytes of randomness for a clone.
const SEED: usize = 32;
/// Features that a refusal names.
const MISSING: usize = 8;

/// Why a snapshot is not restored.
type Refusal = (RefusalKind, String);

/// Becomes a shell, waits, and restores. Nothing when it was refused, or is not needed any more.
pub(crate) fn shell(
    spec: &StartSpec,
    jail: Open,
    snapshot: &[OwnedFd],
    hot: &HotPages,
    reader: &mut RightsReader<'_>,
    outbox: &Arc<Outbox>,
) -> Result<Option<(Instance, Option<Function>)>, Failure> {
    let refuse = |(kind, reason): Refusal| {
        outbox.send(&capture::refused(kind, &reason), &[]);
        Ok(None)
    };
    let images = snapshot
        .iter()
        .map(|fd| Ok(Arc::new(File::from(fd.try_clone()?))));
    let images: Vec<Arc<File>> = match images.collect::<std::io::Result<_>>() {
        Ok(images) => images,
        Err(error) => return refuse((RefusalKind::Host, error.to_string())),
    };
    let empty = boot::build(spec, jail)?;
    // Frozen from the start: what is restored runs when all of it is there.
    if empty.system.kernel.freeze(Duration::ZERO).is_err() {
        return refuse((RefusalKind::Host, "the kernel is not empty".to_owned()));
    }
    let parsed = match parse(&images, &empty.system.kernel.platform.features()) {
        Ok(parsed) => parsed,
        Err(refusal) => return refuse(refusal),
    };
    empty
        .system
        .kernel
        .platform
        .prepare(&parsed.kernel.contexts());
    let (mut instance, standard) = Instance::prepare(spec, empty.system, empty.own, outbox)?;
    instance.images = u32::try_from(images.len()).unwrap_or(u32::MAX);
    let Parsed {
        kernel,
        mut memory,
        runtime_api,
        moment,
    } = parsed;
    let system = &instance.system;
    let monotonic = kernel.monotonic();
    // Deadlines of the guest are times of its own clock, which goes on with the guest.
    system.hold_time();
    let mut spaces = Spaces::default();
    let loaded = kernel.load(system, &standard, &mut |id, loader| {
        let mm = load_space(system, &mut memory, &images, id, loader)?;
        spaces.add(&mm, id);
        Ok(mm)
    });
    if let Err(error) = loaded {
        return refuse(of_load(&error));
    }
    spaces.fill(hot);
    let spaces = Arc::new(spaces);
    let function = match &spec.function {
        Some(function) => Some(Function::load(
            function,
            &instance,
            outbox,
            &runtime_api,
            Arc::clone(&spaces),
        )?),
        None => None,
    };
    outbox.send(&FromSandbox::ShellReady, &[]);
    let Ok(Some(message)) = read_message::<ToSandbox>(reader) else {
        return Ok(None);
    };
    let Message {
        head: ToSandbox::Restore(restore),
        payload,
    } = message
    else {
        // Stop, or a node that does not keep the rules.
        return Ok(None);
    };
    let mut body = payload;
    let seed = body.split_off(body.len().saturating_sub(SEED));
    let Ok(seed) = <[u8; SEED]>::try_from(seed) else {
        return refuse((RefusalKind::Host, "no random bytes came along".to_owned()));
    };
    let mut clock = StageClock::start();
    let began = clock.last;
    system.kernel.rng.reseed(seed);
    system.resume_time(monotonic);
    clock.done(RestoreStage::Identity);
    outbox.send(&FromSandbox::Restored { times: clock.times }, &[]);
    if moment == Moment::Template {
        // The function begins here: it can be captured itself.
        instance.system.snapshot_requests.begin_anew();
    }
    match &function {
        Some(function) => {
            let learn = if hot.0.is_empty() && moment != Moment::Template {
                Learn::WhatIsUsed
            } else {
                Learn::Nothing
            };
            function.restored(began, learn);
            match (moment, restore.event) {
                (Moment::Ready, Some(event)) => {
                    instance.thaw();
                    function.deliver_first(event, body);
                }
                // It is frozen until its event.
                (Moment::Ready, None) => function.restored_ready(),
                (_, event) => {
                    if let Some(event) = event {
                        function.deliver_first(event, body);
                    }
                    function.resume(&instance, &restore.environment);
                }
            }
        }
        None => instance.thaw(),
    }
    Ok(Some((instance, function)))
}

/// The address spaces of a clone, as the snapshot numbers them.
#[derive(Default)]
pub(crate) struct Spaces(Vec<(u32, Weak<Mm>)>);

impl Spaces {
    fn add(&mut self, mm: &Arc<Mm>, number: u32) {
        self.0.push((number, Arc::downgrade(mm)));
    }

    /// Has pages in place that will be used at once.
    fn fill(&self, hot: &HotPages) {
        for (number, mm) in &self.0 {
            let Some(mm) = mm.upgrade() else { continue };
            let ranges = |usage| -> Vec<_> {
                let runs = hot.0.iter();
                let mine = runs.filter(|run| run.space == *number && run.usage == usage);
                mine.map(|run| run.addr..run.addr.saturating_add(run.len.into()))
                    .collect()
            };
            // First what each has of its own: the host maps the neighbours of what is read, and would copy them after that.
            mm.touch(&ranges(HotUse::Write));
            mm.read_ahead(&ranges(HotUse::Read));
        }
    }

    /// What was used of the snapshot's and other files' pages by now, while nothing runs.
    pub(crate) fn hot(&self) -> HotPages {
        let mut hot = HotPages::default();
        for (space, mm) in &self.0 {
            let Some(mm) = mm.upgrade() else { continue };
            let mut add = |ranges: Vec<Range<u64>>, usage| {
                hot.0.extend(ranges.iter().map(|range| HotRun {
                    space: *space,
                    addr: range.start,
                    len: u32::try_from(range.end - range.start).unwrap_or(0),
                    usage,
                }));
            };
            // What is written saves most, if not all has room.
            add(mm.written_of_snapshot(), HotUse::Write);
            add(mm.read_of_files(), HotUse::Read);
        }
        hot
    }
}

/// A snapshot whose bytes were understood.
struct Parsed {
    kernel: SavedKernel,
    memory: SavedMemory,
    runtime_api: Vec<u8>,
    moment: Moment,
}

fn parse(images: &[Arc<File>], features: &Features) -> Result<Parsed, Refusal> {
    let Some(own) = images.first() else {
        return Err((RefusalKind::Host, "no snapshot came along".to_owned()));
    };
    let sections: Sections = sandbox_snapshot::read(own).map_err(|error| {
        let kind = match &error {
            FormatError::Io(_) => RefusalKind::Host,
            FormatError::Version(_) => RefusalKind::Foreign,
            FormatError::Magic | FormatError::Section | FormatError::Facts => RefusalKind::Damaged,
        };
        (kind, error.to_string())
    })?;
    fits(&sections.facts, features)?;
    let (wanted, given) = (sections.facts.images, images.len());
    if usize::try_from(wanted).ok() != Some(given) {
        let reason = format!("its pages are in {wanted} files, and {given} came along");
        return Err((RefusalKind::Damaged, reason));
    }
    let kernel = SavedKernel::parse(&sections.kernel).map_err(|e| of_load(&e))?;
    let memory = SavedMemory::parse(&sections.memory).map_err(|e| of_load(&e))?;
    if usize::try_from(kernel.address_spaces()).ok() != Some(memory.spaces()) {
        let reason = "kernel state and memory do not belong together";
        return Err((RefusalKind::Damaged, reason.to_owned()));
    }
    Ok(Parsed {
        kernel,
        memory,
        runtime_api: sections.runtime_api,
        moment: sections.facts.moment,
    })
}

fn fits(facts: &Facts, features: &Features) -> Result<(), Refusal> {
    let foreign = |what: String| Err((RefusalKind::Foreign, what));
    if facts.kernel_state != VERSION {
        return foreign(format!(
            "its kernel state has version {}, and {VERSION} is known",
            facts.kernel_state
        ));
    }
    if facts.xcr0 != features.xcr0 || facts.xstate_size != features.xstate_size as u64 {
        return foreign(format!(
            "it needs a processor with the state components {:#x} in {} bytes, and guests have {:#x} in {} here",
            facts.xcr0, facts.xstate_size, features.xcr0, features.xstate_size
        ));
    }
    let found = facts.processor.iter().map(String::as_str);
    let missing: Vec<_> = found
        .filter(|name| !features.processor.has(name))
        .take(MISSING)
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(" ");
        return foreign(format!(
            "its programs may use {missing}, which guests do not have here"
        ));
    }
    if facts.max_address != features.max_address {
        return foreign("its address space is laid out differently".to_owned());
    }
    Ok(())
}

fn of_load(error: &LoadError) -> Refusal {
    let kind = match error {
        LoadError::Malformed(_) | LoadError::UnknownKind(_) => RefusalKind::Damaged,
        LoadError::Differs(_) => RefusalKind::Foreign,
        LoadError::Failed { .. } => RefusalKind::Host,
    };
    (kind, error.to_string())
}

/// Measures the parts of a restore.
struct StageClock {
    last: Instant,
    times: Vec<RestoreTime>,
}

impl StageClock {
    fn start() -> StageClock {
        StageClock {
            last: Instant::now(),
            times: Vec::new(),
        }
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.last, now))
    }

    fn push(&mut self, stage: RestoreStage, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.times.push(RestoreTime { stage, nanoseconds });
    }

    fn done(&mut self, stage: RestoreStage) {
        let took = self.lap();
        self.push(stage, took);
    }
}
