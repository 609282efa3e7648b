//! A kernel with its platform, file tree and streams.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use kernel_core::signal::{Signal, si_code, siginfo};
use kernel_core::task::{ExitStatus, Resource, Rlimit, Rlimits};
use kernel_core::{Config, CpuFacts, Kernel};
use kernel_files::console::StandardFiles;
use kernel_net::StackConfig;
use kernel_syscall::{Init, StartError, System, SystemConfig, start_init};
use platform_api::Platform;
use proto_sandbox::{FailureKind, RUNTIME_API_ADDRESS, StartSpec};

use crate::Failure;
use crate::memory::{MemoryWatch, OwnMemory};
use crate::outbox::Outbox;
use crate::rootfs::Tree;
use crate::stdio::{self, Streams};

/// A running or frozen sandbox.
pub struct Instance {
    pub(crate) system: Arc<System>,
    pub(crate) streams: Streams,
    pub(crate) memory: Arc<MemoryWatch>,
    /// Files with pages that it came from; none if it was started.
    pub(crate) images: u32,
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
) -> Result<Arc<System>, Failure> {
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

impl Instance {
    /// Streams and the memory watch over a kernel without tasks.
    pub(crate) fn prepare(
        spec: &StartSpec,
        system: Arc<System>,
        own: OwnMemory,
        outbox: &Arc<Outbox>,
    ) -> Result<(Instance, StandardFiles), Failure> {
        let host = |e: std::io::Error| Failure::host("cannot start a thread", &e);
        let (streams, standard) = Streams::open(spec.program.stdio, outbox).map_err(host)?;
        let memory =
            MemoryWatch::start(own, Arc::clone(&system), spec.limits.memory_bytes).map_err(host)?;
        Ok((
            Instance {
                system,
                streams,
                memory,
                images: 0,
            },
            standard,
        ))
    }

    /// Starts the first program.
    pub(crate) fn start(&self, spec: &StartSpec, standard: &StandardFiles) -> Result<(), Failure> {
        let files = Arc::new(stdio::descriptors(standard));
        start_init(&self.system, init_of(spec)?, files).map_err(program_failure)
    }

    /// Sends a signal from outside to the first process.
    pub(crate) fn signal(&self, number: i32) {
        let Some(signal) = Signal::new(number) else {
            return;
        };
        let process = self
            .system
            .kernel
            .tree
            .lock()
            .links(1)
            .map(|l| Arc::clone(&l.process));
        if let Some(process) = process {
            let _ = self.system.kernel.send_to_process(
                &process,
                signal,
                siginfo::user(si_code::SI_USER, 0, 0),
            );
        }
    }

    /// Lets guest code run.
    pub(crate) fn thaw(&self) {
        self.system.kernel.thaw();
    }

    /// Kills every guest process.
    pub(crate) fn kill(&self) {
        self.system.kernel.thaw();
        self.system.kernel.kill_all();
    }

    /// Waits for the end of all guest processes.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<ExitStatus> {
        self.system.kernel.wait_ended(deadline)
    }
}

fn init_of(spec: &StartSpec) -> Result<Init, Failure> {
    let program = &spec.program;
    let Some(first) = program.argv.first() else {
        return Err(Failure {
            kind: FailureKind::Spec,
            message: "no program was named".to_owned(),
        });
    };
    let mut limits = Rlimits::default();
    let files = u64::from(spec.limits.open_files);
    limits.set(
        Resource::Nofile,
        Rlimit {
            soft: files,
            hard: files.max(65_536),
        },
    );
    let tasks = u64::from(spec.limits.tasks);
    limits.set(
        Resource::Nproc,
        Rlimit {
            soft: tasks,
            hard: tasks,
        },
    );
    Ok(Init {
        program: first.clone().into_bytes(),
        argv: program
            .argv
            .iter()
            .map(|a| a.clone().into_bytes())
            .collect(),
        envp: program
            .env
            .iter()
            .map(|(k, v)| format!("{k}={v}").into_bytes())
            .collect(),
        cwd: program.workdir.clone().into_bytes(),
        uid: program.uid,
        gid: program.gid,
        limits,
    })
}

fn program_failure(error: StartError) -> Failure {
    match &error {
        StartError::Program {
            program,
            errno: base_abi::Errno::ENOENT,
        } => Failure {
            kind: FailureKind::Program,
            message: format!("{program}: not found"),
        },
        StartError::Program { .. } | StartError::Directory { .. } => Failure {
            kind: FailureKind::Program,
            message: error.to_string(),
        },
        StartError::Host(_) => Failure {
            kind: FailureKind::Host,
            message: error.to_string(),
        },
    }
}
