//! `rekindle serve` on a free loopback port, for the length of a test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

pub(crate) const REKINDLE: &str = env!("CARGO_BIN_EXE_rekindle");

/// The server; ended when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) endpoint: String,
    _data: tempfile::TempDir,
}

impl Server {
    /// For tests of other things than snapshots: functions that do not ask for one have none.
    pub(crate) fn start() -> Server {
        Server::with_snap_start("asked")
    }

    pub(crate) fn with_snap_start(policy: &str) -> Server {
        let data = tempfile::tempdir().unwrap();
        let mut child = Command::new(REKINDLE)
            .args(["serve", "--snap-start", policy, "--listen", "127.0.0.1:0"])
            .arg("--data")
            .arg(data.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let endpoint = line.trim().rsplit(' ').next().unwrap().to_owned();
        Server {
            child,
            endpoint,
            _data: data,
        }
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

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
