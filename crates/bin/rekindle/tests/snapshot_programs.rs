//! Real programs that are captured and restored: what they had before the snapshot works in each clone.

mod place;
mod watched;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use place::{set_up, target};
use serde_json::{Value, json};
use watched::Server;

/// A function that answers with how many calls it has had, and the event. It called itself once before its snapshot.
struct Program {
    place: tempfile::TempDir,
    runtime: &'static str,
    handler: &'static str,
    memory: &'static str,
}

impl Program {
    fn new(
        place: tempfile::TempDir,
        runtime: &'static str,
        handler: &'static str,
        memory: &'static str,
    ) -> Program {
        Program {
            place,
            runtime,
            handler,
            memory,
        }
    }

    fn deploy(&self, server: &Server) {
        let more = ["--name", "f", "--memory", self.memory];
        server.deploy_in(self.runtime, self.handler, self.place.path(), &more);
    }
}

/// A clone, and the same clone again.
fn calls(server: &Server) {
    for (start, count) in [("restored", 2), ("warm", 3), ("warm", 4)] {
        let event = json!({ "text": "grüße", "count": count });
        let answer = server.invoke("f", &event);
        assert_eq!(answer.body, json!([count, event]));
        assert_eq!(answer.start, start);
    }
}

/// Calls it in a clone, and in one made by a server that finds the snapshot on disk.
fn counts(program: &Program) {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    program.deploy(&server);
    for _ in 0..2 {
        calls(&server);
        server = server.again();
    }
    assert_eq!(server.quarantined(), Vec::<String>::new());
}

/// Captures it on each platform, and calls a clone on the other one and then on the first.
fn changes_platform(program: &Program) {
    for (first, other) in [("process", "kvm"), ("kvm", "process")] {
        let data = tempfile::tempdir().unwrap();
        let on = |platform| Server::start_with(data.path(), &["--platform", platform]);
        let mut server = on(first);
        program.deploy(&server);
        let ready = server.ready();
        for platform in [other, first] {
            server.kill();
            server = on(platform);
            calls(&server);
            assert_eq!(server.ready(), ready, "from {first} to {platform}");
            assert_eq!(server.quarantined(), Vec::<String>::new());
        }
    }
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

fn go_server() -> Program {
    let place = tempfile::tempdir().unwrap();
    let text = ADAPTER.replace("SERVER", "['/var/task/go-server']");
    written(place.path(), "bootstrap", &text);
    fs::copy(built().join("go-server"), place.path().join("go-server")).unwrap();
    Program::new(place, "provided.al2023", "none", "256")
}

fn jvm_server() -> Program {
    let place = tempfile::tempdir().unwrap();
    let text = ADAPTER.replace(
        "SERVER",
        "['java', '-Xmx64m', '-cp', '/var/task', 'Server']",
    );
    written(place.path(), "bootstrap", &text);
    for entry in fs::read_dir(built().join("java-server")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, place.path().join(path.file_name().unwrap())).unwrap();
    }
    Program::new(place, "provided.al2023", "none", "1024")
}

fn node_workers() -> Program {
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
    Program::new(place, "nodejs20.x", "index.handler", "512")
}

fn python_children() -> Program {
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
    Program::new(place, "python3.11", "app.handler", "256")
}

#[test]
fn a_go_http_server() {
    counts(&go_server());
}

#[test]
fn a_jvm_http_server() {
    counts(&jvm_server());
}

#[test]
fn nodejs_with_workers() {
    counts(&node_workers());
}

#[test]
fn python_with_children() {
    counts(&python_children());
}

#[test]
fn a_go_http_server_goes_from_platform_to_platform_on_kvm() {
    changes_platform(&go_server());
}

#[test]
fn a_jvm_http_server_goes_from_platform_to_platform_on_kvm() {
    changes_platform(&jvm_server());
}

#[test]
fn nodejs_with_workers_goes_from_platform_to_platform_on_kvm() {
    changes_platform(&node_workers());
}

#[test]
fn python_with_children_goes_from_platform_to_platform_on_kvm() {
    changes_platform(&python_children());
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

/// Each thread waits in a call of its own when the snapshot is taken, and is let go in the clone.
#[test]
fn threads_that_wait_in_twenty_different_calls() {
    let place = tempfile::tempdir().unwrap();
    let text = r#"
import os, queue, select, signal, socket, subprocess, threading
waits = []
def wait(call, release):
    begun = threading.Event()
    said = []
    def run():
        begun.set(); said.append(call())
    thread = threading.Thread(target=run); thread.start(); begun.wait()
    waits.append((thread, release, said))
def piped(call):
    r, w = os.pipe()
    wait(lambda: call(r), lambda _: os.write(w, b'x'))
def filled(fd, other):
    os.set_blocking(fd, False)
    try:
        while True: os.write(fd, bytes(4096))
    except BlockingIOError: os.set_blocking(fd, True)
    def drain(thread):
        os.set_blocking(other, False)
        while thread.is_alive():
            try: os.read(other, 65536)
            except BlockingIOError: os.sched_yield()
    wait(lambda: os.write(fd, b'last'), drain)
def epolled(r):
    e = select.epoll(); e.register(r, select.EPOLLIN); return len(e.poll(3600))
def polled(r):
    p = select.poll(); p.register(r, select.POLLIN); return len(p.poll(3600000))
piped(lambda r: os.read(r, 1))
piped(lambda r: os.readv(r, [bytearray(1)]))
piped(lambda r: len(select.select([r], [], [], 3600)[0]))
piped(polled)
piped(epolled)
r, w = os.pipe(); filled(w, r)
a, b = socket.socketpair(); filled(a.fileno(), b.fileno())
for call in (lambda s: s.recv(1), lambda s: s.recvmsg(1)[0]):
    pair = socket.socketpair()
    wait(lambda s=pair[0], call=call: call(s), lambda _, s=pair[1]: s.send(b'x'))
timed = socket.socketpair(); timed[0].settimeout(3600)
wait(lambda: timed[0].recv(1), lambda _: timed[1].send(b'x'))
listener = socket.create_server(('127.0.0.1', 0))
wait(lambda: listener.accept()[0].getsockname()[0], lambda _: socket.create_connection(listener.getsockname()).close())
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(('127.0.0.1', 0))
wait(lambda: udp.recvfrom(1)[0], lambda _: udp.sendto(b'x', udp.getsockname()))
lock = threading.Lock(); lock.acquire()
wait(lambda: lock.acquire(), lambda _: lock.release())
event = threading.Event()
wait(lambda: event.wait(3600), lambda _: event.set())
items = queue.Queue()
wait(items.get, lambda _: items.put(1))
barrier = threading.Barrier(2)
wait(barrier.wait, lambda _: barrier.wait())
child = subprocess.Popen(['cat'], stdin=subprocess.PIPE)
wait(lambda: os.waitpid(child.pid, 0)[1], lambda _: child.stdin.close())
other = subprocess.Popen(['cat'], stdin=subprocess.PIPE)
wait(lambda: os.waitid(os.P_PID, other.pid, os.WEXITED).si_status, lambda _: other.stdin.close())
counter = os.eventfd(0)
wait(lambda: os.eventfd_read(counter), lambda _: os.eventfd_write(counter, 5))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
wait(lambda: signal.sigwait([signal.SIGUSR1]), lambda thread: signal.pthread_kill(thread.ident, signal.SIGUSR1))
os.mkfifo('/tmp/fifo')
wait(lambda: os.read(os.open('/tmp/fifo', os.O_RDONLY), 1), lambda _: os.write(os.open('/tmp/fifo', os.O_WRONLY), b'x'))
def handler(e, c):
    early = [said for thread, release, said in waits if said]
    for thread, release, said in waits: release(thread)
    for thread, release, said in waits: thread.join()
    return [early, [repr(said) for thread, release, said in waits]]
"#;
    written(place.path(), "app.py", text);
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let more = ["--name", "f", "--fresh"];
    server.deploy_in("python3.11", "app.handler", place.path(), &more);
    let x = "[b'x']";
    let said = json!([
        x,
        "[1]",
        "[1]",
        "[1]",
        "[1]",
        "[4]",
        "[4]",
        x,
        x,
        x,
        "['127.0.0.1']",
        x,
        "[True]",
        "[True]",
        "[1]",
        "[0]",
        "[0]",
        "[0]",
        "[5]",
        "[<Signals.SIGUSR1: 10>]",
        x
    ]);
    for _ in 0..3 {
        let answer = server.invoke("f", &json!(1));
        assert_eq!(answer.start, "restored");
        // Which of the two at a barrier comes first is open.
        let mut told = answer.body;
        assert!(
            ["[0]", "[1]"].contains(&told[1][15].as_str().unwrap()),
            "{told}"
        );
        told[1][15] = json!("[0]");
        assert_eq!(told, json!([[], said]));
    }
}
