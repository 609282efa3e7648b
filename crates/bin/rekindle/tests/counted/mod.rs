//! Functions that print each event they work on, so that tests can count.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::watched::Server;

/// A directory for a test: `data` for the server, the rest for code.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Where the server keeps this file of the one function that has it.
    pub(crate) fn deployed(&self, name: &str) -> PathBuf {
        let mut left = vec![self.data()];
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(directory).unwrap().flatten() {
                if entry.file_name() == name {
                    return entry.path();
                }
                if entry.file_type().unwrap().is_dir() {
                    left.push(entry.path());
                }
            }
        }
        panic!("no {name} was deployed")
    }

    /// The code of a function of this name that prints and returns its event, after `before`.
    pub(crate) fn code(&self, name: &str, before: &str) -> PathBuf {
        let directory = self.0.path().join(name);
        fs::create_dir(&directory).unwrap();
        let text = format!(
            "{before}\ndef handler(event, context):\n    print('worked on', event, flush=True)\n    return event\n"
        );
        fs::write(directory.join("app.py"), text).unwrap();
        directory
    }
}

/// Sends an event, expects it to be answered and worked on once, and tells how the instance began.
pub(crate) fn ask(server: &Server, function: &str, event: u32) -> String {
    let answer = server.invoke(function, &json!(event));
    assert_eq!(answer.body, json!(event));
    assert_eq!(server.printed(function, &format!("worked on {event}")), 1);
    answer.start
}

/// The pid in the line that tells of a shell.
pub(crate) fn shell(server: &Server) -> u32 {
    let line = server.logged(&["a shell waits", "pid="]);
    let (_, rest) = line.split_once("pid=").unwrap();
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    digits.unwrap().parse().unwrap()
}

/// An image that takes a while to write.
pub(crate) const LARGE: &str = "import random\nKEEP = random.Random(1).randbytes(96 << 20)";
