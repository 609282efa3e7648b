//! `rekindle serve`, or a gateway with two nodes, on free loopback ports and sockets, for the length of a test.

#![allow(
    dead_code,
    reason = "not every test that shares this module needs all of it"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use base_eventually::eventually_some;

pub(crate) const REKINDLE: &str = env!("CARGO_BIN_EXE_rekindle");

/// The server; ended when dropped.
pub(crate) struct Server {
    /// The process that speaks the API.
    pub(crate) front: Process,
    pub(crate) nodes: Vec<Node>,
    pub(crate) endpoint: String,
    data: tempfile::TempDir,
}

/// In how many processes it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// All in one: `rekindle serve`.
    Serve,
    /// `rekindle gateway` with two `rekindle node`, each of which may have so many instances.
    TwoNodes(u32),
}

/// One node of a server.
pub(crate) struct Node {
    pub(crate) process: Process,
    pub(crate) data: PathBuf,
    pub(crate) socket: PathBuf,
}

/// A process that is killed when it is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts one that says a line when it is ready; what the line ends with.
    pub(crate) fn start(command: &mut Command) -> (Self, String) {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let last = line.trim().rsplit(' ').next().unwrap().to_owned();
        (Self(child), last)
    }

    /// `kill -9`, without a word before.
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends it a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// How it ended, by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        eventually_some("the process ends", || self.0.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Node {
    /// A node that keeps what it has in `data`.
    pub(crate) fn start(data: &Path, socket: &Path, instances: u32) -> Self {
        let mut command = Command::new(REKINDLE);
        command.arg("node").arg(format!("--instances={instances}"));
        command.arg("--data").arg(data).arg("--socket").arg(socket);
        let (process, _) = Process::start(&mut command);
        Self {
            process,
            data: data.to_owned(),
            socket: socket.to_owned(),
        }
    }
}

impl Server {
    /// For tests of other things than snapshots: functions that do not ask for one have none.
    pub(crate) fn start() -> Server {
        Server::with_snap_start("asked")
    }

    pub(crate) fn with_snap_start(policy: &str) -> Server {
        Server::of(Form::Serve, policy)
    }

    pub(crate) fn of(form: Form, policy: &str) -> Server {
        let data = tempfile::tempdir().unwrap();
        let nodes = match form {
            Form::Serve => Vec::new(),
            Form::TwoNodes(instances) => ["one", "two"]
                .map(|name| {
                    let socket = data.path().join(name).with_extension("sock");
                    Node::start(&data.path().join(name), &socket, instances)
                })
                .into(),
        };
        let mut command = Command::new(REKINDLE);
        command.arg(if nodes.is_empty() { "serve" } else { "gateway" });
        command.args(["--snap-start", policy, "--listen", "127.0.0.1:0"]);
        command.arg("--data").arg(data.path().join("data"));
        for node in &nodes {
            command.arg(format!("--node=unix:{}", node.socket.display()));
        }
        let (front, endpoint) = Process::start(&mut command);
        Server {
            front,
            nodes,
            endpoint,
            data,
        }
    }

    /// The process that speaks the API.
    pub(crate) fn pid(&self) -> u32 {
        self.front.id()
    }

    /// All processes of it, but sandboxes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let nodes = self.nodes.iter().map(|node| node.process.id());
        nodes.chain([self.front.id()]).collect()
    }

    /// Its own data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// Runs one of our own client commands.
    pub(crate) fn rekindle(&self, args: &[&str]) -> Output {
        Command::new(REKINDLE)
            .args(args)
            .env("REKINDLE_ENDPOINT", &self.endpoint)
            .output()
            .unwrap()
    }
}
