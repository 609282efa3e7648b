//! Real programs under `rekindle run`: the same output and the same exit code as on the machine itself.
//!
//! The programs are in `guests/programs`. Each prints only what does not depend on the machine or the moment, and ends
//! with an exit code of its own. `GUEST_PLATFORM` names the platform, `process` when it is not set.

mod place;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use place::{root, set_up, target};

/// What both sides see as `PATH`.
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where the sandbox sees `guests/programs`.
const PROGRAMS: &str = "/programs";
/// Where it sees what was built of them.
const BUILT: &str = "/built";
/// Where it sees the packages of the tests' virtual environment.
const PACKAGES: &str = "/packages";

fn programs() -> PathBuf {
    root().join("guests/programs")
}

/// Built once by whichever test comes first.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let out = target().join("guest-programs");
        set_up("guests/programs/build.sh", &[&out]);
        out
    })
}

fn packages() -> PathBuf {
    set_up("tests/setup.sh", &[]);
    let versions = std::fs::read_dir(target().join("venv/lib")).unwrap();
    let version = versions.flatten().next().expect("a version of Python");
    version.path().join("site-packages")
}

/// A program, its arguments, and what of the test's own directories it sees.
struct Program<'a> {
    command: &'a [&'a str],
    mounts: Vec<(PathBuf, &'static str)>,
    env: Vec<(&'static str, &'static str)>,
}

impl Program<'_> {
    /// The command or value as the machine itself has to spell it.
    fn outside(&self, text: &str) -> String {
        let mount = self
            .mounts
            .iter()
            .find(|(_, inside)| text.starts_with(inside));
        match mount {
            Some((source, inside)) => text.replacen(inside, source.to_str().unwrap(), 1),
            None => text.to_owned(),
        }
    }

    fn native(&self) -> Output {
        let place = tempfile::tempdir().unwrap();
        let command: Vec<_> = self.command.iter().map(|part| self.outside(part)).collect();
        // The search is made with the caller's PATH; the program gets the sandbox's.
        // Signals are at their defaults, as there: who starts tests in the background has them ignore SIGINT.
        Command::new("/usr/bin/env")
            .arg("--default-signal")
            .arg(format!("PATH={SEARCH}"))
            .args(command)
            .env_clear()
            .env("HOME", place.path())
            .envs(
                self.env
                    .iter()
                    .map(|(name, value)| (name, self.outside(value))),
            )
            .current_dir(place.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn in_sandbox(&self) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekindle"));
        let platform = std::env::var("GUEST_PLATFORM");
        command.args([
            "run",
            "--platform",
            platform.as_deref().unwrap_or("process"),
        ]);
        command.args(["--memory", "1G", "--workdir", "/tmp"]);
        command.args(["--env", "HOME=/tmp", "--env", &format!("PATH={SEARCH}")]);
        for (source, inside) in &self.mounts {
            command.args(["--mount", &format!("{}:{inside}:ro", source.display())]);
        }
        for (name, value) in &self.env {
            command.args(["--env", &format!("{name}={value}")]);
        }
        command
            .arg("--")
            .args(self.command)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs it on both sides and compares.
    fn compare(&self, code: i32) {
        let native = self.native();
        let told = String::from_utf8_lossy(&native.stdout);
        assert_eq!(
            native.status.code(),
            Some(code),
            "native: {told}\n{}",
            String::from_utf8_lossy(&native.stderr)
        );
        assert!(!told.is_empty());
        let ours = self.in_sandbox();
        let errors = String::from_utf8_lossy(&ours.stderr);
        assert_eq!(
            String::from_utf8_lossy(&ours.stdout),
            told,
            "sandbox: {errors}"
        );
        assert_eq!(ours.status.code(), Some(code), "sandbox: {errors}");
    }
}

/// A program of the machine that runs one of ours.
fn interpreted(command: &[&str], code: i32) {
    built();
    Program {
        command,
        mounts: vec![(programs(), PROGRAMS)],
        env: Vec::new(),
    }
    .compare(code);
}

/// A program that was built.
fn compiled(command: &[&str], code: i32) {
    Program {
        command,
        mounts: vec![(built().to_owned(), BUILT)],
        env: Vec::new(),
    }
    .compare(code);
}

fn python(script: &str, code: i32) {
    interpreted(
        &["/usr/bin/python3", &format!("{PROGRAMS}/python/{script}")],
        code,
    );
}

fn node(script: &str, code: i32) {
    interpreted(&["node", &format!("{PROGRAMS}/node/{script}")], code);
}

#[test]
fn python_ssl() {
    python("ssl_pair.py", 3);
}

#[test]
fn python_sqlite3() {
    python("sqlite.py", 4);
}

#[test]
fn python_threading() {
    python("threads.py", 5);
}

#[test]
fn python_multiprocessing() {
    python("processes.py", 6);
}

#[test]
fn python_subprocess() {
    python("commands.py", 8);
}

#[test]
fn python_asyncio() {
    python("event_loop.py", 10);
}

#[test]
fn python_socketserver() {
    python("servers.py", 11);
}

#[test]
fn python_numpy() {
    Program {
        command: &["/usr/bin/python3", &format!("{PROGRAMS}/python/arrays.py")],
        mounts: vec![(programs(), PROGRAMS), (packages(), PACKAGES)],
        env: vec![("PYTHONPATH", PACKAGES)],
    }
    .compare(12);
}

#[test]
fn node_http() {
    node("http.mjs", 13);
}

#[test]
fn node_fs() {
    node("files.mjs", 14);
}

#[test]
fn node_worker_threads() {
    node("workers.mjs", 15);
}

#[test]
fn node_child_process() {
    node("children.mjs", 16);
}

#[test]
fn node_crypto() {
    node("crypto.mjs", 17);
}

#[test]
fn bash_pipelines() {
    interpreted(&["bash", &format!("{PROGRAMS}/shell/pipelines.sh")], 18);
}

#[test]
fn busybox_pipelines() {
    interpreted(
        &["busybox", "sh", &format!("{PROGRAMS}/shell/pipelines.sh")],
        18,
    );
}

#[test]
fn git() {
    interpreted(&["bash", &format!("{PROGRAMS}/shell/repository.sh")], 19);
}

#[test]
fn go_static() {
    compiled(&[&format!("{BUILT}/go-static")], 20);
}

#[test]
fn go_with_c() {
    compiled(&[&format!("{BUILT}/go-cgo")], 21);
}

#[test]
fn jvm() {
    compiled(&["java", "-cp", &format!("{BUILT}/java"), "Main"], 23);
}

#[test]
fn rust_tokio() {
    compiled(&[&format!("{BUILT}/rust-tokio")], 24);
}
