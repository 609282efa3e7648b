//! Functions on an agent, without the HTTP server: interpreters, bootstraps and sandboxes are the real ones.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use node_agent::{Agent, AgentConfig};
use node_pool::PoolConfig;
use proto_node::{
    CodeLocation, FunctionSpec, InvokeError, InvokeOutcome, InvokeRequest, InvokeResult, Invoker,
    LogTail, Revision, StartKind,
};
use serde_json::{Value, json};

struct Node {
    agent: Agent,
    directory: tempfile::TempDir,
}

impl Node {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = AgentConfig::new(directory.path().join("node")).unwrap();
        config.sandbox_command = vec![env!("CARGO_BIN_EXE_rekindle").into(), "sandbox".into()];
        config.pool = PoolConfig::default();
        Self {
            agent: Agent::start(config).unwrap(),
            directory,
        }
    }

    fn function(&self, runtime: &str, handler: &str, file: &str, code: &str) -> Arc<FunctionSpec> {
        let directory = self.directory.path().join(file.replace('.', "-"));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(file), code).unwrap();
        Arc::new(FunctionSpec {
            revision: Revision(format!("{runtime} {file}")),
            name: "f".into(),
            version: "$LATEST".into(),
            arn: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
            account: "000000000000".into(),
            region: "us-east-1".into(),
            runtime: runtime.into(),
            handler: handler.into(),
            architecture: "x86_64".into(),
            memory_mb: 128,
            timeout: Duration::from_secs(2),
            ephemeral_storage_mb: 512,
            environment: BTreeMap::from([("OWN".to_owned(), "value".to_owned())]),
            code: CodeLocation {
                directory,
                sha256: String::new(),
            },
            snap_start: Default::default(),
            log_group: "/aws/lambda/f".into(),
        })
    }

    fn python(&self, code: &str) -> Arc<FunctionSpec> {
        self.function("python3.11", "app.handler", "app.py", code)
    }

    async fn invoke(
        &self,
        function: &Arc<FunctionSpec>,
        event: Value,
    ) -> Result<InvokeOutcome, InvokeError> {
        let request = InvokeRequest {
            request_id: "8476a536-e9f4-11e8-9739-2dfe598c3fcd".into(),
            payload: Bytes::from(event.to_string()),
            invoked_arn: function.arn.clone(),
            client_context: None,
            trace_id: None,
            log_tail: LogTail::Tail,
            queue_deadline: Instant::now() + Duration::from_secs(20),
        };
        self.agent.invoke(Arc::clone(function), request).await
    }
}

fn value(outcome: &InvokeOutcome) -> Value {
    match &outcome.result {
        InvokeResult::Success(body) => serde_json::from_slice(body).unwrap(),
        InvokeResult::Fault(fault) => serde_json::from_slice(&fault.body).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn python_answers_cold_and_warm_with_its_environment() {
    let node = Node::start();
    let f = node.python(
        "import os\nn = 0\ndef handler(e, c):\n    global n\n    n += 1\n    print('n is', n)\n    \
         return [n, e, os.environ['OWN'], os.environ['AWS_LAMBDA_FUNCTION_NAME'], c.memory_limit_in_mb]\n",
    );
    let cold = node.invoke(&f, json!({ "a": 1 })).await.unwrap();
    assert_eq!(
        (value(&cold), cold.start),
        (json!([1, { "a": 1 }, "value", "f", "128"]), StartKind::Cold)
    );
    assert!(String::from_utf8_lossy(&cold.log_tail).contains("\nn is 1\nEND "));
    let warm = node.invoke(&f, json!(null)).await.unwrap();
    assert_eq!((&value(&warm)[0], warm.start), (&json!(2), StartKind::Warm));
    let stored = node.agent.stored_logs("f", 100).await;
    let lines: Vec<_> = stored.into_iter().map(|record| record.message).collect();
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.starts_with("REPORT "))
            .count(),
        2,
        "{lines:?}"
    );
    assert!(
        lines[0].starts_with("INIT_START Runtime Version: python:3."),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn node_and_provided_functions_answer() {
    let node = Node::start();
    let f = node.function(
        "nodejs20.x",
        "index.handler",
        "index.mjs",
        "export const handler = async (e) => [e, process.env.OWN];",
    );
    assert_eq!(
        value(&node.invoke(&f, json!("x")).await.unwrap()),
        json!(["x", "value"])
    );

    let script = "#!/bin/sh\necho starting\nexit 9\n";
    let f = node.function("provided.al2023", "", "bootstrap", script);
    let path = f.code.directory.join("bootstrap");
    let refused = node.invoke(&f, json!(1)).await.unwrap();
    assert_eq!(
        value(&refused)["errorType"],
        "Runtime.InvalidEntrypoint",
        "it is not executable"
    );
    make_executable(&path);
    let failed = node.invoke(&f, json!(1)).await.unwrap();
    assert_eq!(
        value(&failed)["errorMessage"],
        "RequestId: 8476a536-e9f4-11e8-9739-2dfe598c3fcd Error: Runtime exited with error: exit status 9"
    );
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_that_fail_are_told_apart_and_do_not_stay() {
    let node = Node::start();
    let f = node.python(
        "import os, time, ctypes\ndef handler(e, c):\n    if e == 'exit': os._exit(5)\n    \
         if e == 'segfault': ctypes.string_at(0)\n    if e == 'hang': time.sleep(60)\n    \
         if e == 'large': return 'x' * 7000000\n    raise ValueError(e)\n",
    );
    for (event, error_type, message) in [
        ("boom", "ValueError", "boom"),
        (
            "large",
            "Function.ResponseSizeTooLarge",
            "Response payload size exceeded",
        ),
        (
            "exit",
            "Runtime.ExitError",
            "exited with error: exit status 5",
        ),
        (
            "segfault",
            "Runtime.ExitError",
            "exited with error: signal: segmentation fault",
        ),
        (
            "hang",
            "Sandbox.Timedout",
            "Error: Task timed out after 2.00 seconds",
        ),
        ("again", "ValueError", "again"),
    ] {
        let body = value(&node.invoke(&f, json!(event)).await.unwrap());
        assert_eq!(body["errorType"], error_type, "{body}");
        assert!(
            body["errorMessage"].as_str().unwrap().contains(message),
            "{body}"
        );
    }
    node.agent.forget(f.revision.clone()).await;
    assert_eq!(node.agent.instances(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn init_errors_and_missing_runtimes_are_told() {
    let node = Node::start();
    let f = node.python("import nothing_here\n");
    let body = value(&node.invoke(&f, json!(1)).await.unwrap());
    assert_eq!(
        body["errorMessage"],
        "Unable to import module 'app': No module named 'nothing_here'"
    );
    let f = node.function("ruby3.3", "app.handler", "app.rb", "");
    let refused = node.invoke(&f, json!(1)).await;
    assert!(matches!(
        refused,
        Err(InvokeError::RuntimeUnavailable { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_after_shutdown() {
    let node = Node::start();
    let f = node.python("def handler(e, c):\n    return e\n");
    let outcomes = tokio::join!(node.invoke(&f, json!(1)), node.invoke(&f, json!(2)));
    assert_eq!(value(&outcomes.0.unwrap()), json!(1));
    assert_eq!(value(&outcomes.1.unwrap()), json!(2));
    let ours = descendants();
    assert!(ours.len() > 4, "a sandbox is several processes: {ours:?}");
    node.agent
        .shutdown(Instant::now() + Duration::from_secs(5))
        .await;
    assert_eq!(node.agent.instances(), 0);
    assert!(matches!(
        node.invoke(&f, json!(1)).await,
        Err(InvokeError::ShuttingDown)
    ));
    let is_ours = |p: &Process| {
        ours.iter()
            .any(|o| (o.pid, o.started) == (p.pid, p.started))
    };
    while processes().any(|process| is_ours(&process)) {
        tokio::task::yield_now().await;
    }
}

/// What `/proc/<pid>/stat` tells of a process (proc_pid_stat(5)).
#[derive(Debug)]
struct Process {
    pid: u32,
    parent: u32,
    /// Clock ticks after boot.
    started: u64,
}

fn processes() -> impl Iterator<Item = Process> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let (_, after_name) = stat.rsplit_once(") ")?;
        let fields: Vec<_> = after_name.split(' ').collect();
        Some(Process {
            pid: entry.file_name().to_str()?.parse().ok()?,
            parent: fields[1].parse().ok()?,
            started: fields[19].parse().ok()?,
        })
    })
}

/// Every process that this one made, and that those made.
fn descendants() -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut rest: Vec<Process> = processes().collect();
    loop {
        let is_ours = |p: &Process| {
            p.parent == std::process::id() || found.iter().any(|parent| parent.pid == p.parent)
        };
        let (new, others) = rest.into_iter().partition::<Vec<_>, _>(is_ours);
        if new.is_empty() {
            return found;
        }
        found.extend(new);
        rest = others;
    }
}
