//! An agent with real interpreters, bootstraps and sandboxes, for the length of a test.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base_eventually::eventually_some;
use bytes::Bytes;
use node_agent::{Agent, AgentConfig, AgentError, SnapshotsError};
use node_snapshots::StoreError;
use proto_node::{
    Body, Capacity as _, CodeRef, FunctionSpec, Invoke as _, InvokeError, InvokeHead,
    InvokeOutcome, InvokeResult, LogTail, MAX_RESPONSE_BYTES, Reply, Revision, Taken,
};
use serde_json::Value;

pub(crate) struct Node {
    pub(crate) agent: Agent,
    pub(crate) directory: tempfile::TempDir,
}

impl Node {
    pub(crate) fn start() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    /// Another agent over what the one before kept.
    pub(crate) fn within(directory: tempfile::TempDir) -> Self {
        let mut config = AgentConfig::new(directory.path().join("node")).unwrap();
        config.sandbox_command = vec![env!("CARGO_BIN_EXE_rekindle").into(), "sandbox".into()];
        // Tests of other packages share the machine: a start may be slow.
        config.pool.init_timeout = Duration::from_secs(60);
        let agent = eventually_some("the agent starts", || match Agent::start(config.clone()) {
            // The last tasks of the one before still hold the store.
            Err(AgentError::Snapshots(SnapshotsError::Store(StoreError::Locked(_)))) => None,
            agent => Some(agent.unwrap()),
        });
        Self { agent, directory }
    }

    pub(crate) fn function(
        &self,
        runtime: &str,
        handler: &str,
        code: CodeRef,
    ) -> Arc<FunctionSpec> {
        Arc::new(FunctionSpec {
            revision: Revision(format!("{runtime} {}", code.sha256)),
            name: "f".into(),
            version: "$LATEST".into(),
            arn: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
            account: "000000000000".into(),
            region: "us-east-1".into(),
            runtime: runtime.into(),
            handler: handler.into(),
            architecture: "x86_64".into(),
            memory_mb: 512,
            timeout: Duration::from_secs(20),
            ephemeral_storage_mb: 512,
            environment: BTreeMap::from([("OWN".to_owned(), "value".to_owned())]),
            code,
            snap_start: Default::default(),
            isolation: Default::default(),
            platform: Default::default(),
            log_group: "/aws/lambda/f".into(),
        })
    }

    /// Code that the agent has, with nothing in it yet.
    pub(crate) fn code(&self, name: &str) -> CodeRef {
        let digits = name.bytes().map(|byte| format!("{byte:02x}"));
        let code = CodeRef {
            sha256: format!("{:0<64}", digits.collect::<String>()),
            bytes: 1,
        };
        let tree = self.directory_of(&code);
        std::fs::create_dir_all(&tree).unwrap();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        std::fs::write(tree.with_extension("boot"), boot.trim()).unwrap();
        code
    }

    /// Where that lies.
    pub(crate) fn directory_of(&self, code: &CodeRef) -> PathBuf {
        let trees = self.directory.path().join("node/code/trees");
        trees.join(&code.sha256)
    }

    /// The files of a directory as code that the agent has.
    pub(crate) fn copy(&self, from: &Path) -> CodeRef {
        let code = self.code(from.file_name().unwrap().to_str().unwrap());
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            let to = self.directory_of(&code).join(file.file_name());
            std::fs::copy(file.path(), to).unwrap();
        }
        code
    }

    pub(crate) fn python(&self, code: &str) -> Arc<FunctionSpec> {
        self.written("app.py", code, "python3.11", "app.handler")
    }

    pub(crate) fn written(
        &self,
        name: &str,
        text: &str,
        runtime: &str,
        handler: &str,
    ) -> Arc<FunctionSpec> {
        let code = self.code(name);
        let path = self.directory_of(&code).join(name);
        assert!(!path.exists(), "{name} is there");
        std::fs::write(path, text).unwrap();
        self.function(runtime, handler, code)
    }

    pub(crate) async fn invoke(
        &self,
        function: &Arc<FunctionSpec>,
        event: Value,
    ) -> Result<InvokeOutcome, InvokeError> {
        self.begin(function, event)
            .await?
            .whole(MAX_RESPONSE_BYTES)
            .await
    }

    /// The same, up to the head of the reply.
    pub(crate) async fn begin(
        &self,
        function: &Arc<FunctionSpec>,
        event: Value,
    ) -> Result<Reply, InvokeError> {
        let head = InvokeHead {
            request_id: "8476a536-e9f4-11e8-9739-2dfe598c3fcd".into(),
            invoked_arn: function.arn.clone(),
            client_context: None,
            trace_id: None,
            log_tail: LogTail::Tail,
            queue_time: Duration::from_secs(60),
        };
        let body = Body::whole(Bytes::from(event.to_string()));
        let function = Arc::clone(function);
        let taken = Taken::nobody();
        self.agent.invoke(function, head, body, taken).await
    }

    pub(crate) async fn end(self) {
        self.agent.drain(Duration::from_secs(5)).await;
        assert_eq!(self.agent.instances(), 0);
    }

    /// Ends every instance; what comes next starts anew.
    pub(crate) async fn again(self) -> Self {
        self.agent.drain(Duration::from_secs(5)).await;
        let Self { agent, directory } = self;
        drop(agent);
        Self::within(directory)
    }
}

/// The answer or the error.
pub(crate) fn value(outcome: &InvokeOutcome) -> Value {
    match &outcome.result {
        InvokeResult::Success(body) => serde_json::from_slice(body).unwrap(),
        InvokeResult::Fault(fault) => serde_json::from_slice(&fault.body).unwrap(),
    }
}
