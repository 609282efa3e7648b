//! Makes sandboxes as processes of this machine.

use std::ffi::OsString;
use std::io;

use bytes::Bytes;
use node_pool::{LaunchError, Launcher, Link};
use proto_node::{BoxFuture, FunctionSpec};
use proto_sandbox::{Layer, ToSandbox};

use crate::agent::AgentError;
use crate::config::AgentConfig;
use crate::process::SandboxProcess;
use crate::runtimes::Runtimes;
use crate::spawner::Spawner;
use crate::start::start_spec;

pub(crate) struct ProcessLauncher {
    command: Vec<OsString>,
    layers: Vec<Layer>,
    runtimes: Runtimes,
    spawner: Spawner,
}

impl ProcessLauncher {
    pub(crate) fn new(config: AgentConfig) -> Result<Self, AgentError> {
        let layers = config.layers;
        let runtimes = Runtimes::install(&config.directory, layers.clone());
        Ok(Self {
            command: config.sandbox_command,
            layers,
            runtimes: runtimes.map_err(AgentError::Runtimes)?,
            spawner: Spawner::start().map_err(AgentError::Spawner)?,
        })
    }

    async fn start(
        &self,
        function: &FunctionSpec,
        stream: &str,
    ) -> Result<Box<dyn Link>, LaunchError> {
        let runtime = self.runtimes.find(function)?;
        let spec = start_spec(function, runtime, stream, &self.layers);
        let spawning = SandboxProcess::spawn(&self.spawner, &self.command);
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

impl Launcher for ProcessLauncher {
    fn launch<'a>(
        &'a self,
        function: &'a FunctionSpec,
        stream: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LaunchError>> {
        Box::pin(self.start(function, stream))
    }

    fn runtime_version(&self, function: &FunctionSpec) -> String {
        match self.runtimes.find(function) {
            Ok(runtime) => runtime.version,
            Err(_) => function.runtime.clone(),
        }
    }
}
