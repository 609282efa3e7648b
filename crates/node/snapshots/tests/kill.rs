//! `kill -9` at any point: what is in place is whole, and nothing is orphaned. A child process makes,
//! replaces, quarantines and removes snapshots until it is killed.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use node_snapshots::{About, Config, KeyParts, Store};

const CHILD: &str = "SNAPSHOTS_KILL_TEST_DIRECTORY";

fn parts(number: usize) -> KeyParts {
    KeyParts {
        subject: number.to_string(),
        code: String::new(),
        program: Vec::new(),
        sandbox: String::new(),
        images: Vec::new(),
        state_version: 1,
        cpu: String::new(),
    }
}

fn work(directory: &str) {
    let store = Store::open(Config::new(directory)).unwrap();
    let mut told = std::io::stdout();
    for round in 0.. {
        let number = round % 7;
        store.remove(&parts(number).key());
        let mut pending = store.begin(parts(number)).unwrap();
        let memory = vec![round as u8; 300_000 + number];
        pending
            .create("memory")
            .unwrap()
            .write_all(&memory)
            .unwrap();
        pending.create("state").unwrap().write_all(b"s").unwrap();
        let key = pending.commit(About::default()).unwrap();
        match round % 5 {
            3 => store.quarantine(&key, "a test"),
            4 => store.remove(&key),
            _ => drop(store.open_snapshot(&key).unwrap()),
        }
        writeln!(told, "\nround {round}").unwrap();
    }
}

#[test]
fn what_a_killed_process_leaves_is_whole() {
    if let Ok(directory) = env::var(CHILD) {
        return work(&directory);
    }
    let directory = tempfile::tempdir().unwrap();
    for round in 0..12 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "what_a_killed_process_leaves_is_whole",
                "--nocapture",
            ])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = lines
            .map_while(Result::ok)
            .filter(|line| line.starts_with("round "));
        assert!(told.take(1 + round).count() > 0);
        child.kill().unwrap();
        child.wait().unwrap();

        let store = Store::open(Config::new(directory.path())).unwrap();
        for key in store.ready() {
            let opened = store.open_snapshot(&key).unwrap();
            assert_eq!(opened.manifest.files.len(), 2);
        }
        for (place, most) in [("staging", 0), ("ready", 7), ("quarantine", 8)] {
            let there = count(&directory.path().join(place));
            assert!(there <= most, "{there} in {place}");
        }
        assert_eq!(count(&directory.path().join("ready")), store.ready().len());
        assert_eq!(
            count(directory.path()),
            5,
            "key, lock and three directories"
        );
    }
}

fn count(path: &Path) -> usize {
    std::fs::read_dir(path).unwrap().count()
}
