//! A gateway with two nodes: what happens to events when a node is killed, falls silent or is asked to end, and who may
//! talk to whom.

mod napper;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base_eventually::eventually;
use napper::{NAPPER, deploy, invoke, runs};
use server::{Form, Node, Process, REKINDLE, Server};

/// Instances of each node; few, so that events wait.
const INSTANCES: u32 = 2;

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

/// Events from `first` on, all at once, each of which takes so many seconds.
fn call(server: &Server, ids: std::ops::Range<u32>, nap: f64) -> Vec<JoinHandle<Answer>> {
    ids.map(|id| {
        let endpoint = server.endpoint.clone();
        thread::spawn(move || {
            let (status, body) = invoke(&endpoint, id, nap);
            Answer { id, status, body }
        })
    })
    .collect()
}

#[derive(Debug)]
struct Answer {
    id: u32,
    status: u16,
    body: String,
}

fn answers(calls: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    calls.into_iter().map(|call| call.join().unwrap()).collect()
}

/// How often each event ran on either node.
fn ran(server: &Server, id: u32) -> u32 {
    let nodes = server.nodes.iter();
    nodes
        .map(|node| runs(node).get(&id).copied().unwrap_or_default())
        .sum()
}

/// How long the events of a node that says nothing any more may go without an answer: its silence is noticed after 2
/// and 5 seconds, and its word on what it has begun is waited for 3. The rest is for a busy machine.
const SILENCE: Duration = Duration::from_secs(30);

#[test]
fn a_node_that_falls_silent_keeps_no_client_waiting_and_runs_nothing_twice() {
    let server = Server::of(Form::TwoNodes(INSTANCES), "asked");
    deploy(&server);
    let calls = call(&server, 0..8, 1.0);
    eventually("both nodes work", || {
        server.nodes.iter().all(|node| !runs(node).is_empty())
    });
    let silent = &server.nodes[0];
    silent.process.signal("STOP");
    let since = Instant::now();
    let answers = answers(calls);
    assert!(since.elapsed() < SILENCE, "{:?}", since.elapsed());
    let mut failed = 0;
    for Answer { id, status, body } in &answers {
        match status {
            200 => assert_eq!(body, &id.to_string()),
            500 => {
                assert!(body.contains("could not be run"), "{body}");
                failed += 1;
            }
            other => panic!("{other}: {body}"),
        }
    }
    assert!((1..8).contains(&failed), "{answers:?}");
    // What comes now goes to the other at once.
    let since = Instant::now();
    for answer in self::answers(call(&server, 10..14, 0.1)) {
        assert_eq!((answer.status, answer.body), (200, answer.id.to_string()));
    }
    assert!(since.elapsed() < SILENCE, "{:?}", since.elapsed());
    silent.process.signal("CONT");
    let mut id = 100;
    eventually("the node that speaks again works", || {
        id += 10;
        let more = self::answers(call(&server, id..id + 4, 0.3));
        assert!(more.iter().all(|one| one.status == 200), "{more:?}");
        runs(silent).keys().any(|id| *id > 100)
    });
    for Answer { id, status, .. } in &answers {
        let often = ran(&server, *id);
        assert!(often <= 1 && (*status != 200 || often == 1), "{id}");
    }
}

#[test]
fn a_node_that_is_asked_to_end_finishes_what_it_has_begun_and_nobody_notices() {
    let mut server = Server::of(Form::TwoNodes(INSTANCES), "asked");
    deploy(&server);
    // Longer than instances get that have to end at once.
    let mut calls = call(&server, 0..4, 6.0);
    eventually("the node works", || !runs(&server.nodes[0]).is_empty());
    let begun: BTreeSet<u32> = runs(&server.nodes[0]).into_keys().collect();
    server.nodes[0].process.signal("TERM");
    calls.extend(call(&server, 10..14, 0.1));
    let answers = answers(calls);
    for answer in &answers {
        let Answer { id, status, body } = answer;
        assert_eq!((*status, body), (200, &id.to_string()), "{answers:?}");
        assert_eq!(ran(&server, *id), 1, "{id}");
    }
    assert!(begun.iter().all(|id| runs(&server.nodes[0])[id] == 1));
    assert!(server.nodes[0].process.ended().success());
    // One after the other is made anew, under load.
    for index in [1, 0] {
        let Node { data, socket, .. } = &server.nodes[0];
        let (data, socket) = (data.clone(), socket.clone());
        server.nodes[0] = Node::start(&data, &socket, INSTANCES);
        let first = 100 * (index + 1);
        let calls = call(&server, first..first + 4, 0.5);
        server.nodes.swap(0, 1);
        server.nodes[0].process.signal("TERM");
        let more = call(&server, first + 10..first + 14, 0.1);
        for answer in self::answers(calls).into_iter().chain(self::answers(more)) {
            assert_eq!((answer.status, answer.body), (200, answer.id.to_string()));
            assert_eq!(ran(&server, answer.id), 1);
        }
        assert!(server.nodes[0].process.ended().success());
    }
}

#[test]
fn a_gateway_that_is_asked_to_end_answers_what_it_has_taken() {
    for form in [Form::TwoNodes(INSTANCES), Form::Serve] {
        let mut server = Server::of(form, "asked");
        deploy(&server);
        let address = server.endpoint.strip_prefix("http://").unwrap().to_owned();
        // Who follows a log would do so for ever.
        let mut follower = TcpStream::connect(&address).unwrap();
        let path = "/_rekindle/logs?function=napper&follow=true";
        write!(follower, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut lines = BufReader::new(follower).lines();
        let mut heard = |text: &str| lines.any(|line| line.unwrap().contains(text));
        let calls = call(&server, 0..2, 12.0);
        assert!(heard("RUN") && heard("RUN"));
        server.front.signal("TERM");
        assert!(!heard("nothing that is said"), "the log has an end");
        eventually("nobody is let in", || TcpStream::connect(&address).is_err());
        for answer in answers(calls) {
            assert_eq!((answer.status, answer.body), (200, answer.id.to_string()));
        }
        assert!(server.front.ended().success());
    }
}

#[test]
fn a_node_shows_what_it_counts() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("node.sock");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap().to_string();
    drop(port);
    let mut command = Command::new(REKINDLE);
    command
        .arg("node")
        .arg("--data")
        .arg(place.path().join("data"));
    command.arg("--socket").arg(&socket);
    let mut open = Command::new(REKINDLE);
    open.args(["node", "--metrics", "0.0.0.0:0", "--socket"])
        .arg(&socket);
    open.arg("--data").arg(place.path().join("open"));
    fails(&mut open, "--token-file");
    let (_node, _) = Process::start(command.args(["--metrics", &address]));
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(stream, "GET /_rekindle/metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    assert!(
        told.contains("rekindle_memory_bytes{part=\"limit\"}"),
        "{told}"
    );
    assert!(told.contains("rekindle_snapshot"), "{told}");
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
