//! A gateway with two nodes: what happens to events when a node is killed, and who may talk to whom.

mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::thread;

use base_eventually::eventually;
use server::{Form, Node, Process, REKINDLE, Server};

/// Instances of each node; few, so that events wait.
const INSTANCES: u32 = 2;

/// Says that it runs before it takes its time.
const NAPPER: &str = "import time\n\
    def handler(e, c):\n    print('RUN', e['id'], flush=True); time.sleep(e['nap']); return e['id']\n";

fn deploy(server: &Server) {
    let code = tempfile::tempdir().unwrap();
    fs::write(code.path().join("app.py"), NAPPER).unwrap();
    let out = server.rekindle(&[
        "deploy",
        code.path().to_str().unwrap(),
        "--name",
        "napper",
        "--runtime",
        "python3.11",
        "--handler",
        "app.handler",
        "--timeout",
        "60",
    ]);
    assert!(out.status.success(), "{out:?}");
}

/// The status and the body of an answer to an event.
fn invoke(endpoint: &str, id: u32, nap: f64) -> (u16, String) {
    let address = endpoint.strip_prefix("http://").unwrap();
    let event = format!("{{\"id\": {id}, \"nap\": {nap}}}");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /2015-03-31/functions/napper/invocations HTTP/1.1\r\nHost: {address}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{event}",
        event.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, body.to_owned())
}

/// How often each event ran on a node, by what is on its disk.
fn runs(node: &Node) -> BTreeMap<u32, u32> {
    let mut runs = BTreeMap::new();
    let mut todo = vec![node.data.join("logs")];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                todo.push(entry.path());
                continue;
            }
            let text = fs::read(entry.path()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            for told in text.split("\"RUN ").skip(1) {
                let id = told.split('"').next().and_then(|id| id.parse().ok());
                *runs.entry(id.expect("an event's number")).or_default() += 1;
            }
        }
    }
    runs
}

#[test]
fn events_of_a_node_that_is_killed_run_once_and_elsewhere_if_it_had_not_begun_them() {
    let mut server = Server::of(Form::TwoNodes(INSTANCES), "asked");
    deploy(&server);
    let endpoint = server.endpoint.clone();
    let events: Vec<_> = (0..6)
        .map(|id| {
            let endpoint = endpoint.clone();
            thread::spawn(move || (id, invoke(&endpoint, id, 1.5)))
        })
        .collect();
    // As many as it may have instances; others wait there.
    eventually("the node works", || runs(&server.nodes[0]).len() >= 2);
    server.nodes[0].process.kill();
    let answers: BTreeMap<_, _> = events.into_iter().map(|it| it.join().unwrap()).collect();
    let (killed, other) = (runs(&server.nodes[0]), runs(&server.nodes[1]));
    let mut failed = BTreeSet::new();
    for (id, (status, body)) in &answers {
        let ran = killed.get(id).unwrap_or(&0) + other.get(id).unwrap_or(&0);
        assert_eq!(ran, 1, "{id}: {answers:?} {killed:?} {other:?}");
        match status {
            200 => assert_eq!(body, &id.to_string()),
            500 => {
                assert!(body.contains("could not be run"), "{body}");
                assert!(killed.contains_key(id), "{id} had not begun: {answers:?}");
                failed.insert(*id);
            }
            other => panic!("{other}: {body}"),
        }
    }
    assert!((1..=2).contains(&failed.len()), "{answers:?}");
    // It is used again when it is back, and has what it had.
    let Node { data, socket, .. } = server.nodes.remove(0);
    let back = Node::start(&data, &socket, INSTANCES);
    let mut id = 100;
    eventually("the node that is back works", || {
        let more: Vec<_> = (0..4)
            .map(|_| {
                id += 1;
                let (endpoint, id) = (endpoint.clone(), id);
                thread::spawn(move || invoke(&endpoint, id, 0.3).0)
            })
            .collect();
        assert!(more.into_iter().all(|one| one.join().unwrap() == 200));
        runs(&back).keys().any(|id| *id > 100)
    });
}

fn fails(command: &mut Command, with: &str) {
    let out = command.output().unwrap();
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && told.contains(with), "{told}");
}

#[test]
fn a_node_on_a_port_serves_who_has_the_token() {
    let place = tempfile::tempdir().unwrap();
    let written = |name: &str, text: &str| {
        let path = place.path().join(name);
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
        path
    };
    let token = written("token", "0123456789abcdef0123456789abcdef\n");
    let other = written("other", "0123456789abcdef0123456789abcdeX\n");
    let command = |name: &str, data: &str, more: &[&str]| {
        let mut command = Command::new(REKINDLE);
        command.arg(name).arg("--data").arg(place.path().join(data));
        command.args(more);
        command
    };
    let listen = ["--listen", "127.0.0.1:0", "--token-file"];
    let mut node = command("node", "node", &listen);
    let (_node, address) = Process::start(node.arg(&token));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.path().join("node")), 0o700);
    let mut second = command("node", "node", &listen);
    fails(second.arg(&token), "another process uses");
    fails(&mut command("node", "x", &listen[..2]), "--token-file");
    fails(&mut command("node", "x", &[]), "--socket");

    let known = ["--listen", "127.0.0.1:0", "--node", &address];
    fails(&mut command("gateway", "data", &known), "wants a token");
    let mut wrong = command("gateway", "data", &known);
    let (stranger, endpoint) = Process::start(wrong.arg("--token-file").arg(&other));
    let refused = rekindle(&endpoint, &["list"]);
    assert!(refused.status.success(), "{refused:?}");
    let code = tempfile::tempdir().unwrap();
    fs::write(code.path().join("app.py"), NAPPER).unwrap();
    let deploy = |endpoint: &str| {
        let code = code.path().to_str().unwrap();
        let runtime = ["--runtime", "python3.11", "--handler", "app.handler"];
        let all = [&["deploy", code, "--name", "napper"][..], &runtime].concat();
        let out = rekindle(endpoint, &all);
        assert!(out.status.success(), "{out:?}");
    };
    deploy(&endpoint);
    drop(stranger);

    let mut right = command("gateway", "data", &known);
    let (_gateway, endpoint) = Process::start(right.arg("--token-file").arg(&token));
    // The function of before, whose code the node gets now.
    assert_eq!(invoke(&endpoint, 7, 0.0), (200, "7".to_owned()));
}

fn rekindle(endpoint: &str, args: &[&str]) -> std::process::Output {
    Command::new(REKINDLE)
        .args(args)
        .env("REKINDLE_ENDPOINT", endpoint)
        .output()
        .unwrap()
}
