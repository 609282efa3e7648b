//! A kernel with its platform, file tree and streams.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel_core::signal::{Signal, si_code, siginfo};
use kernel_core::task::{ExitStatus, Protection, Resource, Rlimit, Rlimits};
use kernel_files::console::StandardFiles;
use kernel_syscall::{Init, StartError, System, start_init};
use proto_sandbox::{FailureKind, StartSpec, WorkloadSpec};

use crate::BuildError;
use crate::memory::{MemoryWatch, OwnMemory};
use crate::outbox::Outbox;
use crate::stdio::{self, Streams};

/// How long a freeze may take before the instance counts as broken.
pub(crate) const FREEZE_LIMIT: Duration = Duration::from_secs(2);

/// A kernel with its platform, file tree and streams: the machine that a guest has.
pub(crate) struct Machine {
    pub(crate) system: Arc<System>,
    pub(crate) streams: Streams,
    pub(crate) memory: Arc<MemoryWatch>,
    /// Files with pages that it came from; none if it was started.
    pub(crate) images: u32,
}

impl Machine {
    /// Streams and the memory watch over a kernel without tasks.
    pub(crate) fn prepare(
        spec: &StartSpec,
        system: Arc<System>,
        own: OwnMemory,
        outbox: &Arc<Outbox>,
    ) -> Result<(Machine, StandardFiles), BuildError> {
        let host = |e: std::io::Error| BuildError::host("cannot start a thread", &e);
        let owner = [spec.program.uid, spec.program.gid];
        let (streams, standard) = Streams::open(spec.program.stdio, owner, outbox).map_err(host)?;
        let memory = MemoryWatch::start(own, Arc::clone(&system)).map_err(host)?;
        Ok((
            Machine {
                system,
                streams,
                memory,
                images: 0,
            },
            standard,
        ))
    }

    /// Starts the first program.
    pub(crate) fn start(
        &self,
        spec: &StartSpec,
        standard: &StandardFiles,
    ) -> Result<(), BuildError> {
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

    /// Stops all guest code.
    pub(crate) fn freeze(&self) {
        if let Err(error) = self.system.freeze(FREEZE_LIMIT) {
            tracing::warn!(%error, "the guest could not be frozen");
        }
    }

    /// Lets guest code run.
    pub(crate) fn thaw(&self) {
        self.system.thaw();
    }

    /// Kills every guest process.
    pub(crate) fn kill(&self) {
        self.system.thaw();
        self.system.kernel.kill_all();
    }

    /// Waits for the end of all guest processes.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<ExitStatus> {
        self.system.kernel.wait_ended(deadline)
    }
}

fn init_of(spec: &StartSpec) -> Result<Init, BuildError> {
    let program = &spec.program;
    let Some(first) = program.argv.first() else {
        return Err(BuildError {
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
        protection: match spec.workload {
            WorkloadSpec::Program => Protection::FromAll,
            // On Lambda a function is not process 1, and may kill itself.
            WorkloadSpec::Lambda(_) => Protection::FromOthers,
        },
    })
}

fn program_failure(error: StartError) -> BuildError {
    match &error {
        StartError::Program {
            program,
            errno: base_abi::Errno::ENOENT,
        } => BuildError {
            kind: FailureKind::Program,
            message: format!("{program}: not found"),
        },
        StartError::Program { .. } | StartError::Directory { .. } => BuildError {
            kind: FailureKind::Program,
            message: error.to_string(),
        },
        StartError::Host(_) => BuildError {
            kind: FailureKind::Host,
            message: error.to_string(),
        },
    }
}
