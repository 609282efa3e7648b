//! `rekindle serve` whose log is read as it is written, and which can be killed and started again.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base_eventually::eventually;
use serde_json::Value;

const REKINDLE: &str = env!("CARGO_BIN_EXE_rekindle");
/// Longest time for a line of the log that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of an event.
#[derive(Debug)]
pub(crate) struct Answer {
    /// `restored`, `cold` or `warm`.
    pub(crate) start: String,
    pub(crate) body: Value,
}

/// What `/proc/<pid>/stat` tells of a process (proc_pid_stat(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) name: String,
    parent: u32,
    /// Clock ticks after boot.
    started: u64,
}

impl Process {
    fn of(pid: u32) -> Option<Process> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (before, after_name) = stat.rsplit_once(") ")?;
        let (_, name) = before.split_once('(')?;
        let fields: Vec<_> = after_name.split(' ').collect();
        Some(Process {
            pid,
            name: name.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    /// Later for those that were made later.
    pub(crate) fn started(&self) -> (u64, u32) {
        (self.started, self.pid)
    }

    /// Whether it is there, as itself and not as another with its number.
    pub(crate) fn alive(&self) -> bool {
        Process::of(self.pid).is_some_and(|now| now.started == self.started)
    }
}

pub(crate) fn children_of(parent: u32) -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let all = pids.filter_map(Process::of);
    all.filter(|process| process.parent == parent).collect()
}

/// The guest's processes of a sandbox.
pub(crate) fn guests_of(sandbox: u32) -> Vec<Process> {
    let guests = children_of(sandbox);
    assert!(!guests.is_empty());
    guests
}

/// As `kill -9` does it, and waits until it has ended: the signal alone does not wait. That it has ended before is no
/// error.
pub(crate) fn kill(pid: u32) {
    signal(pid, "KILL");
    let ended = |stat: String| {
        let state = stat.rsplit_once(") ").map(|(_, state)| state.to_owned());
        state.is_none_or(|state| state.starts_with(['Z', 'X']))
    };
    eventually("it has ended", || {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, ended)
    });
}

/// Sends it this signal, with the tool that everybody has.
fn signal(pid: u32, name: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", "kill -\"$1\" \"$2\"", "sh", name, &pid.to_string()]);
    command.stderr(Stdio::null()).status().unwrap();
}

/// Has a process stand still, all its threads.
pub(crate) fn stop(pid: u32) {
    signal(pid, "STOP");
    let threads = || {
        std::fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
    };
    let stands = |thread: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, state)| state.to_owned());
        state.is_none_or(|state| state.starts_with(['T', 'Z', 'X']))
    };
    eventually("its threads stand", || threads().all(stands));
}

/// Lets a process go on.
pub(crate) fn go_on(pid: u32) {
    signal(pid, "CONT");
}

/// Control groups of the sandboxes of a server with this pid, in every hierarchy.
pub(crate) fn groups_of(server: u32) -> Vec<PathBuf> {
    let name = format!("rekindle-{server}-");
    let mut found = Vec::new();
    let mut left = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = left.pop() {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if entry.file_name().to_string_lossy().starts_with(&name) {
                found.push(entry.path());
            } else {
                left.push(entry.path());
            }
        }
    }
    found
}

/// A shell whose mounts nobody else sees; what follows are the script's `$0`, `$1` and so on.
fn in_mounts_of_its_own(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
    command
}

/// `rekindle`, with the arguments that follow, where `/dev/kvm` is no KVM: there is none, or another file lies on it.
pub(crate) fn without_kvm() -> Command {
    let taken_away = "if [ -e /dev/kvm ]; then mount --bind /dev/null /dev/kvm; fi";
    let mut command = in_mounts_of_its_own(&format!("{taken_away} && exec \"$0\" \"$@\""));
    command.arg(REKINDLE);
    command
}

/// The server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    endpoint: String,
    log: Receiver<String>,
    data: PathBuf,
}

impl Server {
    pub(crate) fn start(data: &Path) -> Server {
        Self::start_with(data, &[])
    }

    pub(crate) fn start_with(data: &Path, options: &[&str]) -> Server {
        let mut command = Command::new(REKINDLE);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(data).args(options);
        Self::run(&mut command, data)
    }

    /// With a file system of so many bytes for its data, which nobody else sees and which is gone with it. None where
    /// file systems cannot be mounted.
    pub(crate) fn start_on_a_small_disk(mount: &Path, bytes: u64) -> Option<Server> {
        let script = "mount -t tmpfs -o size=$1,mode=700 none \"$2\" && exec \"$3\" serve --listen 127.0.0.1:0 --data \"$2\"";
        let permitted = format!("mount -t tmpfs -o size={bytes} none \"$0\"");
        let mut tried = in_mounts_of_its_own(&permitted);
        if !tried.arg(mount).output().is_ok_and(|o| o.status.success()) {
            return None;
        }
        let mut command = in_mounts_of_its_own(script);
        command.args(["sh", &bytes.to_string()]);
        command.arg(mount).arg(REKINDLE);
        let mut server = Self::run(&mut command, mount);
        let path = mount.strip_prefix("/").unwrap();
        server.data = Path::new("/proc")
            .join(server.pid().to_string())
            .join("root")
            .join(path);
        Some(server)
    }

    /// Where `/dev/kvm` is no KVM.
    pub(crate) fn start_without_kvm(data: &Path) -> Server {
        let mut command = without_kvm();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
        Self::run(command.arg(data), data)
    }

    fn run(command: &mut Command, data: &Path) -> Server {
        let mut child = command
            .env("NO_COLOR", "1")
            .env("RUST_LOG", "info,node_agent=debug")
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let endpoint = line.trim().rsplit(' ').next().unwrap().to_owned();
        let (sender, log) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Server {
            child,
            endpoint,
            log,
            data: data.to_owned(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As `kill -9` does it: nothing is told to anyone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Kills it, and starts another over the same data.
    pub(crate) fn again(self) -> Server {
        let data = self.data.clone();
        self.kill();
        Server::start(&data)
    }

    /// Its sandboxes: the kernel process of each.
    pub(crate) fn sandboxes(&self) -> Vec<Process> {
        let mut all = children_of(self.pid());
        all.retain(|child| child.name == "sandbox");
        all
    }

    /// The process that sandboxes are made from.
    pub(crate) fn zygote(&self) -> Process {
        let children = children_of(self.pid());
        let mut zygotes = children.iter().filter(|child| child.name == "zygote");
        zygotes.next().cloned().unwrap()
    }

    /// All processes that it made or had made: the zygote, the sandboxes, and their guests'.
    pub(crate) fn descendants(&self) -> Vec<Process> {
        let mut all = children_of(self.pid());
        let mut next = 0;
        while let Some(one) = all.get(next) {
            all.extend(children_of(one.pid));
            next += 1;
        }
        all
    }

    pub(crate) fn kill_sandboxes(&self) {
        for child in self.sandboxes() {
            kill(child.pid);
        }
    }

    /// The next line of the log with all these parts; those before it are gone.
    pub(crate) fn logged(&self, parts: &[&str]) -> String {
        let mut passed = Vec::new();
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
            passed.push(line);
        }
        panic!("{parts:?} is not in the log: {passed:#?}")
    }

    /// Every line that was not looked at.
    pub(crate) fn rest_of_the_log(&self) -> Vec<String> {
        self.log.try_iter().collect()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(REKINDLE);
        command
            .args(arguments)
            .env("REKINDLE_ENDPOINT", &self.endpoint);
        command
    }

    pub(crate) fn rekindle(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A Python function of one file that answers when its creation is done.
    pub(crate) fn deploy(&self, code: &Path, more: &[&str]) {
        let output = self.deploying(code, more).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// A function in this runtime, which is there with its snapshot afterwards.
    pub(crate) fn deploy_in(&self, runtime: &str, handler: &str, code: &Path, more: &[&str]) {
        let mut command = self.command(&["deploy", "--runtime", runtime, "--handler", handler]);
        let output = command.arg(code).args(more).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        self.logged(&["snapshot ready"]);
    }

    pub(crate) fn deploying(&self, code: &Path, more: &[&str]) -> Command {
        let mut command = self.command(&["deploy"]);
        command.arg(code);
        command.args(["--runtime", "python3.11", "--handler", "app.handler"]);
        command.args(more);
        command
    }

    pub(crate) fn invoke(&self, name: &str, event: &Value) -> Answer {
        let path = format!("/2015-03-31/functions/{name}/invocations");
        let (head, body) = self.request("POST", &path, &event.to_string());
        assert!(
            head.starts_with("HTTP/1.1 200") && !head.contains("x-amz-function-error"),
            "{head}\n{body}"
        );
        let start = head
            .lines()
            .find_map(|line| line.strip_prefix("x-rekindle-start: "));
        Answer {
            start: start.unwrap_or_default().to_owned(),
            body: serde_json::from_str(&body).unwrap(),
        }
    }

    /// What the API tells of a function.
    pub(crate) fn configuration(&self, name: &str) -> Value {
        let path = format!("/2015-03-31/functions/{name}/configuration");
        serde_json::from_str(&self.request("GET", &path, "").1).unwrap()
    }

    /// Head and body of the answer to a request.
    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> (String, String) {
        let address = self.endpoint.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// How often the function printed this line.
    pub(crate) fn printed(&self, name: &str, line: &str) -> usize {
        let output = self.rekindle(&["logs", name]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .filter(|one| one.trim().ends_with(line))
            .count()
    }

    fn store(&self, part: &str) -> Vec<PathBuf> {
        let directory = self.data.join("node/snapshots").join(part);
        let listing = std::fs::read_dir(directory).unwrap();
        listing.map(|entry| entry.unwrap().path()).collect()
    }

    /// The directories of the snapshots that can be restored from.
    pub(crate) fn ready(&self) -> Vec<PathBuf> {
        self.store("ready")
    }

    pub(crate) fn staging(&self) -> Vec<PathBuf> {
        self.store("staging")
    }

    /// The reasons for which snapshots lie in quarantine.
    pub(crate) fn quarantined(&self) -> Vec<String> {
        let read = |path: PathBuf| std::fs::read_to_string(path.join("reason.json")).unwrap();
        self.store("quarantine").into_iter().map(read).collect()
    }

    /// Waits until a snapshot is being written.
    pub(crate) fn capturing(&self) {
        eventually("a snapshot is being written", || !self.staging().is_empty());
    }

    /// Whether the image that is being written has its pages begun and its header, which comes last, not there; none if
    /// it is whole, or gone.
    pub(crate) fn half_written(&self) -> Option<bool> {
        let image = std::fs::File::open(self.staging().first()?.join("snapshot")).ok()?;
        let begun = image.metadata().ok()?.len() > 0;
        let mut header = Vec::new();
        image.take(8).read_to_end(&mut header).ok()?;
        header.iter().all(|byte| *byte == 0).then_some(begun)
    }

    /// Waits until nothing is being written.
    pub(crate) fn nothing_in_staging(&self) {
        eventually("nothing is being written", || self.staging().is_empty());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
