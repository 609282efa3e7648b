//! Real programs that are captured and restored: what they had before the snapshot works in each clone.

mod place;
mod watched;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use place::{set_up, target};
use serde_json::{Value, json};
use watched::Server;

/// Calls a function that answers with how many calls it has had since its snapshot, and the event: a clone, the same
/// clone again, and a clone made by a server that finds the snapshot on disk.
fn counts(runtime: &str, handler: &str, code: &Path, more: &[&str], first: u32) {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    server.deploy_in(runtime, handler, code, &[&["--name", "f"], more].concat());
    for _ in 0..2 {
        for (start, count) in [
            ("restored", first),
            ("warm", first + 1),
            ("warm", first + 2),
        ] {
            let event = json!({ "text": "grüße", "count": count });
            let answer = server.invoke("f", &event);
            assert_eq!(answer.body, json!([count, event]));
            assert_eq!(answer.start, start);
        }
        server = server.again();
    }
    assert_eq!(server.quarantined(), Vec::<String>::new());
}

fn written(directory: &Path, name: &str, text: &str) -> PathBuf {
    fs::create_dir_all(directory).unwrap();
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Hands events to an HTTP server, over one connection that is there before the snapshot.
const ADAPTER: &str = r#"#!/usr/bin/python3
import http.client, os, subprocess
server = subprocess.Popen(SERVER, stdout=subprocess.PIPE)
assert server.stdout.readline() == b'listening\n'
own = http.client.HTTPConnection('127.0.0.1', 8080)
api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
def call(connection, method, path, body=None):
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.headers, answer.read()
call(own, 'POST', '/', b'"warm"')
while True:
    headers, event = call(api, 'GET', '/2018-06-01/runtime/invocation/next')
    answer = call(own, 'POST', '/', event)[1]
    call(api, 'POST', f"/2018-06-01/runtime/invocation/{headers['Lambda-Runtime-Aws-Request-Id']}/response", answer)
"#;

fn built() -> PathBuf {
    let out = target().join("guest-programs");
    set_up("guests/programs/build.sh", &[&out]);
    out
}

#[test]
fn a_go_http_server() {
    let place = tempfile::tempdir().unwrap();
    let text = ADAPTER.replace("SERVER", "['/var/task/go-server']");
    written(place.path(), "bootstrap", &text);
    fs::copy(built().join("go-server"), place.path().join("go-server")).unwrap();
    counts(
        "provided.al2023",
        "none",
        place.path(),
        &["--memory", "256"],
        2,
    );
}

#[test]
fn a_jvm_http_server() {
    let place = tempfile::tempdir().unwrap();
    let text = ADAPTER.replace(
        "SERVER",
        "['java', '-XX:-UsePerfData', '-Xmx64m', '-cp', '/var/task', 'Server']",
    );
    written(place.path(), "bootstrap", &text);
    for entry in fs::read_dir(built().join("java-server")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, place.path().join(path.file_name().unwrap())).unwrap();
    }
    counts(
        "provided.al2023",
        "none",
        place.path(),
        &["--memory", "1024"],
        2,
    );
}

#[test]
fn nodejs_with_workers() {
    let place = tempfile::tempdir().unwrap();
    let text = r#"
import { Worker } from 'node:worker_threads';
const program = `const { parentPort } = require('node:worker_threads'); let count = 0;
    parentPort.on('message', (event) => setTimeout(() => parentPort.postMessage([++count, event]), 1));`;
const workers = [1, 2, 3, 4].map(() => new Worker(program, { eval: true }));
const ask = (worker, event) => new Promise((resolve, reject) => {
    worker.once('message', resolve); worker.once('error', reject); worker.postMessage(event);
});
const all = async (event) => {
    const answers = await Promise.all(workers.map((worker) => ask(worker, event)));
    if (new Set(answers.map((answer) => JSON.stringify(answer))).size !== 1) throw new Error(JSON.stringify(answers));
    return answers[0];
};
await all('warm');
export const handler = all;
"#;
    written(place.path(), "index.mjs", text);
    counts(
        "nodejs20.x",
        "index.handler",
        place.path(),
        &["--memory", "512"],
        2,
    );
}

#[test]
fn python_with_children() {
    let place = tempfile::tempdir().unwrap();
    let text = r#"
import json, multiprocessing, subprocess, sys
loop = "import sys, json\nfor count, line in enumerate(sys.stdin, 1): print(json.dumps([count, json.loads(line)]), flush=True)"
child = subprocess.Popen([sys.executable, '-uc', loop], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
ours, theirs = multiprocessing.Pipe()
def serve(pipe):
    while True: pipe.send(pipe.recv())
other = multiprocessing.get_context('fork').Process(target=serve, args=(theirs,), daemon=True)
other.start()
def ask(event):
    ours.send(event)
    print(json.dumps(ours.recv()), file=child.stdin, flush=True)
    return json.loads(child.stdout.readline())
ask('warm')
def handler(event, context):
    # A child made after the snapshot, and the one made before, which is still ours to wait for.
    said = subprocess.run(['cat'], input=json.dumps(event), capture_output=True, text=True, check=True)
    assert child.poll() is None and other.is_alive()
    return ask(json.loads(said.stdout))
"#;
    written(place.path(), "app.py", text);
    counts(
        "python3.11",
        "app.handler",
        place.path(),
        &["--memory", "256"],
        2,
    );
}

#[test]
fn awslambdaric() {
    let functions = target().join("guest-functions");
    set_up("guests/functions/build.sh", &[&functions]);
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let code = functions.join("awslambdaric");
    server.deploy_in(
        "provided.al2023",
        "app.handler",
        &code,
        &["--memory", "256"],
    );
    for _ in 0..2 {
        for start in ["restored", "warm"] {
            let event: Value = json!({ "text": "grüße", "start": start });
            let answer = server.invoke("awslambdaric", &event);
            assert_eq!(
                (&answer.body["event"], answer.start.as_str()),
                (&event, start)
            );
        }
        server = server.again();
    }
}
