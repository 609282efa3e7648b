//! Functions that begin in a template of their runtime: what they see, what is stored of them, and who does not.

mod watched;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use watched::Server;

const PYTHON: &str = "
import os, sys, logging, random, subprocess
at_init = random.random()
logging.getLogger().setLevel('INFO')
def handler(event, context):
    logging.info('from the function')
    return {
        'argv': sys.argv, 'path': sys.path, 'cwd': os.getcwd(), 'env': dict(os.environ), 'pid': os.getpid(),
        'child': dict(line.split('=', 1) for line in subprocess.check_output('env', text=True).splitlines()),
        'name': context.function_name, 'handlers': len(logging.getLogger().handlers), 'tmp': os.listdir('/tmp'),
        'mine': {'init': at_init, 'now': random.random()},
    }
";

const NODE: &str = "
const crypto = require('crypto');
const atInit = Math.random();
exports.handler = async (event, context) => ({
  argv: process.argv, execArgv: process.execArgv, cwd: process.cwd(), env: process.env, pid: process.pid,
  child: Object.fromEntries(require('child_process').execSync('env').toString().trim().split('\\n')
    .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)])),
  name: context.functionName, memory: require('v8').getHeapStatistics().heap_size_limit,
  mine: { init: atInit, now: Math.random(), uuid: crypto.randomUUID() },
});
";

fn server(data: &Path) -> Server {
    Server::start_with(data, &["--templates", "on"])
}

fn code(place: &Path, files: &[(&str, &str)]) -> std::path::PathBuf {
    let before = fs::read_dir(place).unwrap().count();
    let directory = place.join(format!("code-{before}"));
    fs::create_dir_all(&directory).unwrap();
    for (name, text) in files {
        fs::write(directory.join(name), text).unwrap();
    }
    directory
}

/// The snapshots on disk by the function that they are of; the template has no name.
fn snapshots(data: &Path) -> BTreeMap<String, (Value, u64)> {
    let ready = fs::read_dir(data.join("node/snapshots/ready")).unwrap();
    let manifests = ready.map(|entry| {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(path.join("manifest.json")).unwrap();
        let manifest = serde_json::from_str::<Value>(&text).unwrap()["manifest"].clone();
        let name = manifest["about"]["function"].as_str().unwrap().to_owned();
        let bytes = manifest["files"][0]["bytes"].as_u64().unwrap();
        (name, (manifest, bytes))
    });
    manifests.collect()
}

/// Without what is a function's or an instance's own.
fn common(mut body: Value) -> Value {
    for variables in ["env", "child"] {
        let variables = body[variables].as_object_mut().unwrap();
        for own in [
            "AWS_LAMBDA_FUNCTION_NAME",
            "AWS_LAMBDA_LOG_GROUP_NAME",
            "AWS_LAMBDA_LOG_STREAM_NAME",
            "_X_AMZN_TRACE_ID",
        ] {
            variables.remove(own);
        }
    }
    body.as_object_mut().unwrap().remove("name");
    body.as_object_mut().unwrap().remove("mine");
    body
}

fn a_function_from_a_template_is_as_one_without(
    runtime: &str,
    handler: &str,
    file: &str,
    text: &str,
) {
    let data = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir().unwrap();
    let code = code(place.path(), &[(file, text)]);
    let server = server(data.path());
    let own = ["--env", "TABLE=one"];
    server.deploy_in(
        runtime,
        handler,
        &code,
        &[&["--name", "one"][..], &own].concat(),
    );
    server.logged(&["snapshot ready", "function=\"\""]);
    for name in ["two", "three"] {
        server.deploy_in(
            runtime,
            handler,
            &code,
            &[&["--name", name][..], &own].concat(),
        );
        server.logged(&["a shell waits"]);
    }
    let one = server.invoke("one", &json!({}));
    let two = server.invoke("two", &json!({}));
    let three = server.invoke("three", &json!({}));
    for answer in [&one, &two, &three] {
        assert_eq!(answer.start, "restored", "{answer:?}");
    }
    assert_eq!(common(one.body.clone()), common(two.body.clone()));
    assert_eq!(two.body["name"], "two");
    assert_eq!(two.body["env"]["AWS_LAMBDA_FUNCTION_NAME"], "two");
    let mine = |answer: &watched::Answer| answer.body["mine"].as_object().unwrap().clone();
    for (key, value) in mine(&two) {
        assert_ne!(value, mine(&three)[&key], "{key}");
    }
    let all = snapshots(data.path());
    assert_eq!(all.len(), 4, "{:?}", all.keys());
    let (template, _) = &all[""];
    assert_eq!(all["one"].0["base"], Value::Null);
    for name in ["two", "three"] {
        let (manifest, bytes) = &all[name];
        assert_eq!(manifest["base"]["key"], template["key"]);
        assert!(*bytes < all["one"].1, "{name}: {bytes}");
    }
    // It is all there for the next server, too.
    let server = server.again();
    assert_eq!(server.invoke("two", &json!({})).start, "restored");
}

#[test]
fn a_python_function_from_a_template_is_as_one_without() {
    a_function_from_a_template_is_as_one_without("python3.11", "app.handler", "app.py", PYTHON);
}

#[test]
fn a_node_function_from_a_template_is_as_one_without() {
    a_function_from_a_template_is_as_one_without("nodejs20.x", "index.handler", "index.js", NODE);
}

#[test]
fn who_has_what_decides_before_its_code_is_loaded_is_what_it_would_be_without() {
    let data = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir().unwrap();
    let text = "
import sys, uuid
def handler(event, context):
    return [getattr(uuid, 'MINE', 'the usual'), sys.flags.optimize]
";
    let plain = code(place.path(), &[("app.py", text)]);
    let shadowing = code(
        place.path(),
        &[
            ("app.py", &format!("{text}\n")),
            ("uuid.py", "MINE = 'my own'"),
        ],
    );
    let server = server(data.path());
    server.deploy_in("python3.11", "app.handler", &plain, &["--name", "one"]);
    server.logged(&["snapshot ready", "function=\"\""]);
    server.deploy_in("python3.11", "app.handler", &plain, &["--name", "two"]);
    server.deploy_in(
        "python3.11",
        "app.handler",
        &shadowing,
        &["--name", "shadowing"],
    );
    let variables = ["--name", "optimized", "--env", "PYTHONOPTIMIZE=1"];
    server.deploy_in("python3.11", "app.handler", &plain, &variables);
    let answer = |name: &str| {
        let answer = server.invoke(name, &json!({}));
        assert_eq!(answer.start, "restored", "{name}");
        answer.body
    };
    assert_eq!(answer("one"), json!(["the usual", 0]));
    assert_eq!(answer("two"), json!(["the usual", 0]));
    assert_eq!(answer("shadowing"), json!(["my own", 0]));
    assert_eq!(answer("optimized"), json!(["the usual", 1]));
    let all = snapshots(data.path());
    assert_ne!(all["two"].0["base"], Value::Null);
    assert_eq!(all["optimized"].0["base"], Value::Null);
}

#[test]
fn without_its_template_a_function_starts_from_the_beginning() {
    let data = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir().unwrap();
    let code = code(
        place.path(),
        &[("app.py", "def handler(event, context): return 7")],
    );
    let server = server(data.path());
    server.deploy_in("python3.11", "app.handler", &code, &["--name", "one"]);
    server.logged(&["snapshot ready", "function=\"\""]);
    server.deploy_in("python3.11", "app.handler", &code, &["--name", "two"]);
    let key = snapshots(data.path())[""].0["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let image = data
        .path()
        .join(format!("node/snapshots/ready/{key}/snapshot"));
    let mut bytes = fs::read(&image).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&image, bytes).unwrap();
    let server = server.again();
    let answer = server.invoke("two", &json!({}));
    assert_eq!((answer.start.as_str(), answer.body), ("cold", json!(7)));
    server.logged(&["quarantine", "that it lies over is no good"]);
    assert_eq!(server.invoke("one", &json!({})).start, "restored");
}

#[test]
fn a_function_that_cannot_be_loaded_says_so_from_a_template_too() {
    let data = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir().unwrap();
    let good = code(
        place.path(),
        &[("app.py", "def handler(event, context): return 7")],
    );
    let bad = code(
        place.path(),
        &[("app.py", "raise RuntimeError('as it is loaded')")],
    );
    let dies = code(place.path(), &[("app.py", "import os; os._exit(3)")]);
    let server = server(data.path());
    server.deploy_in("python3.11", "app.handler", &good, &["--name", "one"]);
    server.logged(&["snapshot ready", "function=\"\""]);
    for (name, code, reason) in [
        ("bad", &bad, "as it is loaded"),
        ("dies", &dies, "Runtime.ExitError"),
    ] {
        server.deploy(code, &["--name", name]);
        let configuration = server.configuration(name);
        assert_eq!(
            configuration["StateReasonCode"], "FunctionError",
            "{configuration}"
        );
        let told = configuration["StateReason"].as_str().unwrap();
        assert!(told.contains(reason), "{told}");
    }
}
