//! Functions on an agent, without the HTTP server: interpreters, bootstraps and sandboxes are the real ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use node_agent::{Agent, AgentConfig, AgentError, SnapshotsError};
use node_snapshots::StoreError;
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
        Self::within(tempfile::tempdir().unwrap())
    }

    /// Another agent over what the one before kept.
    fn within(directory: tempfile::TempDir) -> Self {
        let mut config = AgentConfig::new(directory.path().join("node")).unwrap();
        config.sandbox_command = vec![env!("CARGO_BIN_EXE_rekindle").into(), "sandbox".into()];
        // Tests of other packages share the machine: a start may be slow.
        config.pool.init_timeout = Duration::from_secs(60);
        loop {
            match Agent::start(config.clone()) {
                // The last tasks of the one before still hold the store.
                Err(AgentError::Snapshots(SnapshotsError::Store(StoreError::Locked(_)))) => {
                    std::thread::yield_now();
                }
                agent => {
                    let agent = agent.unwrap();
                    return Self { agent, directory };
                }
            }
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
            environment: BTreeMap::from([("OWN".to_owned(), "value".to_owned())]),
            code: CodeLocation {
                directory: code,
                sha256: String::new(),
            },
            snap_start: Default::default(),
            isolation: Default::default(),
            log_group: "/aws/lambda/f".into(),
        })
    }

    fn python(&self, code: &str) -> Arc<FunctionSpec> {
        self.written("app.py", code, "python3.11", "app.handler")
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

    /// Ends every instance; what comes next starts anew.
    async fn again(self) -> Self {
        self.agent
            .shutdown(Instant::now() + Duration::from_secs(5))
            .await;
        let Self { agent, directory } = self;
        drop(agent);
        Self::within(directory)
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
        hooks.register_before_snapshot(lambda: said.append(os.environ.get('KEY')))\n\
        def handler(e, c):\n    return [said + [os.environ['KEY']], os.environ['AWS_LAMBDA_INITIALIZATION_TYPE'], c.log_stream_name, e]\n";
    let nodejs = "const crypto = require('crypto'); const { registerBeforeSnapshot, registerAfterRestore } = require('rekindle');\n\
        const said = []; registerBeforeSnapshot(() => said.push('before'));\n\
        registerBeforeSnapshot(() => said.push(process.env.KEY ?? null)); registerAfterRestore(() => said.push('after'));\n\
        exports.handler = async (e, c) => { crypto.randomBytes(16); Math.random();\n\
        return [[...said, process.env.KEY], process.env.AWS_LAMBDA_INITIALIZATION_TYPE, c.logStreamName ?? null, e]; };\n";
    for (name, text, runtime, handler) in [
        ("app.py", python, "python3.11", "app.handler"),
        ("index.js", nodejs, "nodejs20.x", "index.handler"),
    ] {
        let mut f = Arc::unwrap_or_clone(node.written(name, text, runtime, handler));
        f.snap_start = SnapStart::On;
        let variables = [("KEY", "s3cr3t-value"), ("REKINDLE_SECRETS", "KEY")];
        f.environment = variables.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let f = Arc::new(f);
        for event in [1, 2] {
            let outcome = node.invoke(&f, json!(event)).await.unwrap();
            let mut told = value(&outcome);
            // That of this very instance.
            let stream = told[2].take();
            assert!(stream.as_str().is_some_and(|s| s.contains("[$LATEST]")));
            let expected = json!([
                [null, "before", "after", "s3cr3t-value"],
                "snap-start",
                null,
                event
            ]);
            assert_eq!(told, expected);
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

/// A module that asks to be captured while it is loaded, again while its runtime may ask for the first
/// event at any time, and again while it works on an event.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_asks_for_a_snapshot_where_there_are_none_goes_on() {
    let node = Node::start();
    let python = "import errno, os, threading\nPATH = '/proc/rekindle/snapshot'\n\
        def ask():\n    try:\n        with open(PATH, 'wb', 0) as f: said = f.write(b'now')\n    \
        except OSError as e: said = errno.errorcode[e.errno]\n    \
        with open(PATH) as f: return [said, f.read().strip()]\n\
        first, other = ask(), []\n\
        t = threading.Thread(target=lambda: other.extend(ask())); t.start()\n\
        def handler(e, c):\n    t.join(); return [first, other, ask()]\n";
    let nodejs = "const fs = require('fs'), PATH = '/proc/rekindle/snapshot';\n\
        const word = () => fs.readFileSync(PATH, 'utf8').trim();\n\
        function ask() { let said = 3; try { fs.writeFileSync(PATH, 'now'); } catch (e) { said = e.code; } return [said, word()]; }\n\
        const later = () => fs.promises.writeFile(PATH, 'now').then(() => 3, e => e.code).then(said => [said, word()]);\n\
        const first = ask(), other = later();\n\
        exports.handler = async () => [first, await other, ask()];\n";
    for (name, text, runtime, handler) in [
        ("app.py", python, "python3.11", "app.handler"),
        ("index.js", nodejs, "nodejs20.x", "index.handler"),
    ] {
        let f = node.written(name, text, runtime, handler);
        let outcome = node.invoke(&f, json!(1)).await.unwrap();
        // The name that both have for EOPNOTSUPP.
        let refused = json!(["ENOTSUP", "none"]);
        assert_eq!(value(&outcome), json!([refused, refused, refused]));
    }
    node.end().await;
}

/// The original goes on from where it asked, and each clone begins there, with random numbers of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_captured_where_it_asks() {
    let python = "import random, sys, uuid\nfrom snapshot_restore_py import snapshot_here\nPATH = '/proc/rekindle/snapshot'\n\
        word = lambda: open(PATH).read().strip()\nloaded = random.random()\n\
        here = [word(), snapshot_here(), word()]\ndrawn = [random.random(), uuid.uuid4().hex]\n\
        def handler(e, c):\n    return [here, snapshot_here(), loaded, drawn, e]\n";
    let nodejs = "const { snapshotHere } = require('rekindle');\n\
        const word = () => require('fs').readFileSync('/proc/rekindle/snapshot', 'utf8').trim();\n\
        const loaded = Math.random(), here = [word(), snapshotHere(), word()], drawn = [Math.random(), Math.random()];\n\
        exports.handler = async (e) => [here, snapshotHere(), loaded, drawn, e];\n";
    let mut node = Node::start();
    for (name, text, runtime, handler) in [
        ("app.py", python, "python3.11", "app.handler"),
        ("index.js", nodejs, "nodejs20.x", "index.handler"),
    ] {
        let mut f = Arc::unwrap_or_clone(node.written(name, text, runtime, handler));
        f.snap_start = SnapStart::On;
        let f = Arc::new(f);
        let mut answers = Vec::new();
        for (start, word) in [
            (StartKind::Cold, "captured"),
            (StartKind::Restored, "restored"),
            (StartKind::Restored, "restored"),
        ] {
            let outcome = node.invoke(&f, json!(1)).await.unwrap();
            let told = value(&outcome);
            assert_eq!(told[0], json!(["none", word, word]), "{told}");
            assert_eq!((outcome.start, &told[1]), (start, &json!("none")), "{told}");
            answers.push(told);
            while !node.agent.has_snapshot(&f) {
                tokio::task::yield_now().await;
            }
            node = node.again().await;
        }
        for (at, one) in answers.iter().enumerate() {
            assert_eq!(one[2], answers[0][2]);
            for other in &answers[..at] {
                assert!(
                    one[3][0] != other[3][0] && one[3][1] != other[3][1],
                    "{answers:?}"
                );
            }
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
        (json!([1, { "a": 1 }, "value", "f", "512"]), StartKind::Cold)
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
    use std::os::unix::fs::PermissionsExt;
    let node = Node::start();
    let f = node.written(
        "index.mjs",
        "export const handler = async (e) => [e, process.env.OWN];",
        "nodejs20.x",
        "index.handler",
    );
    assert_eq!(
        value(&node.invoke(&f, json!("x")).await.unwrap()),
        json!(["x", "value"])
    );

    let script = "#!/bin/sh\necho starting\nexit 9\n";
    let f = node.written("bootstrap", script, "provided.al2023", "");
    let path = f.code.directory.join("bootstrap");
    let refused = node.invoke(&f, json!(1)).await.unwrap();
    assert_eq!(
        value(&refused)["errorType"],
        "Runtime.InvalidEntrypoint",
        "it is not executable"
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let failed = node.invoke(&f, json!(1)).await.unwrap();
    assert_eq!(
        value(&failed)["errorMessage"],
        "RequestId: 8476a536-e9f4-11e8-9739-2dfe598c3fcd Error: Runtime exited with error: exit status 9"
    );
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
