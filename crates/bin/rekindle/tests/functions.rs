//! Functions on an agent, without the HTTP server: interpreters, bootstraps and sandboxes are the real ones.

mod agent;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent::{Node, value};
use base_eventually::eventually_in_task;
use node_agent::GroupState;
use proto_node::{Capacity as _, InvokeError, Logs as _, SnapStart, Stage, StartKind};
use serde_json::json;

fn example(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples");
    root.join(name).canonicalize().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_answer_cold_and_warm() {
    let node = Node::start();
    let python = node.function(
        "python3.11",
        "app.handler",
        node.copy(&example("hello-python")),
    );
    let nodejs = node.function(
        "nodejs20.x",
        "index.handler",
        node.copy(&example("hello-node")),
    );
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
    let path = node.directory_of(&f.code).join("bootstrap");
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
    let path = node.directory_of(&f.code).join("bootstrap");
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
    node.agent.drain(Duration::from_secs(5)).await;
    assert_eq!(node.agent.instances(), 0);
    assert!(matches!(
        node.invoke(&f, json!(1)).await,
        Err(InvokeError::ShuttingDown)
    ));
    // With it goes the process that sandboxes are made from.
    drop(node);
    let is_ours = |p: &Process| {
        ours.iter()
            .any(|o| (o.pid, o.started) == (p.pid, p.started))
    };
    eventually_in_task("its processes have ended", async || {
        !processes().any(|process| is_ours(&process))
    })
    .await;
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

/// The part of the processors that each sandbox process of this agent has: `cpu.shares` of its own control group.
fn weights(name: &str) -> Vec<u64> {
    let weight = |process: &Path| -> Option<u64> {
        let comm = std::fs::read_to_string(process.join("comm")).ok()?;
        let status = std::fs::read_to_string(process.join("status")).ok()?;
        let ours = format!("PPid:\t{}\n", std::process::id());
        let groups = std::fs::read_to_string(process.join("cgroup")).ok()?;
        let group = groups.lines().find_map(|line| line.split_once(":cpu:"))?.1;
        let shares = Path::new("/sys/fs/cgroup/cpu").join(&group[1..]);
        let shares = std::fs::read_to_string(shares.join("cpu.shares")).ok()?;
        (comm.trim() == name && status.contains(&ours)).then(|| shares.trim().parse().ok())?
    };
    let processes = std::fs::read_dir("/proc").unwrap();
    let mut weights: Vec<u64> = processes
        .filter_map(|process| weight(&process.unwrap().path()))
        .collect();
    weights.sort_unstable();
    weights
}

/// An instance is favoured by the processors until its first answer, and weighs by its memory then.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_favoured_until_it_has_answered() {
    let node = Node::start();
    if !matches!(node.agent.control_groups(), GroupState::InForce(held) if held.contains("cpu/v1"))
    {
        eprintln!("not tested: no control groups of version 1 with weights");
        return node.end().await;
    }
    eventually_in_task("the zygote is in the server's group", async || {
        weights("zygote") == [102_400]
    })
    .await;
    let python = node.function(
        "python3.11",
        "app.handler",
        node.copy(&example("hello-python")),
    );
    node.invoke(&python, json!({ "name": "Ada" }))
        .await
        .unwrap();
    // 512 MB are four times the smallest function. What is made ahead is favoured.
    eventually_in_task("it weighs by its memory", async || {
        weights("sandbox").first() == Some(&4096)
    })
    .await;
    node.end().await;
}

/// A promise that nobody waits for fails after its event was answered: whatever it ends, it is the failure of no event but
/// the one during which it happens, and a fresh instance takes the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_promise_that_fails_later_fails_no_event_but_the_one_that_runs() {
    let node = Node::start();
    let program = "let events = 0;\nasync function lost() { throw new Error('Lost'); }\n\
        exports.handler = async (event) => { if (event.how) setTimeout(lost, 10); return (events += 1); };\n";
    let f = node.written("late.js", program, "nodejs20.x", "late.handler");
    for _ in 0..4 {
        node.invoke(&f, json!({ "how": 1 })).await.unwrap();
        eventually_in_task("an instance has ended of it", async || {
            let outcome = node.invoke(&f, json!({})).await.unwrap();
            let answer = value(&outcome);
            match answer.get("errorType") {
                Some(kind) => {
                    assert_eq!(kind, "Runtime.UnhandledPromiseRejection", "{answer}");
                    true
                }
                None => answer == json!(1),
            }
        })
        .await;
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_utf8_is_still_json() {
    let node = Node::start();
    let f = node.python(
        "half = b'caf\\x80'.decode('utf-8', 'surrogateescape')\n\
         class Mute(Exception):\n    def __str__(self): raise KeyError('no')\n\
         def handler(event, context):\n    print(half)\n    if event == 1: raise ValueError(half)\n    \
             if event == 2: raise Mute\n    return {'name': half}\n",
    );
    // An answer is JSON in UTF-8 (RFC 8259): half characters are escapes, which this parser refuses as text.
    let raw = |outcome: &proto_node::InvokeOutcome| match &outcome.result {
        proto_node::InvokeResult::Success(body) => body.clone(),
        proto_node::InvokeResult::Fault(fault) => fault.body.clone(),
    };
    let good = node.invoke(&f, json!(0)).await.unwrap();
    assert_eq!(&raw(&good)[..], br#"{"name": "caf\udc80"}"#);
    let failed = raw(&node.invoke(&f, json!(1)).await.unwrap());
    let failed = std::str::from_utf8(&failed).unwrap();
    assert!(
        failed.contains(r#""errorMessage": "caf\udc80""#),
        "{failed}"
    );
    let mute = node.invoke(&f, json!(2)).await.unwrap();
    assert_eq!(
        (&value(&mute)["errorType"], mute.start),
        (&json!("Mute"), StartKind::Warm)
    );
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_record_stays_one_record() {
    let node = Node::start();
    let f = node.python("def handler(event, context): print('{' + 'A' * event + '}')\n");
    for length in [60_000, 250_000] {
        node.invoke(&f, json!(length)).await.unwrap();
    }
    let stored = node.agent.stored_logs("f", 100).await;
    let lengths: Vec<_> = stored
        .iter()
        .map(|record| record.message.len())
        .filter(|length| *length > 1000)
        .collect();
    assert_eq!(lengths, [60_002, 250_002]);
    node.end().await;
}
