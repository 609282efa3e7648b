//! What a machine leaves behind when it ends: nothing.

mod guest;
#[path = "guest/moving.rs"]
mod moving;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guest::{Machine, boot, limit};
use moving::{Memory, enter, snapshot, wait_for};

const PROGRAM: &str = "
import os, threading, time
for _ in range(4): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
if os.fork() == 0: time.sleep(1000)
print('ready', flush=True)
time.sleep(1000)
";

/// How often a machine that is made after another one is made and ended.
const TIMES: usize = 3;

/// The thread that gives vCPUs a moment: the first one that is interrupted in vain starts it, for all machines to come.
const FOR_ALL: &str = "vcpu-moments";

fn entries(kind: &str, name: impl Fn(PathBuf) -> io::Result<String>) -> Vec<String> {
    let list = std::fs::read_dir(format!("/proc/self/{kind}")).expect("the host's /proc");
    // Who is gone before it was asked for its name has ended.
    let mut names: Vec<_> = list
        .filter_map(|entry| name(entry.ok()?.path()).ok())
        .collect();
    names.sort();
    names
}

/// Names of the open descriptors and of the threads of this process.
fn names() -> [Vec<String>; 2] {
    let target = |path: PathBuf| Ok(std::fs::read_link(path)?.display().to_string());
    let command = |path: PathBuf| {
        Ok(std::fs::read_to_string(path.join("comm"))?
            .trim()
            .to_owned())
    };
    let mut threads = entries("task", command);
    threads.retain(|name| name != FOR_ALL);
    [entries("fd", target), threads]
}

/// How many there are.
fn held() -> [usize; 2] {
    names().map(|names| names.len())
}

/// What is held when it is at most this. What is waited for comes from threads that have left their machine
/// and are about to end.
fn settled(most: [usize; 2]) -> [usize; 2] {
    base_eventually::eventually_some("what was held is given back", || {
        let now = held();
        now.iter()
            .zip(most)
            .all(|(now, most)| *now <= most)
            .then_some(now)
    })
}

/// Ends a machine and waits until no thread of it runs.
fn end(machine: Machine) {
    let system = Arc::clone(&machine.system);
    drop(machine);
    let ended = system.kernel.wait_ended(Some(Instant::now() + limit()));
    assert!(ended.is_some(), "the machine does not end");
}

/// Ends machines that run, that are frozen, and that could not be made whole.
fn make_and_end() {
    let machine = boot(Duration::ZERO);
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", PROGRAM]);
    wait_for(&machine, "ready\n");
    let taken = snapshot(&machine);
    let next = enter(&taken.state, &taken.memory).expect("load");
    let nothing = Memory {
        image: Arc::clone(&taken.memory.image),
        state: vec![0, 0],
    };
    assert!(enter(&taken.state, &nothing).is_err());
    end(machine);
    end(next);
}

#[test]
fn nothing_is_left_of_machines_that_ended() {
    let begun = held();
    make_and_end();
    // What is made once for all machines stays: at most a few.
    let before = settled([begun[0] + 4, begun[1] + 2]);
    for _ in 0..TIMES {
        make_and_end();
    }
    let after = settled(before);
    let same = after
        .iter()
        .zip(before)
        .all(|(after, before)| *after <= before);
    assert!(same, "{before:?}, then {after:?}: {:?}", names());
}
