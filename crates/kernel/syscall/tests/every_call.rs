//! Programs that are captured at every system call, and go on in another kernel each time.

#![allow(
    clippy::print_stdout,
    reason = "what was done is told with --nocapture"
)]

#[path = "guest/chain.rs"]
mod chain;
mod guest;
#[path = "guest/moving.rs"]
mod moving;
#[path = "guest/watched.rs"]
mod watched;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chain::{Chain, Check, Report};
use kernel_core::signal::{Signal, siginfo};
use kernel_core::task::ExitStatus;
use moving::{move_house, wait_for, wait_until_asleep};
use watched::{Watch, Watched, each};

const LIMIT: Duration = Duration::from_secs(1500);

/// The programs of the project's tests: `/programs` in the machine.
fn guests() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3);
    root.expect("the project").join("guests")
}

/// What it prints and its exit code on the host, where the programs lie elsewhere.
fn native(argv: &[&str]) -> (String, Option<i32>) {
    let guests = guests().display().to_string();
    let outside = |part: &&str| part.replace("/programs/", &format!("{guests}/programs/"));
    let argv: Vec<_> = argv.iter().map(outside).collect();
    let argv: Vec<_> = argv.iter().map(String::as_str).collect();
    let output = guest::native(&argv);
    let text = String::from_utf8_lossy(&output.stdout);
    (text.into_owned(), output.status.code())
}

fn told(argv: &[&str], began: Instant, report: &Report) -> String {
    let name = argv.iter().rev().find(|part| part.len() < 60);
    let name = name.copied().unwrap_or_default();
    format!("{name}: {:.1?}, {report}\n", began.elapsed())
}

/// The program prints and ends as it does natively when it is moved at every `step`-th of its calls from the `from`-th on.
fn moved(argv: &[&str], step: u64, from: u64) -> Report {
    let (output, code) = native(argv);
    let began = Instant::now();
    let chain = Chain::new(each(step, from), vec![guests()], Check::State);
    let (outcome, report) = chain.live(argv, b"", LIMIT, &mut |_, _| {});
    print!("{}", told(argv, began, &report));
    assert_eq!(outcome.output, output, "{}\n{report}", outcome.errors);
    let ended = match outcome.status {
        Some(ExitStatus::Code(code)) => Some(i32::from(code)),
        _ => None,
    };
    assert_eq!(ended, code, "{}\n{report}", outcome.errors);
    report
}

#[test]
fn a_small_program() {
    let report = moved(&["/bin/echo", "hello"], 1, 1);
    assert_eq!(report.moves + 1, report.calls, "all but its last");
}

#[test]
fn a_pipeline() {
    let script = "seq 1 500 | grep 7 | sort -r | head -n 3; (exit 7) || echo $?; echo $(echo sub) | cat; exit 3";
    moved(&["/bin/sh", "-c", script], 1, 1);
}

const SCRIPTS: [(&str, &str); 7] = [
    ("event_files", include_str!("scripts/event_files.py")),
    ("files", include_str!("scripts/files.py")),
    ("memory", include_str!("scripts/memory.py")),
    ("processes", include_str!("scripts/processes.py")),
    ("signals", include_str!("scripts/signals.py")),
    ("sockets", include_str!("scripts/sockets.py")),
    ("threads", include_str!("scripts/threads.py")),
];

fn script(name: &str, step: u64) -> Report {
    let found = SCRIPTS.iter().find(|(known, _)| *known == name);
    let (_, text) = found.expect("a script");
    moved(&["/usr/bin/python3", "-I", "-S", "-c", text], step, 3)
}

#[test]
fn event_files() {
    script("event_files", 11);
}

#[test]
fn files() {
    script("files", 11);
}

#[test]
fn memory() {
    script("memory", 7);
}

#[test]
fn processes() {
    script("processes", 11);
}

#[test]
fn signals() {
    script("signals", 7);
}

#[test]
fn sockets() {
    script("sockets", 11);
}

#[test]
fn threads() {
    script("threads", 7);
}

/// A capture between the frame of the handler that cuts a sleep off and the handler finds the rest of the sleep told.
#[test]
fn the_rest_of_a_sleep_is_told_before_its_end() {
    let program = "
import ctypes, signal
libc = ctypes.CDLL(None)
signal.signal(signal.SIGUSR1, lambda number, frame: None)
left = (ctypes.c_long * 2)()
print('ready', flush=True)
print(libc.syscall(35, (ctypes.c_long * 2)(3600, 0), left), 0 < left[0] < 3600)
";
    let watch = Watch::new(Box::new(|_| false));
    let platform = Arc::new(Watched::new(&watch));
    let machine = guest::boot_on(Arc::clone(&platform) as _, Duration::ZERO, &[]);
    platform.serve(&machine.system);
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", program]);
    wait_for(&machine, "ready\n");
    wait_until_asleep(&machine);
    watch.freeze_at_frame();
    let kernel = &machine.system.kernel;
    let first = kernel.tree.lock().tasks().next().cloned();
    let info = siginfo::kernel();
    assert!(kernel.send_to_task(&first.expect("a task"), Signal::USR1, info));
    assert!(watch.frozen_at_frame(Instant::now() + guest::limit()));
    let next = move_house(machine);
    assert_eq!(next.finish().expect_success(), "-1 True\n");
}

/// `make test-snapshot-everywhere`: each name with what it runs, from the third call on (before that there is no program).
#[test]
#[ignore = "takes minutes"]
fn every_program_at_every_call() {
    for (name, text) in SCRIPTS {
        println!("{name}");
        moved(&["/usr/bin/python3", "-I", "-S", "-c", text], 1, 3);
    }
    for (program, step) in [
        ("event_loop", 3),
        ("servers", 3),
        ("sqlite", 3),
        ("ssl_pair", 5),
        ("threads", 5),
        ("processes", 11),
        ("commands", 11),
    ] {
        let path = format!("/programs/python/{program}.py");
        moved(&["/usr/bin/python3", &path], step, 3);
    }
    for program in ["http", "workers", "children"] {
        let path = format!("/programs/node/{program}.mjs");
        moved(&["/usr/bin/node", &path], 11, 3);
    }
}
