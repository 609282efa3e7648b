//! Programs that ask to be captured.

use std::sync::Arc;
use std::time::Duration;

use crate::guest::{Machine, boot, limit};
use crate::moving::{Snapshot, enter, move_house, snapshot, wait_for, wait_until_asleep};

/// Serves requests of the machine's programs; the receiver gets one word for each.
fn take_requests(machine: &Machine) -> std::sync::mpsc::Receiver<()> {
    let (tell, asked) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let taker = Arc::new(move || {
        let _ = tell.lock().unwrap().send(());
    });
    machine.system.snapshot_requests.serve(taker);
    asked
}

/// Starts a Python program that can [`ASK`]; gives what [`take_requests`] does.
fn start_asking(program: &str) -> (Machine, std::sync::mpsc::Receiver<()>) {
    let machine = boot(Duration::ZERO);
    let asked = take_requests(&machine);
    let program = format!("{ASK}{program}");
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", &program]);
    asked.recv_timeout(limit()).unwrap();
    (machine, asked)
}

const ASK: &str = "
import os
PATH = '/proc/rekindle/snapshot'
def state(): return open(PATH).read().strip()
def ask(flags=0):
    fd = os.open(PATH, os.O_WRONLY | flags)
    try: return os.write(fd, b'now')
    except OSError as e: return os.strerror(e.errno)
    finally: os.close(fd)
";

#[test]
fn a_program_is_captured_in_the_write_that_asks_for_it() {
    let program = "
print(state(), ask(), state(), flush=True)
print(ask(), state())
";
    let (machine, asked) = start_asking(program);
    machine.system.kernel.freeze(limit()).unwrap();
    let Snapshot { state, memory } = snapshot(&machine);
    let requests = &machine.system.snapshot_requests;
    assert!(requests.waiting());
    requests.captured();
    requests.resume();
    machine.system.kernel.thaw();
    // The next one is not granted.
    asked.recv_timeout(limit()).unwrap();
    requests.resume();
    assert_eq!(
        machine.finish().expect_success(),
        "none 3 captured\nOperation not supported captured\n"
    );

    let clone = enter(&state, &memory).expect("load");
    let asked = take_requests(&clone);
    clone.system.kernel.thaw();
    asked.recv_timeout(limit()).unwrap();
    clone.system.snapshot_requests.close();
    assert_eq!(
        clone.finish().expect_success(),
        "none 3 restored\nOperation not supported restored\n"
    );
}

#[test]
fn one_asks_at_a_time_and_whoever_comes_too_late_is_told_at_once() {
    let program = "
import threading
said = []
t = threading.Thread(target=lambda: said.append(ask())); t.start()
input()
print(ask(), flush=True)
input()
t.join(); print(said, ask(os.O_NONBLOCK), flush=True)
input()
print(ask(), ask(), state())
";
    let (machine, asked) = start_asking(program);
    let requests = &machine.system.snapshot_requests;
    machine.console.push_input(b"1\n");
    assert_eq!(wait_for(&machine, "\n"), "Device or resource busy\n");
    requests.busy();
    machine.console.push_input(b"2\n");
    assert_eq!(
        wait_for(&machine, "\n"),
        "['Device or resource busy'] Resource temporarily unavailable\n"
    );
    asked.recv_timeout(limit()).unwrap();
    requests.captured();
    requests.close();
    machine.console.push_input(b"3\n");
    assert_eq!(
        machine.finish().expect_success(),
        "3 Operation not supported captured\n"
    );
    assert!(asked.try_recv().is_err());
}

#[test]
fn a_handler_that_interrupts_the_write_does_not_undo_it() {
    let program = "
import signal
signal.signal(signal.SIGUSR1, lambda *a: print('handled', flush=True))
print(ask(), state())
";
    let (machine, _asked) = start_asking(program);
    wait_until_asleep(&machine);
    let kernel = &machine.system.kernel;
    let init = Arc::clone(&kernel.tree.lock().links(1).unwrap().process);
    let info = kernel_core::signal::siginfo::kernel();
    let _ = kernel.send_to_process(&init, kernel_core::signal::Signal::USR1, info);
    wait_for(&machine, "handled\n");
    wait_until_asleep(&machine);
    let next = move_house(machine);
    assert_eq!(next.finish().expect_success(), "3 restored\n");
}
