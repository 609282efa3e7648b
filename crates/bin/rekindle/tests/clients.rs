//! The clients that people use, against `rekindle serve` with functions in real sandboxes; and functions that bring
//! AWS's own runtime clients.

mod place;
mod server;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use place::{root, set_up, target};
use server::{Form, Server};

/// Runs a client with nothing of this machine's AWS settings, and expects it to say `ok`.
fn drive(form: Form, program: &Path, arguments: &[&Path]) {
    set_up("tests/setup.sh", &[]);
    let server = Server::of(form, "asked");
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .env("AWS_ENDPOINT_URL", &server.endpoint)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("NODE_CLIENTS", target().join("node-clients"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains(": ok"),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn boto3(form: Form) {
    let script = root().join("tests/clients/lambda_boto3.py");
    drive(form, &target().join("venv/bin/python"), &[&script]);
}

#[test]
fn boto3_drives_every_operation() {
    boto3(Form::Serve);
}

#[test]
fn boto3_drives_every_operation_on_two_nodes() {
    boto3(Form::TwoNodes(8));
}

fn awscli(form: Form) {
    let script = root().join("tests/clients/lambda_awscli.sh");
    let aws = target().join("venv/bin/aws");
    drive(form, Path::new("sh"), &[&script, &aws]);
}

#[test]
fn awscli_drives_every_operation() {
    awscli(Form::Serve);
}

#[test]
fn awscli_drives_every_operation_on_two_nodes() {
    awscli(Form::TwoNodes(8));
}

fn sdk_for_javascript(form: Form) {
    let script = root().join("tests/clients/lambda_sdk.mjs");
    drive(form, Path::new("node"), &[&script]);
}

#[test]
fn sdk_for_javascript_drives_every_operation() {
    sdk_for_javascript(Form::Serve);
}

#[test]
fn sdk_for_javascript_drives_every_operation_on_two_nodes() {
    sdk_for_javascript(Form::TwoNodes(8));
}

#[test]
fn awslambdaric_runs_as_a_provided_function() {
    provided("awslambdaric", "LookupError");
}

#[test]
fn lambda_runtime_runs_as_a_provided_function() {
    // The name that lambda_runtime gives to an error that is only a text.
    provided(
        "lambda-runtime",
        "&alloc::boxed::Box<dyn core::error::Error + core::marker::Send + core::marker::Sync>",
    );
}

/// Deploys a function with a runtime client of AWS's and calls it cold, warm, and so that it fails.
fn provided(name: &str, error_type: &str) {
    let functions = target().join("guest-functions");
    set_up("guests/functions/build.sh", &[&functions]);
    let server = Server::with_snap_start("always");
    let directory = functions.join(name);
    let deployed = server.rekindle(&[
        "deploy",
        directory.to_str().unwrap(),
        "--name",
        name,
        "--runtime",
        "provided.al2023",
        "--handler",
        "app.handler",
        "--memory",
        "256",
        "--timeout",
        "30",
        "--env",
        r#"REKINDLE_WARM_UP=[{"n":0}]"#,
    ]);
    assert!(deployed.status.success(), "{deployed:?}");
    for event in [r#"{"n":1,"text":"grüße"}"#, "[1,2]", "null"] {
        let called = server.rekindle(&["invoke", name, event, "-o", "json"]);
        assert!(called.status.success(), "{called:?}");
        let body: serde_json::Value = serde_json::from_slice(&called.stdout).unwrap();
        assert_eq!(
            body["event"],
            serde_json::from_str::<serde_json::Value>(event).unwrap()
        );
        assert!(body["arn"].as_str().unwrap().ends_with(name), "{body}");
    }
    let failed = server.rekindle(&["invoke", name, r#"{"raise":"asked to"}"#, "-o", "json"]);
    let told = String::from_utf8_lossy(&failed.stdout);
    assert!(!failed.status.success(), "{told}");
    let answer: serde_json::Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!(answer["errorMessage"], "asked to", "{told}");
    assert_eq!(answer["errorType"], error_type, "{told}");
    let again = server.rekindle(&["invoke", name, "{}"]);
    assert!(again.status.success(), "{again:?}");
}

const COUNTING: &str = "import os\ncount = 0\n\
    def handler(event, context):\n    global count\n    count += 1\n\
    \x20   return ['VERSION', count, 'AWS_LAMBDA_LOG_STREAM_NAME' in os.environ]\n";

/// Every function has its snapshot when it is deployed, and does what it did without.
#[test]
fn functions_that_are_all_to_start_from_snapshots_are_deployed_updated_and_kept_apart() {
    let server = Server::with_snap_start("always");
    let directory = tempfile::tempdir().unwrap();
    let deploy = |version: &str, more: &[&str]| {
        let code = COUNTING.replace("VERSION", version);
        std::fs::write(directory.path().join("app.py"), code).unwrap();
        let code = directory.path().to_str().unwrap();
        let all = ["deploy", code, "--name", "counting", "-o", "json"];
        let out = server.rekindle(&[&all[..], more].concat());
        assert!(out.status.success(), "{out:?}");
        serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap()
    };
    let invoke = || {
        let out = server.rekindle(&["invoke", "counting"]);
        assert!(out.status.success(), "{out:?}");
        serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap()
    };
    let new = [
        "--runtime",
        "python3.11",
        "--handler",
        "app.handler",
        "-e",
        "AB=c",
    ];
    let deployed = deploy("one", &new);
    assert_eq!(
        (&deployed["State"], &deployed["LastUpdateStatus"]),
        (&"Active".into(), &"Successful".into())
    );
    assert_eq!(deployed["StateReason"], serde_json::Value::Null);
    let first = server.rekindle(&["invoke", "counting", "--timing"]);
    let stages = String::from_utf8_lossy(&first.stderr);
    assert!(
        stages.contains("restore ") && !stages.contains("exec"),
        "{stages}"
    );
    assert_eq!(first.stdout, b"[\"one\", 1, true]\n");
    assert_eq!(invoke(), serde_json::json!(["one", 2, true]));
    let updated = deploy("two", &["--fresh"]);
    assert_eq!(updated["LastUpdateStatus"], "Successful");
    let variables = serde_json::json!({ "AB": "c", "REKINDLE_FRESH": "true" });
    assert_eq!(updated["Environment"]["Variables"], variables);
    assert_eq!(invoke(), serde_json::json!(["two", 1, true]));
    assert_eq!(invoke(), serde_json::json!(["two", 1, true]));
}

/// A runtime that has never heard of snapshots.
const OWN_RUNTIME: &str = "#!/usr/bin/python3\nimport http.client, os\n\
    api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])\ncount = 0\n\
    def call(method, path, body=None):\n    api.request(method, '/2018-06-01/runtime/invocation/' + path, body)\n\
    \x20   answer = api.getresponse()\n    return answer.getheader('Lambda-Runtime-Aws-Request-Id'), answer.read()\n\
    while True:\n    id, event = call('GET', 'next')\n    count += 1\n    call('POST', id + '/response', b'%d' % count)\n";

#[test]
fn a_runtime_that_knows_nothing_of_snapshots_is_captured_warm() {
    let server = Server::with_snap_start("always");
    let directory = tempfile::tempdir().unwrap();
    let bootstrap = directory.path().join("bootstrap");
    std::fs::write(&bootstrap, OWN_RUNTIME).unwrap();
    std::fs::set_permissions(&bootstrap, std::fs::Permissions::from_mode(0o755)).unwrap();
    let code = directory.path().to_str().unwrap();
    let runtime = [
        "--runtime",
        "provided.al2023",
        "--handler",
        "any",
        "--fresh",
    ];
    let warm_up = ["--env", r#"REKINDLE_WARM_UP=[{"n": 1}, null]"#];
    let deploy = ["deploy", code, "--name", "own", "-o", "json"];
    let out = server.rekindle(&[&deploy[..], &runtime, &warm_up].concat());
    assert!(out.status.success(), "{out:?}");
    let deployed: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(deployed["StateReason"], serde_json::Value::Null);
    // Every clone has handled two events, and no other than those.
    for _ in 0..3 {
        let called = server.rekindle(&["invoke", "own", "--timing"]);
        let stages = String::from_utf8_lossy(&called.stderr);
        assert_eq!(called.stdout, b"3\n", "{stages}");
        assert!(
            stages.contains("restore ") && !stages.contains("exec"),
            "{stages}"
        );
    }
}
