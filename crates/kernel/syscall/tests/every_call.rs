//! Programs that are captured at every system call, and go on in another kernel each time.

#[path = "guest/chain.rs"]
mod chain;
mod guest;
#[path = "guest/moving.rs"]
mod moving;
#[path = "guest/watched.rs"]
mod watched;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chain::{Chain, Check, Report};
use kernel_core::task::ExitStatus;
use watched::each;

const LIMIT: Duration = Duration::from_secs(280);

/// The programs of the project's tests: `/programs` in the machine.
fn guests() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3);
    root.expect("the project").join("guests")
}

fn native(argv: &[&str]) -> (String, Option<i32>) {
    let place = tempfile::tempdir().unwrap();
    let guests = guests().display().to_string();
    let outside = |part: &&str| part.replace("/programs/", &format!("{guests}/programs/"));
    let argv: Vec<_> = argv.iter().map(outside).collect();
    let output = Command::new(&argv[0])
        .args(&argv[1..])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/root")
        .current_dir(place.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    (text.into_owned(), output.status.code())
}

/// The program prints and ends as it does natively when it is moved at every `step`-th of its calls from the `from`-th on.
fn moved(argv: &[&str], step: u64, from: u64) -> Report {
    let (output, code) = native(argv);
    let began = Instant::now();
    let chain = Chain::new(each(step, from), vec![guests()], Check::State);
    let (outcome, report) = chain.live(argv, b"", LIMIT, &mut |_, _| {});
    println!("{argv:?}\n    {:.1?}, {report}", began.elapsed());
    assert_eq!(outcome.output, output, "{}\n{report}", outcome.errors);
    let ended = match outcome.status {
        Some(ExitStatus::Code(code)) => Some(i32::from(code)),
        _ => None,
    };
    assert_eq!(ended, code, "{}\n{report}", outcome.errors);
    report
}

fn script(text: &str, step: u64) -> Report {
    moved(&["/usr/bin/python3", "-I", "-S", "-c", text], step, 3)
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

#[test]
fn event_files() {
    script(include_str!("scripts/event_files.py"), 5);
}

#[test]
fn sockets() {
    script(include_str!("scripts/sockets.py"), 5);
}

#[test]
fn memory() {
    script(include_str!("scripts/memory.py"), 5);
}
