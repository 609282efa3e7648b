//! Real functions in real sandboxes, and bad ones: each error says what happened, the
//! node stays up, and nothing is left over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use node_agent::{Agent, AgentConfig};
use proto_node::{
    CodeLocation, FunctionSpec, InvokeError, InvokeOutcome, InvokeRequest, InvokeResult, Invoker,
    LogTail, Revision, SnapStart, Stage, StartKind,
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
        // Tests of other packages share the machine: a start may be slow.
        config.pool.init_timeout = Duration::from_secs(60);
        Self {
            agent: Agent::start(config).unwrap(),
            directory,
        }
    }

    fn function(&self, runtime: &str, handler: &str, code: PathBuf) -> Arc<FunctionSpec> {
        Arc::new(FunctionSpec {
            revision: Revision(format!("{runtime} {}", code.display())),
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
            environment: BTreeMap::new(),
            code: CodeLocation {
                directory: code,
                sha256: String::new(),
            },
            snap_start: Default::default(),
            log_group: "/aws/lambda/f".into(),
        })
    }

    fn bad(&self) -> Arc<FunctionSpec> {
        self.written(
            "bad.py",
            include_str!("functions/bad.py"),
            "python3.11",
            "bad.handler",
        )
    }

    fn written(&self, name: &str, text: &str, runtime: &str, handler: &str) -> Arc<FunctionSpec> {
        let directory = self.directory.path().join(name.replace('.', "-"));
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join(name), text).unwrap();
        self.function(runtime, handler, directory)
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
            queue_deadline: Instant::now() + Duration::from_secs(60),
        };
        self.agent.invoke(Arc::clone(function), request).await
    }

    async fn end(self) {
        self.agent
            .shutdown(Instant::now() + Duration::from_secs(5))
            .await;
        assert_eq!(self.agent.instances(), 0);
    }
}

fn example(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples");
    root.join(name).canonicalize().unwrap()
}

fn value(outcome: &InvokeOutcome) -> Value {
    match &outcome.result {
        InvokeResult::Success(body) => serde_json::from_slice(body).unwrap(),
        InvokeResult::Fault(fault) => serde_json::from_slice(&fault.body).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_answer_cold_and_warm() {
    let node = Node::start();
    let python = node.function("python3.11", "app.handler", example("hello-python"));
    let nodejs = node.function("nodejs20.x", "index.handler", example("hello-node"));
    for (start, count) in [(StartKind::Cold, 1), (StartKind::Warm, 2)] {
        let outcome = node
            .invoke(&python, json!({ "name": "Ada" }))
            .await
            .unwrap();
        let answer = value(&outcome);
        assert_eq!(
            (outcome.start, &answer["greeting"]),
            (start, &json!("Hello, Ada!"))
        );
        assert_eq!(answer["greetings"], count);
        let tail = String::from_utf8_lossy(&outcome.log_tail).into_owned();
        assert!(
            tail.contains(&format!("\ngreeting Ada for the {count}. time\nEND ")),
            "{tail}"
        );
        let outcome = node
            .invoke(&nodejs, json!({ "text": "to be or not to be" }))
            .await
            .unwrap();
        let answer = value(&outcome);
        assert_eq!((outcome.start, &answer["counts"]["be"]), (start, &json!(2)));
        assert_eq!(answer["calls"], count);
    }
    node.end().await;
}

/// Of a published version with SnapStart: its runtime runs its hooks and waits for a snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_to_be_captured_runs_its_hooks() {
    let node = Node::start();
    let python = "import os, random, ssl, snapshot_restore_py as hooks\nsaid = []\n\
        hooks.register_before_snapshot(said.append, 'before')\nhooks.register_after_restore(said.append, 'after')\n\
        def handler(e, c):\n    return [said, os.environ['AWS_LAMBDA_INITIALIZATION_TYPE'], c.log_stream_name, e]\n";
    let nodejs = "const crypto = require('crypto'); const { registerBeforeSnapshot, registerAfterRestore } = require('rekindle');\n\
        const said = []; registerBeforeSnapshot(() => said.push('before')); registerAfterRestore(() => said.push('after'));\n\
        exports.handler = async (e, c) => { crypto.randomBytes(16); Math.random();\n\
        return [said, process.env.AWS_LAMBDA_INITIALIZATION_TYPE, c.logStreamName ?? null, e]; };\n";
    for (name, text, runtime, handler) in [
        ("app.py", python, "python3.11", "app.handler"),
        ("index.js", nodejs, "nodejs20.x", "index.handler"),
    ] {
        let mut f = Arc::unwrap_or_clone(node.written(name, text, runtime, handler));
        f.snap_start = SnapStart::On;
        let f = Arc::new(f);
        for event in [1, 2] {
            let outcome = node.invoke(&f, json!(event)).await.unwrap();
            let expected = json!([["before", "after"], "snap-start", null, event]);
            assert_eq!(value(&outcome), expected);
            let hooks = outcome
                .timings
                .0
                .iter()
                .any(|at| at.stage == Stage::AfterRestore);
            assert_eq!(hooks, event == 1);
        }
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_ones_own_speaks_the_runtime_api() {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::start();
    let program = "#!/usr/bin/python3\nimport http.client, os\n\
        c = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])\n\
        while True:\n    c.request('GET', '/2018-06-01/runtime/invocation/next')\n    r = c.getresponse()\n    \
        i, body = r.headers['Lambda-Runtime-Aws-Request-Id'], r.read()\n    \
        c.request('POST', f'/2018-06-01/runtime/invocation/{i}/response', iter([b'[', body, b']']), encode_chunked=True, headers={'Transfer-Encoding': 'chunked'})\n    \
        c.getresponse().read()\n";
    let f = node.written("bootstrap", program, "provided.al2023", "");
    let path = f.code.directory.join("bootstrap");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    for event in [json!(1), json!({ "a": "b" })] {
        assert_eq!(
            value(&node.invoke(&f, event.clone()).await.unwrap()),
            json!([event])
        );
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_that_end_badly_are_told_apart() {
    let node = Node::start();
    let f = node.bad();
    for (event, error_type, message) in [
        ("boom", "ValueError", "boom"),
        ("nothing", "KeyError", "'nothing'"),
        (
            "too_large",
            "Function.ResponseSizeTooLarge",
            "Response payload size exceeded maximum",
        ),
        (
            "leave",
            "Runtime.ExitError",
            "Error: Runtime exited with error: exit status 5",
        ),
        (
            "segfault",
            "Runtime.ExitError",
            "Error: Runtime exited with error: signal: segmentation fault",
        ),
        (
            "kill",
            "Runtime.ExitError",
            "Error: Runtime exited with error: signal: killed",
        ),
        (
            "allocate",
            "Runtime.OutOfMemory",
            "Error: Runtime exited with error: signal: killed",
        ),
    ] {
        let body = value(&node.invoke(&f, json!(event)).await.unwrap());
        assert_eq!(body["errorType"], error_type, "{event}: {body}");
        assert!(
            body["errorMessage"].as_str().unwrap().contains(message),
            "{event}: {body}"
        );
        // Whoever comes next does not notice.
        let next = value(&node.invoke(&f, json!("ok")).await.unwrap());
        assert_eq!(
            (&next[1], &next[2]),
            (&json!(993), &json!("/var/task")),
            "{event}: {next}"
        );
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_that_never_answer_are_ended_at_their_time_limit() {
    let node = Node::start();
    let mut f = node.bad();
    Arc::get_mut(&mut f).unwrap().timeout = Duration::from_secs(2);
    for event in ["sleep", "spin"] {
        let outcome = node.invoke(&f, json!(event)).await.unwrap();
        assert_eq!(
            value(&outcome)["errorMessage"],
            "RequestId: 8476a536-e9f4-11e8-9739-2dfe598c3fcd Error: Task timed out after 2.00 seconds"
        );
    }
    assert_eq!(
        node.invoke(&f, json!("ok")).await.unwrap().start,
        StartKind::Cold
    );
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_errors_of_the_guest_alone() {
    let node = Node::start();
    let f = node.bad();
    for (event, error) in [
        ("descriptors", "Too many open files"),
        ("fill_tmp", "No space left on device"),
    ] {
        assert_eq!(value(&node.invoke(&f, json!(event)).await.unwrap()), error);
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_hurts_itself_alone() {
    let node = Node::start();
    let mut f = node.bad();
    Arc::get_mut(&mut f).unwrap().timeout = Duration::from_secs(10);
    let body = value(&node.invoke(&f, json!("fork_bomb")).await.unwrap());
    // Its processes share the time it has: it may be over before the limit is met.
    let refused = body == "Resource temporarily unavailable";
    assert!(refused || body["errorType"] == "Sandbox.Timedout", "{body}");
    let python = node.function("python3.11", "app.handler", example("hello-python"));
    let answer = value(
        &node
            .invoke(&python, json!({ "name": "Ada" }))
            .await
            .unwrap(),
    );
    assert_eq!(answer["greeting"], "Hello, Ada!");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_of_log_is_cut_and_counted() {
    let node = Node::start();
    let mut f = node.bad();
    Arc::get_mut(&mut f).unwrap().timeout = Duration::from_secs(120);
    let outcome = node.invoke(&f, json!("shout")).await.unwrap();
    assert_eq!(value(&outcome), "done");
    assert!(outcome.log_tail.len() <= 4096);
    let stored = node.agent.stored_logs("f", 1_000_000).await;
    let bytes: usize = stored.iter().map(|record| record.message.len()).sum();
    assert!(bytes < 64 << 20, "{bytes}");
    let told = |message: &str| message.starts_with("LOGS_DROPPED Dropped Bytes: ");
    assert!(stored.iter().any(|record| told(&record.message)));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_does_not_load_says_why() {
    let node = Node::start();
    for (name, text, runtime, handler, error_type) in [
        (
            "a.py",
            "import nothing_here",
            "python3.11",
            "a.handler",
            "Runtime.ImportModuleError",
        ),
        (
            "b.py",
            "def handler(:",
            "python3.11",
            "b.handler",
            "Runtime.UserCodeSyntaxError",
        ),
        (
            "c.py",
            "x = 1",
            "python3.11",
            "c.handler",
            "Runtime.HandlerNotFound",
        ),
        (
            "d.py",
            "raise KeyError(1)",
            "python3.11",
            "d.handler",
            "KeyError",
        ),
        (
            "e.js",
            "let let = 1",
            "nodejs20.x",
            "e.handler",
            "Runtime.UserCodeSyntaxError",
        ),
        (
            "f.js",
            "exports.x = 1",
            "nodejs20.x",
            "f.handler",
            "Runtime.HandlerNotFound",
        ),
        (
            "g.py",
            "import os; os._exit(3)",
            "python3.11",
            "g.handler",
            "Runtime.ExitError",
        ),
        (
            "h.txt",
            "",
            "provided.al2023",
            "",
            "Runtime.InvalidEntrypoint",
        ),
    ] {
        let f = node.written(name, text, runtime, handler);
        let body = value(&node.invoke(&f, json!({})).await.unwrap());
        assert_eq!(body["errorType"], error_type, "{name}: {body}");
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_leaves_the_instance_usable() {
    let node = Node::start();
    let f = node.written(
        "nap.py",
        "import time\nn = 0\ndef handler(e, c):\n    global n\n    n += 1\n    time.sleep(e)\n    return n\n",
        "python3.11",
        "nap.handler",
    );
    assert_eq!(value(&node.invoke(&f, json!(0)).await.unwrap()), 1);
    let hung_up = tokio::time::timeout(Duration::from_millis(100), node.invoke(&f, json!(1))).await;
    assert!(hung_up.is_err());
    // It runs to its end; the next event finds the instance as soon as that has come, or a new one.
    let next = node.invoke(&f, json!(0)).await.unwrap();
    assert!([json!(1), json!(3)].contains(&value(&next)));
    node.end().await;
}
