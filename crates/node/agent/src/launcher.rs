//! Makes sandboxes as processes of this machine.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use node_code::CodeStore;
use node_pool::{
    Capture, CapturePoint, InstanceId, LaunchError, Launcher, Link, NoShell, TakeFirst,
};
use node_runtimes::{CapturePoints, FunctionRuntime, RuntimeError, Runtimes, late_environment};
use node_sandboxes::{SandboxProcess, Sandboxes};
use node_snapshots::Opened;
use proto_node::{BoxFuture, FunctionSpec, Revision};
use proto_sandbox::{Layer, PlatformChoice, StartSpec, ToSandbox};

use crate::config::{AgentConfig, TemplateUse};
use crate::error::AgentError;
use crate::launched::Launched;
use crate::restore::{self, Refusal};
use crate::shells::Shells;
use crate::snapshots::Snapshots;
use crate::start::start_spec;
use crate::templates::Templates;

pub(crate) struct ProcessLauncher {
    layers: Vec<Layer>,
    runtimes: Runtimes,
    code: Arc<CodeStore>,
    sandboxes: Arc<Sandboxes>,
    shells: Shells,
    snapshots: Option<Arc<Snapshots>>,
    templates: Option<Arc<Templates>>,
    platform: PlatformChoice,
}

impl ProcessLauncher {
    pub(crate) fn new(config: AgentConfig, code: Arc<CodeStore>) -> Result<Self, AgentError> {
        let layers = config.layers;
        let snapshots = config
            .snapshots
            .map(|snapshots| Snapshots::open(snapshots, &config.sandbox_command))
            .transpose()
            .map_err(AgentError::Snapshots)?
            .map(Arc::new);
        let runtimes = Runtimes::install(&config.directory, layers.clone());
        let sandboxes = Sandboxes::new(config.sandbox_command, config.cpu_weight)
            .map_err(AgentError::Spawner)?;
        let sandboxes = Arc::new(sandboxes);
        let templates = match (&snapshots, config.templates) {
            (Some(snapshots), TemplateUse::On) => Some(
                Templates::new(
                    Arc::clone(snapshots),
                    Arc::clone(&sandboxes),
                    &config.directory,
                )
                .map_err(AgentError::Runtimes)?,
            ),
            _ => None,
        };
        Ok(Self {
            templates,
            platform: config.platform,
            layers,
            runtimes: runtimes.map_err(AgentError::Runtimes)?,
            code,
            shells: Shells::new(Arc::clone(&sandboxes)),
            sandboxes,
            snapshots,
        })
    }

    /// Who makes its sandboxes.
    pub(crate) fn sandboxes(&self) -> Arc<Sandboxes> {
        Arc::clone(&self.sandboxes)
    }

    /// See [`Snapshots::outdated`].
    pub(crate) fn outdated(&self) -> BTreeSet<Revision> {
        let snapshots = self.snapshots.as_ref();
        snapshots.map_or_else(BTreeSet::new, |snapshots| snapshots.outdated())
    }

    async fn start(
        &self,
        function: &FunctionSpec,
        stream: &str,
        shell: Option<InstanceId>,
        first: TakeFirst<'_>,
    ) -> Result<Box<dyn Link>, LaunchError> {
        // Whatever becomes of this start, the shell is used up.
        let shell = shell.and_then(|id| self.shells.take(id));
        let runnable = self
            .runtimes
            .find(function, &self.code.tree(&function.code))
            .map_err(not_runnable)?;
        let runtime = runnable.runtime;
        let spec = start_spec(function, runnable, stream, &self.layers, self.platform);
        if let Some(snapshots) = &self.snapshots
            && let Some((key, opened)) = snapshots.find(function, runtime, &spec).await
        {
            let shell = shell.and_then(|shell| shell.of(&opened));
            let late = late_environment(function, stream);
            match self.restored(&spec, &opened, shell, late, first).await {
                Ok(process) => return Ok(Box::new(process)),
                Err(refusal) => snapshots.refused(&key, &function.revision, refusal).await,
            }
        }
        if let Some(templates) = &self.templates
            && let Some(process) = templates.begin(function, runtime, &spec, stream).await
        {
            return Ok(Box::new(process));
        }
        let spawning = self.sandboxes.spawn(&spec);
        let mut process = spawning.await.map_err(LaunchError::Spawn)?;
        let start = ToSandbox::Start(Box::new(spec));
        match process.send_message(&start, &[]).await {
            Ok(()) => Ok(Box::new(Launched::cold(process))),
            Err(error) => {
                // Why it does not listen is on its standard error.
                let said = process.end().await;
                Err(LaunchError::Spawn(io::Error::other(format!(
                    "{error}: {said}"
                ))))
            }
        }
    }
}

impl ProcessLauncher {
    /// The function from its snapshot, with its first event.
    async fn restored(
        &self,
        spec: &StartSpec,
        snapshot: &Opened,
        shell: Option<SandboxProcess>,
        late: Vec<(String, String)>,
        take_first: TakeFirst<'_>,
    ) -> Result<Launched, Refusal> {
        // A sandbox that does not say that it restored has not begun with it: the next may.
        let mut first = None;
        if let Some(shell) = shell {
            first = take_first();
            match restore::into(shell, late.clone(), first.clone()).await {
                Ok(process) => return Ok(process),
                // The shell may have been ended by somebody; a new one tells who is to blame.
                Err(refusal) => tracing::warn!(%refusal, "a shell was of no use"),
            }
        }
        let shell = restore::shell(&self.sandboxes, spec, snapshot, &snapshot.hot).await?;
        restore::into(shell, late, first.or_else(take_first)).await
    }

    /// To be called when the first snapshot is there: other functions may begin in a template then.
    fn template_for(
        &self,
        function: &FunctionSpec,
        runtime: &'static dyn FunctionRuntime,
        spec: StartSpec,
    ) -> Box<dyn FnOnce() + Send> {
        let (templates, function) = (self.templates.clone(), function.clone());
        let executor = tokio::runtime::Handle::current();
        Box::new(move || {
            if let Some(templates) = templates {
                executor.spawn(async move { templates.make_for(&function, runtime, &spec).await });
            }
        })
    }

    /// What names the snapshot of a function: as [`Self::start`] would start it.
    fn plan(&self, function: &FunctionSpec) -> Option<(&'static dyn FunctionRuntime, StartSpec)> {
        let runnable = self
            .runtimes
            .find(function, &self.code.tree(&function.code))
            .ok()?;
        let runtime = runnable.runtime;
        let spec = start_spec(function, runnable, "", &self.layers, self.platform);
        Some((runtime, spec))
    }
}

impl Drop for ProcessLauncher {
    fn drop(&mut self) {
        self.shells.close();
        self.sandboxes.settle();
    }
}

impl Launcher for ProcessLauncher {
    fn launch<'a>(
        &'a self,
        function: &'a FunctionSpec,
        stream: &'a str,
        shell: Option<InstanceId>,
        first: TakeFirst<'a>,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LaunchError>> {
        Box::pin(self.start(function, stream, shell, first))
    }

    fn make_shell<'a>(
        &'a self,
        id: InstanceId,
        function: &'a FunctionSpec,
    ) -> BoxFuture<'a, Result<(), NoShell>> {
        Box::pin(async move {
            let snapshots = self.snapshots.as_ref().ok_or(NoShell::NoSnapshot)?;
            let (runtime, spec) = self.plan(function).ok_or(NoShell::NoSnapshot)?;
            let found = snapshots.find(function, runtime, &spec).await;
            let (_, opened) = found.ok_or(NoShell::NoSnapshot)?;
            let made = self.shells.make(id, &spec, opened).await;
            made.map_err(|refusal| NoShell::Refused(refusal.to_string()))
        })
    }

    fn drop_shell(&self, id: InstanceId) -> BoxFuture<'_, ()> {
        Box::pin(self.shells.end(id))
    }

    fn capture<'a>(
        &'a self,
        function: &'a FunctionSpec,
        moment: CapturePoint,
    ) -> BoxFuture<'a, Option<Box<dyn Capture>>> {
        Box::pin(async move {
            let snapshots = self.snapshots.as_ref()?;
            let (runtime, spec) = self.plan(function)?;
            let offered_only = runtime.snapshots().capture == CapturePoints::Offered;
            if moment == CapturePoint::FirstEvent && offered_only {
                return None;
            }
            let ready = self.template_for(function, runtime, spec.clone());
            snapshots.begin(function, runtime, &spec, ready).await
        })
    }

    fn given_up(&self, function: &FunctionSpec) -> Option<String> {
        let (_, spec) = self.plan(function)?;
        self.snapshots.as_ref()?.given_up(function, &spec)
    }

    fn spoilt<'a>(&'a self, function: &'a FunctionSpec, reason: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let (Some(snapshots), Some((_, spec))) = (&self.snapshots, self.plan(function)) {
                snapshots.spoilt(function, &spec, reason).await;
            }
        })
    }

    fn distrust(&self, function: &FunctionSpec) {
        if let Some(templates) = &self.templates {
            templates.distrust(function);
        }
    }

    fn came_up(&self, function: &FunctionSpec) {
        if let Some(snapshots) = &self.snapshots {
            snapshots.came_up(&function.revision);
        }
    }

    fn has_snapshot(&self, function: &FunctionSpec) -> bool {
        self.snapshots.as_ref().is_some_and(|snapshots| {
            let plan = self.plan(function);
            plan.is_some_and(|(runtime, spec)| snapshots.has(function, runtime, &spec))
        })
    }

    fn touched(&self, function: &FunctionSpec, hot: Bytes) {
        if let (Some(snapshots), Some((_, spec))) = (&self.snapshots, self.plan(function)) {
            snapshots.touched(function, &spec, hot);
        }
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
        match self
            .runtimes
            .find(function, &self.code.tree(&function.code))
        {
            Ok(runnable) => runnable.version,
            Err(_) => function.runtime.clone(),
        }
    }
}

fn not_runnable(error: RuntimeError) -> LaunchError {
    match error {
        RuntimeError::Unavailable { runtime, reason } => {
            LaunchError::RuntimeUnavailable { runtime, reason }
        }
        RuntimeError::InvalidEntrypoint { searched } => LaunchError::InvalidEntrypoint { searched },
    }
}
