//! From a specification to a running program, stage by stage.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use host_sys::proc::ProcDir;
use kernel_core::CpuFacts;
use kernel_syscall::System;
use platform_api::Platform;
use platform_kvm::KvmPlatform;
use platform_process::{Network, ProcessPlatform};
use proto_sandbox::{FromSandbox, PlatformChoice, StageName, StartSpec};
use sandbox_confine::Layers;
use sandbox_confine::jail::{Guests, Open};

use crate::child::Report;
use crate::function::Function;
use crate::instance::{HostFacts, assemble};
use crate::memory::OwnMemory;
use crate::outbox::Outbox;
use crate::{Failure, Instance, rootfs};

/// Reports the time since the last stage.
struct Stages<'a> {
    outbox: &'a Outbox,
    last: Instant,
}

impl Stages<'_> {
    /// Reports two stages that were interleaved: the second took `part` of the time since the last.
    fn split(&mut self, first: StageName, second: StageName, part: Duration) {
        let now = Instant::now();
        let whole = now.duration_since(self.last);
        self.last = now;
        for (name, time) in [(first, whole.saturating_sub(part)), (second, part)] {
            let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            self.outbox
                .send(&FromSandbox::Stage { name, nanoseconds }, &[]);
        }
    }

    /// Returns the end of the stage.
    fn done(&mut self, name: StageName) -> Instant {
        let now = Instant::now();
        let nanoseconds =
            u64::try_from(now.duration_since(self.last).as_nanos()).unwrap_or(u64::MAX);
        self.last = now;
        self.outbox
            .send(&FromSandbox::Stage { name, nanoseconds }, &[]);
        now
    }
}

/// A kernel with its files and its jail closed; nothing runs in it.
pub(crate) struct Empty {
    pub(crate) system: Arc<System>,
    pub(crate) own: OwnMemory,
    layers: Layers,
    /// Time that the file tree took.
    tree_time: Duration,
}

/// Closes the jail around a new kernel.
pub(crate) fn build(spec: &StartSpec, mut jail: Open) -> Result<Empty, Failure> {
    let facts = host_facts().map_err(|e| Failure::host("cannot read what the host offers", &e))?;
    let own = OwnMemory::open().map_err(|e| Failure::host("cannot open /proc/self/statm", &e))?;
    let proc = ProcDir::open().map_err(|e| Failure::host("cannot open /proc", &e))?;
    // Asked while /sys can be read; the guest's clocks want to know later.
    let steady = host_sys::vdso_code::counter_is_steady();
    tracing::debug!(steady, "time stamp counter");
    let kvm = match spec.platform {
        PlatformChoice::Process => None,
        PlatformChoice::Kvm => {
            let opened = platform_kvm::open();
            Some(opened.map_err(|e| Failure::platform("cannot open /dev/kvm", &e))?)
        }
    };
    let tree_began = Instant::now();
    let tree = rootfs::build(spec)?;
    let mut tree_time = tree_began.elapsed();
    let readable: Vec<_> = tree.readable.iter().map(|f| f.as_fd()).collect();
    jail.restrict_files(&readable, &[])
        .map_err(|e| Failure::host("cannot close the jail", &e))?;
    // Before any other thread: the first stub is forked from this process.
    let network = if jail.has_own_namespaces() {
        Network::Callers
    } else {
        Network::Own
    };
    let (platform, guests): (Arc<dyn Platform>, Guests) = match kvm {
        Some(kvm) => {
            let platform =
                KvmPlatform::with_descriptor(kvm).map_err(|e| Failure::platform("KVM", &e))?;
            (Arc::new(platform), Guests::Machine)
        }
        None => {
            let platform = ProcessPlatform::with_proc(proc, network)
                .map_err(|e| Failure::platform("cannot start the process platform", &e))?;
            (Arc::new(platform), Guests::Processes)
        }
    };
    let assembly = Instant::now();
    let system = assemble(spec, platform, &facts, &tree)?;
    tree_time += assembly.elapsed();
    let layers = jail
        .seal(guests)
        .map_err(|e| Failure::host("cannot close the jail", &e))?;
    Ok(Empty {
        system,
        own,
        layers,
        tree_time,
    })
}

/// Builds a sandbox and runs its program.
pub(crate) fn start(
    spec: &StartSpec,
    jail: Open,
    report: Report,
    outbox: &Arc<Outbox>,
    began: Instant,
) -> Result<(Instance, Option<Function>), Failure> {
    let empty = build(spec, jail)?;
    let mut stages = Stages {
        outbox,
        last: began,
    };
    stages.split(StageName::Sandbox, StageName::RootFs, empty.tree_time);
    if report == Report::Layers {
        eprintln!("rekindle: {}", empty.layers);
    }
    let (instance, standard) = Instance::prepare(spec, empty.system, empty.own, outbox)?;
    let function = match &spec.function {
        Some(function) => Some(Function::start(function, &instance, outbox)?),
        None => None,
    };
    instance.start(spec, &standard)?;
    let executed = stages.done(StageName::Exec);
    if let Some(function) = &function {
        function.executed(executed);
    }
    Ok((instance, function))
}

fn host_facts() -> io::Result<HostFacts> {
    use std::io::Read;
    let raw = std::fs::read("/proc/self/auxv")?;
    let word = |kind: u64| {
        raw.chunks_exact(16).find_map(|pair| {
            let (key, value) = pair.split_at(8);
            let read = |b: &[u8]| b.try_into().map(u64::from_le_bytes).unwrap_or(0);
            (read(key) == kind).then(|| read(value))
        })
    };
    let mut seed = [0u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(HostFacts {
        cpu: CpuFacts {
            hwcap: word(16).unwrap_or(0),
            hwcap2: word(26).unwrap_or(0),
            min_signal_stack: word(51).unwrap_or(2048),
        },
        cpus: u32::try_from(cpus).unwrap_or(1),
        seed,
    })
}
