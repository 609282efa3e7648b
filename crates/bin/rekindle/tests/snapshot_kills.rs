//! `kill -9` of the server, of kernel processes and of guest processes, while snapshots are made or used: every event
//! that anyone was promised is answered, none is worked on twice, and nothing is left of the dead.
//!
//! | killed | as it is captured | as a clone is restored |
//! |---|---|---|
//! | server | `server_in_a_capture` | `server_in_a_restore`, `server_while_a_clone_works` |
//! | kernel process | `kernel_process_in_a_capture` | `kernel_process_in_a_restore`, `kernel_process_of_a_waiting_shell`, `clone_in_its_hooks`, `two_clones_in_their_hooks`, `clone_at_work` |
//! | guest process | `guest_process_in_a_capture` | `guest_process_in_a_restore`, `guest_process_of_a_waiting_shell` |

mod counted;
mod watched;

use std::fs;
use std::process::{Child, Stdio};

use base_eventually::eventually;
use counted::{LARGE, Place, ask, shell};
use watched::{Process, Server, go_on, groups_of, guests_of, kill, stop};

/// Times that a capture may be over before it was stopped.
const TRIES: usize = 50;

/// A function whose capture stands still in the middle of writing the image.
struct Caught {
    function: String,
    deploying: Child,
    /// Its kernel process stands still.
    kernel: u32,
}

fn caught(server: &Server, place: &Place) -> Caught {
    for number in 0..TRIES {
        let function = format!("large{number}");
        let code = place.code(&function, LARGE);
        let mut deploying = server.deploying(&code, &["--memory", "512"]);
        let mut deploying = deploying.stderr(Stdio::null()).spawn().unwrap();
        server.capturing();
        // The newest: those before are shells of functions that were too quick.
        let newest = |one: &Process| one.started();
        let kernel = server
            .sandboxes()
            .into_iter()
            .max_by_key(newest)
            .unwrap()
            .pid;
        loop {
            stop(kernel);
            match server.half_written() {
                Some(true) => {
                    return Caught {
                        function,
                        deploying,
                        kernel,
                    };
                }
                Some(false) => go_on(kernel),
                None => break,
            }
        }
        go_on(kernel);
        deploying.wait().unwrap();
    }
    panic!("no capture was caught")
}

/// An event whose clone stands still while it is restored: its client, and the sandbox.
fn held(server: &Server, place: &Place) -> (Child, u32) {
    server.deploy(&place.code("one", ""), &["--fresh"]);
    let sandbox = shell(server);
    stop(sandbox);
    let mut event = server.command(&["invoke", "one", "1"]);
    let event = event.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    // The next is made when this one has been taken.
    assert_ne!(shell(server), sandbox);
    (event.unwrap(), sandbox)
}

/// The event of [`held`] is answered, by another clone, and its snapshot stays.
fn answered_by_another(server: &Server, event: Child) {
    let answered = event.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answered.stdout).trim(), "1");
    assert_eq!(server.printed("one", "worked on 1"), 1);
    assert_eq!(ask(server, "one", 2), "restored");
    assert_eq!(server.quarantined(), Vec::<String>::new());
    assert_eq!(server.ready().len(), 1);
}

/// Kills the server and starts another: nothing that the first one made is left.
fn another_after(server: Server) -> Server {
    let (pid, processes) = (server.pid(), server.descendants());
    assert!(processes.len() >= 2, "{processes:?}");
    let server = server.again();
    assert!(server.staging().is_empty() && server.quarantined().is_empty());
    eventually("its processes have ended", || {
        !processes.iter().any(Process::alive)
    });
    eventually("its groups are gone", || groups_of(pid).is_empty());
    server
}

#[test]
fn kernel_process_in_a_capture() {
    let place = Place::new();
    let server = Server::start(&place.data());
    let mut caught = caught(&server, &place);
    kill(caught.kernel);
    assert!(caught.deploying.wait().unwrap().success());
    let told = server.configuration(&caught.function);
    let reason = told["StateReason"].as_str().unwrap();
    assert!(reason.contains("ended while it was captured"), "{told}");
    // This server tries it no more: it could come to the same end.
    assert_eq!(ask(&server, &caught.function, 1), "cold");
    server.nothing_in_staging();
    assert_eq!(server.quarantined(), Vec::<String>::new());
    let server = server.again();
    assert_eq!(ask(&server, &caught.function, 2), "cold");
    server.logged(&["snapshot ready"]);
    let server = server.again();
    assert_eq!(ask(&server, &caught.function, 3), "restored");
}

#[test]
fn guest_process_in_a_capture() {
    let place = Place::new();
    let server = Server::start(&place.data());
    let mut caught = caught(&server, &place);
    for guest in guests_of(caught.kernel) {
        kill(guest.pid);
    }
    go_on(caught.kernel);
    assert!(caught.deploying.wait().unwrap().success());
    assert_eq!(ask(&server, &caught.function, 1), "cold");
    assert_eq!(ask(&server, &caught.function, 2), "warm");
    server.nothing_in_staging();
    assert_eq!(server.quarantined(), Vec::<String>::new());
}

#[test]
fn server_in_a_capture() {
    let place = Place::new();
    let server = Server::start(&place.data());
    let mut caught = caught(&server, &place);
    // Waits for the function to come up.
    let event = server
        .command(&["invoke", &caught.function, "7"])
        .stderr(Stdio::null())
        .spawn();
    let server = another_after(server);
    assert!(!event.unwrap().wait().unwrap().success());
    // Its server is gone; what it says of that is its own affair.
    caught.deploying.wait().unwrap();
    assert_eq!(ask(&server, &caught.function, 1), "cold");
    server.logged(&["snapshot ready"]);
    let server = server.again();
    assert_eq!(ask(&server, &caught.function, 2), "restored");
    assert!(server.staging().is_empty());
    assert_eq!(server.printed(&caught.function, "worked on 7"), 0);
}

#[test]
fn kernel_process_in_a_restore() {
    let place = Place::new();
    let server = Server::start(&place.data());
    let (event, sandbox) = held(&server, &place);
    kill(sandbox);
    answered_by_another(&server, event);
}

#[test]
fn guest_process_in_a_restore() {
    let place = Place::new();
    let server = Server::start(&place.data());
    let (event, sandbox) = held(&server, &place);
    for guest in guests_of(sandbox) {
        kill(guest.pid);
    }
    go_on(sandbox);
    answered_by_another(&server, event);
}

#[test]
fn server_in_a_restore() {
    let place = Place::new();
    let server = Server::start(&place.data());
    let (mut event, _) = held(&server, &place);
    let server = another_after(server);
    assert!(!event.wait().unwrap().success());
    assert_eq!(ask(&server, "one", 2), "restored");
    assert_eq!(ask(&server, "one", 3), "restored");
    // Its client knows that it was not answered; nobody repeats it on its own.
    assert_eq!(server.printed("one", "worked on 1"), 0);
    assert!(server.staging().is_empty() && server.quarantined().is_empty());
}

/// Kills something of the shell that the next event would take.
fn killed_while_it_waits(victims: impl Fn(u32) -> Vec<u32>) {
    let place = Place::new();
    let server = Server::start(&place.data());
    server.deploy(&place.code("one", ""), &["--fresh"]);
    victims(shell(&server)).into_iter().for_each(kill);
    assert_eq!(ask(&server, "one", 1), "restored");
    assert_eq!(ask(&server, "one", 2), "restored");
    assert_eq!(server.quarantined(), Vec::<String>::new());
    assert_eq!(server.ready().len(), 1);
}

/// Sandboxes that are there do not need it, and another makes those that come.
#[test]
fn zygote() {
    let place = Place::new();
    let server = Server::start(&place.data());
    server.deploy(&place.code("one", ""), &[]);
    server.logged(&["snapshot ready"]);
    assert_eq!(ask(&server, "one", 1), "restored");
    let zygote = server.zygote();
    kill(zygote.pid);
    assert_eq!(ask(&server, "one", 2), "warm");
    server.deploy(&place.code("two", ""), &["--fresh"]);
    for event in 3..6 {
        assert_eq!(ask(&server, "two", event), "restored");
    }
    assert_ne!(server.zygote(), zygote);
    assert_eq!(ask(&server, "one", 6), "warm");
}

#[test]
fn kernel_process_of_a_waiting_shell() {
    killed_while_it_waits(|sandbox| vec![sandbox]);
}

#[test]
fn guest_process_of_a_waiting_shell() {
    killed_while_it_waits(|sandbox| guests_of(sandbox).iter().map(|guest| guest.pid).collect());
}

/// Nobody can know how far it came.
#[test]
fn clone_at_work() {
    let place = Place::new();
    let server = Server::start(&place.data());
    let wait = "import builtins, signal\ndef print(*said, flush):\n    builtins.print(*said, flush=True)\n    \
        if said[1] == 1: signal.pause()";
    server.deploy(&place.code("one", wait), &[]);
    server.logged(&["snapshot ready"]);
    let event = server
        .command(&["invoke", "one", "1"])
        .stdout(Stdio::piped())
        .spawn();
    eventually("it works", || server.printed("one", "worked on 1") != 0);
    server.kill_sandboxes();
    let failed = event.unwrap().wait_with_output().unwrap();
    assert!(!failed.status.success(), "{failed:?}");
    assert_eq!(ask(&server, "one", 2), "restored");
    assert_eq!(server.printed("one", "worked on 1"), 1);
    assert_eq!(server.quarantined(), Vec::<String>::new());
}

/// A hook after the restore that says so in each clone, and then stays until its code has a file `go`.
const STAYS: &str = "import os, snapshot_restore_py\n@snapshot_restore_py.register_after_restore\ndef stay():\n    \
    if open('/proc/rekindle/snapshot').read().strip() != 'restored': return\n    \
    print('restoring', flush=True)\n    \
    while not os.path.exists('/var/task/go'): os.sched_yield()";

/// Sends an event to a function that [`STAYS`], and kills so many of its clones in their hooks; which started it then.
fn killed_in_hooks(server: &Server, place: &Place, kills: usize) {
    server.deploy(&place.code("one", STAYS), &[]);
    // The first that waits is the first that is taken.
    let mut clone = shell(server);
    let mut event = server.command(&["invoke", "one", "1"]);
    let event = event.stdout(Stdio::piped()).spawn().unwrap();
    for nth in 1..=kills {
        eventually("a clone restores", || {
            server.printed("one", "restoring") >= nth
        });
        let next = shell(server);
        // What it sees from here on it does not act on.
        stop(clone);
        if nth == kills {
            fs::write(place.deployed("app.py").with_file_name("go"), "").unwrap();
        }
        kill(std::mem::replace(&mut clone, next));
    }
    let answered = event.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answered.stdout).trim(), "1");
    assert_eq!(server.printed("one", "worked on 1"), 1);
}

#[test]
fn clone_in_its_hooks() {
    let place = Place::new();
    let server = Server::start(&place.data());
    killed_in_hooks(&server, &place, 1);
    assert_eq!(server.printed("one", "restoring"), 2);
    assert_eq!(server.quarantined(), Vec::<String>::new());
    assert_eq!(server.ready().len(), 1);
    assert_eq!(ask(&server, "one", 2), "warm");
}

/// Nobody knows that it was not the snapshot's fault: it is used no more.
#[test]
fn two_clones_in_their_hooks() {
    let place = Place::new();
    let server = Server::start(&place.data());
    killed_in_hooks(&server, &place, 2);
    assert_eq!(server.printed("one", "restoring"), 2);
    server.logged(&["WARN", "goes to quarantine"]);
    assert_eq!((server.quarantined().len(), server.ready().len()), (1, 0));
    assert_eq!(ask(&server, "one", 2), "warm");
}

#[test]
fn server_while_a_clone_works() {
    let place = Place::new();
    let server = Server::start(&place.data());
    let wait = "import builtins, signal\ndef print(*said, flush):\n    builtins.print(*said, flush=True)\n    \
        if said[1] == 1: signal.pause()";
    server.deploy(&place.code("one", wait), &["--fresh"]);
    server.logged(&["snapshot ready"]);
    let mut invoking = server.command(&["invoke", "one", "1"]);
    let at_work = std::thread::spawn(move || invoking.output());
    eventually("it works", || server.printed("one", "worked on 1") != 0);
    let server = another_after(server);
    assert!(!at_work.join().unwrap().unwrap().status.success());
    assert_eq!(ask(&server, "one", 2), "restored");
    assert_eq!(ask(&server, "one", 3), "restored");
    assert!(server.staging().is_empty() && server.quarantined().is_empty());
}
