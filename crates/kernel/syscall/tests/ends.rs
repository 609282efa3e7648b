//! What a machine leaves behind when it ends: nothing.

mod guest;
#[path = "guest/moving.rs"]
mod moving;

use std::sync::Arc;
use std::time::{Duration, Instant};

use guest::{boot, limit};
use moving::{Memory, enter, snapshot, wait_for};

const PROGRAM: &str = "
import os, threading, time
for _ in range(4): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
if os.fork() == 0: time.sleep(1000)
print('ready', flush=True)
time.sleep(1000)
";

/// Open descriptors and threads of this process.
fn held() -> [usize; 2] {
    ["fd", "task"].map(|kind| {
        let list = std::fs::read_dir(format!("/proc/self/{kind}"));
        list.expect("the host's /proc").count()
    })
}

/// What is held when it is at most this, or when time is up.
fn settled(most: [usize; 2]) -> [usize; 2] {
    let deadline = Instant::now() + limit();
    loop {
        let now = held();
        let few = now.iter().zip(most).all(|(now, most)| *now <= most);
        if few || Instant::now() > deadline {
            return now;
        }
        std::thread::yield_now();
    }
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
    drop((machine, next));
}

#[test]
fn nothing_is_left_of_machines_that_ended() {
    let begun = held();
    make_and_end();
    // What is made once for all machines stays: at most a few.
    let before = settled([begun[0] + 4, begun[1] + 2]);
    for _ in 0..5 {
        make_and_end();
    }
    let after = settled(before);
    let same = after
        .iter()
        .zip(before)
        .all(|(after, before)| *after <= before);
    assert!(same, "descriptors and threads: {before:?}, then {after:?}");
}
