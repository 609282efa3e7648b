//! From a specification to a running program, stage by stage.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use host_sys::proc::ProcDir;
use kernel_core::{Config, CpuFacts, Kernel};
use kernel_net::StackConfig;
use kernel_syscall::{System, SystemConfig};
use platform_api::Platform;
use platform_kvm::KvmPlatform;
use platform_process::{Network, ProcessPlatform};
use proto_sandbox::{FromSandbox, PlatformChoice, RUNTIME_API_ADDRESS, StageName, StartSpec};
use sandbox_confine::Layers;
use sandbox_confine::jail::{Guests, Open};

use crate::machine::Machine;
use crate::memory::OwnMemory;
use crate::outbox::Outbox;
use crate::rootfs::Tree;
use crate::running::Running;
use crate::workload::{self, Ends};
use crate::{BuildError, Diagnostics, rootfs};

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

/// A kernel with its files; nothing runs in it.
pub(crate) struct Empty {
    pub(crate) system: Arc<System>,
    pub(crate) own: OwnMemory,
}

/// What is told of a jail that was closed around a kernel.
pub(crate) struct Jailed {
    layers: Layers,
    /// Time that the file tree took.
    tree_time: Duration,
}

/// Closes the jail around a new kernel.
pub(crate) fn build(spec: &StartSpec, mut jail: Open) -> Result<(Empty, Jailed), BuildError> {
    let facts =
        host_facts().map_err(|e| BuildError::host("cannot read what the host offers", &e))?;
    let own =
        OwnMemory::open().map_err(|e| BuildError::host("cannot open /proc/self/statm", &e))?;
    let proc = ProcDir::open().map_err(|e| BuildError::host("cannot open /proc", &e))?;
    // Asked while /sys can be read; the guest's clocks want to know later.
    let steady = host_sys::vdso_code::counter_is_steady();
    tracing::debug!(steady, "time stamp counter");
    let kvm = match spec.platform {
        PlatformChoice::Process => None,
        PlatformChoice::Kvm => {
            let opened = platform_kvm::open();
            Some(opened.map_err(|e| BuildError::platform("cannot open /dev/kvm", &e))?)
        }
    };
    let tree_began = Instant::now();
    let tree = rootfs::build(spec)?;
    let mut tree_time = tree_began.elapsed();
    let [readable, listed] = [&tree.readable, &tree.listed]
        .map(|files| files.iter().map(|f| f.as_fd()).collect::<Vec<_>>());
    jail.restrict_files(&readable, &listed)
        .map_err(|e| BuildError::host("cannot close the jail", &e))?;
    // Before any other thread: the first stub is forked from this process.
    let network = if jail.has_own_namespaces() {
        Network::Callers
    } else {
        Network::Own
    };
    let (platform, guests): (Arc<dyn Platform>, Guests) = match kvm {
        Some(kvm) => {
            let platform =
                KvmPlatform::with_descriptor(kvm).map_err(|e| BuildError::platform("KVM", &e))?;
            (Arc::new(platform), Guests::Machine)
        }
        None => {
            let platform = ProcessPlatform::with_proc(proc, network)
                .map_err(|e| BuildError::platform("cannot start the process platform", &e))?;
            (Arc::new(platform), Guests::Processes)
        }
    };
    let assembly = Instant::now();
    let system = assemble(spec, platform, &facts, &tree)?;
    tree_time += assembly.elapsed();
    let layers = jail
        .seal(guests)
        .map_err(|e| BuildError::host("cannot close the jail", &e))?;
    Ok((Empty { system, own }, Jailed { layers, tree_time }))
}

/// A kernel in a process that keeps all its rights: for tests, whose guests are scripts.
#[cfg(test)]
pub(crate) fn without_jail(
    spec: &StartSpec,
    platform: Arc<dyn Platform>,
) -> Result<Empty, BuildError> {
    let facts =
        host_facts().map_err(|e| BuildError::host("cannot read what the host offers", &e))?;
    let own = OwnMemory::open().map_err(|e| BuildError::host("cannot open statm", &e))?;
    let tree = rootfs::build(spec)?;
    let system = assemble(spec, platform, &facts, &tree)?;
    Ok(Empty { system, own })
}

/// Builds a sandbox and runs its program.
pub(crate) fn start(
    spec: &StartSpec,
    jail: Open,
    ends: &Ends,
    began: Instant,
    diagnostics: Diagnostics,
) -> Result<Running, BuildError> {
    let (empty, jailed) = build(spec, jail)?;
    let mut stages = Stages {
        outbox: &ends.outbox,
        last: began,
    };
    stages.split(StageName::Sandbox, StageName::RootFs, jailed.tree_time);
    diagnostics.jailed(&jailed.layers);
    let mut running = begin(spec, empty, ends)?;
    running.workload.loaded(stages.done(StageName::Exec));
    Ok(running)
}

/// Runs the program of a kernel that is there.
pub(crate) fn begin(spec: &StartSpec, empty: Empty, ends: &Ends) -> Result<Running, BuildError> {
    let (machine, standard) = Machine::prepare(spec, empty.system, empty.own, &ends.outbox)?;
    let workload = workload::start(&spec.workload, &machine, ends)?;
    machine.start(spec, &standard)?;
    Ok(Running { machine, workload })
}

/// Words from the host that are read before the jail closes.
pub(crate) struct HostFacts {
    pub(crate) cpu: CpuFacts,
    pub(crate) cpus: u32,
    pub(crate) seed: [u8; 32],
}

/// A kernel over a file tree, without tasks.
pub(crate) fn assemble(
    spec: &StartSpec,
    platform: Arc<dyn Platform>,
    facts: &HostFacts,
    tree: &Tree,
) -> Result<Arc<System>, BuildError> {
    let config = Config {
        hostname: spec.hostname.clone(),
        cpus: facts.cpus,
        memory: spec.limits.memory_bytes,
        max_tasks: usize::try_from(spec.limits.tasks).unwrap_or(usize::MAX),
        cpu: facts.cpu,
    };
    let kernel = Kernel::new(config, platform, facts.seed);
    let tracer: Option<kernel_syscall::Tracer> = spec
        .strace
        .then(|| -> kernel_syscall::Tracer { Box::new(|line| eprintln!("{line}")) });
    let config = SystemConfig {
        tracer,
        network: StackConfig {
            addresses: runtime_api_address(),
            ..StackConfig::default()
        },
        ..SystemConfig::default()
    };
    let system = Arc::new(System::new(kernel, Arc::clone(&tree.mounts), config));
    tree.attach(&system)?;
    Ok(system)
}

/// The guest's own address at which the Lambda Runtime API is served.
fn runtime_api_address() -> Vec<IpAddr> {
    let address: Result<SocketAddr, _> = RUNTIME_API_ADDRESS.parse();
    address.iter().map(SocketAddr::ip).collect()
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
