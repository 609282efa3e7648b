//! Makes sandboxes as processes of this machine.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use node_pool::{
    Capture, FunctionEnvironment, LaunchError, Launcher, Link, Moment, late_environment,
};
use proto_node::{BoxFuture, FunctionSpec, Revision};
use proto_sandbox::{Layer, StartSpec, ToSandbox};
use sandbox_confine::cgroup::{self, Group};

use crate::agent::AgentError;
use crate::config::AgentConfig;
use crate::process::SandboxProcess;
use crate::restore;
use crate::runtimes::Runtimes;
use crate::snapshots::Snapshots;
use crate::spawner::Spawner;
use crate::start::start_spec;

/// How the control groups of instances are called.
const GROUPS: &str = "rekindle";

/// How long the end of the agent waits for the last control groups to be removed.
const GROUPS_GONE_WITHIN: Duration = Duration::from_millis(500);

/// Room for the kernel process beyond the guest's memory and files, in the control group.
const KERNEL_ROOM: u64 = 256 << 20;

pub(crate) struct ProcessLauncher {
    command: Vec<OsString>,
    layers: Vec<Layer>,
    runtimes: Runtimes,
    spawner: Spawner,
    snapshots: Option<Snapshots>,
    /// How many control groups were made, for their names.
    groups: AtomicU64,
}

impl ProcessLauncher {
    pub(crate) fn new(config: AgentConfig) -> Result<Self, AgentError> {
        cgroup::sweep(GROUPS);
        let layers = config.layers;
        let snapshots = config
            .snapshots
            .map(|snapshots| Snapshots::open(snapshots, &config.sandbox_command))
            .transpose()
            .map_err(AgentError::Snapshots)?;
        let runtimes = Runtimes::install(&config.directory, layers.clone());
        Ok(Self {
            command: config.sandbox_command,
            layers,
            runtimes: runtimes.map_err(AgentError::Runtimes)?,
            spawner: Spawner::start().map_err(AgentError::Spawner)?,
            snapshots,
            groups: AtomicU64::new(0),
        })
    }

    async fn start(
        &self,
        function: &FunctionSpec,
        stream: &str,
    ) -> Result<Box<dyn Link>, LaunchError> {
        let runtime = self.runtimes.find(function)?;
        let kind = runtime.environment;
        let spec = start_spec(function, runtime, stream, &self.layers);
        if let Some(snapshots) = &self.snapshots
            && let Some(link) = self
                .restored(snapshots, function, kind, &spec, stream)
                .await
        {
            return Ok(link);
        }
        let spawning = SandboxProcess::spawn(&self.spawner, &self.command, self.group(&spec));
        let mut process: Box<dyn Link> = Box::new(spawning.await.map_err(LaunchError::Spawn)?);
        match process
            .send(ToSandbox::Start(Box::new(spec)), Bytes::new())
            .await
        {
            Ok(()) => Ok(process),
            Err(error) => {
                // Why it does not listen is on its standard error.
                let said = process.kill().await;
                Err(LaunchError::Spawn(io::Error::other(format!(
                    "{error}: {said}"
                ))))
            }
        }
    }
}

impl ProcessLauncher {
    /// The function from its snapshot; none if there is none, or it is no good.
    async fn restored(
        &self,
        snapshots: &Snapshots,
        function: &FunctionSpec,
        kind: FunctionEnvironment,
        spec: &StartSpec,
        stream: &str,
    ) -> Option<Box<dyn Link>> {
        let (key, opened) = snapshots.find(function, kind, spec).await?;
        let spawning = SandboxProcess::spawn(&self.spawner, &self.command, self.group(spec));
        let process = spawning
            .await
            .inspect_err(|error| tracing::warn!(%error, "no process for a restore"))
            .ok()?;
        let late = late_environment(function, stream);
        match restore::restore(process, spec, late, &opened).await {
            Ok(process) => Some(Box::new(process)),
            Err(refusal) => {
                snapshots.refused(&key, refusal).await;
                None
            }
        }
    }

    /// What names the snapshot of a function: as [`Self::start`] would start it.
    fn plan(&self, function: &FunctionSpec) -> Option<(FunctionEnvironment, StartSpec)> {
        let runtime = self.runtimes.find(function).ok()?;
        let kind = runtime.environment;
        Some((kind, start_spec(function, runtime, "", &self.layers)))
    }

    /// The second line behind the sandbox's own counting.
    fn group(&self, spec: &StartSpec) -> Group {
        let number = self.groups.fetch_add(1, Ordering::Relaxed);
        Group::create(
            &format!("{GROUPS}-{}-{number}", std::process::id()),
            &cgroup::Limits {
                // Files of the writable layer are memory of the host too.
                memory_bytes: spec
                    .limits
                    .memory_bytes
                    .saturating_add(spec.rootfs.writable_bytes)
                    .saturating_add(KERNEL_ROOM),
                // A host thread of the kernel process for each guest thread.
                tasks: spec.limits.tasks.saturating_mul(2).saturating_add(64),
                milli_cpus: None,
            },
        )
    }
}

impl Drop for ProcessLauncher {
    fn drop(&mut self) {
        cgroup::settle(GROUPS_GONE_WITHIN);
    }
}

impl Launcher for ProcessLauncher {
    fn launch<'a>(
        &'a self,
        function: &'a FunctionSpec,
        stream: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LaunchError>> {
        Box::pin(self.start(function, stream))
    }

    fn capture<'a>(
        &'a self,
        function: &'a FunctionSpec,
        moment: Moment,
    ) -> BoxFuture<'a, Option<Box<dyn Capture>>> {
        Box::pin(async move {
            let snapshots = self.snapshots.as_ref()?;
            let (kind, spec) = self.plan(function)?;
            // Our own runtimes know when they can be captured: one that does not offer itself must not be.
            if moment == Moment::FirstEvent && kind != FunctionEnvironment::Provided {
                return None;
            }
            snapshots.begin(function, kind, &spec).await
        })
    }

    fn given_up(&self, function: &FunctionSpec) -> Option<String> {
        let (_, spec) = self.plan(function)?;
        self.snapshots.as_ref()?.given_up(function, &spec)
    }

    fn has_snapshot(&self, function: &FunctionSpec) -> bool {
        self.snapshots.as_ref().is_some_and(|snapshots| {
            let plan = self.plan(function);
            plan.is_some_and(|(kind, spec)| snapshots.has(function, kind, &spec))
        })
    }

    fn forget<'a>(&'a self, revision: &'a Revision) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Some(snapshots) = &self.snapshots {
                snapshots.forget(revision).await;
            }
        })
    }

    fn keep_only(&self, revisions: BTreeSet<Revision>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(snapshots) = &self.snapshots {
                snapshots.keep_only(revisions).await;
            }
        })
    }

    fn runtime_version(&self, function: &FunctionSpec) -> String {
        match self.runtimes.find(function) {
            Ok(runtime) => runtime.version,
            Err(_) => function.runtime.clone(),
        }
    }
}
