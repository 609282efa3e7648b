//! A hostile program in a sandbox, and neighbours that do not notice.
//!
//! `STORM_SECONDS` says for how long, 1 when it is not set; `make test-storm` makes it a minute.

mod place;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use place::root;

fn seconds() -> u64 {
    let given = std::env::var("STORM_SECONDS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// A program of `directory` or of the machine, in a sandbox of its own.
fn start(platform: &str, directory: &Path, program: &[&str]) -> Child {
    let limit = format!("{}s", seconds() + 50);
    let mount = format!("{}:/hostile:ro", directory.display());
    Command::new(env!("CARGO_BIN_EXE_rekindle"))
        .args(["run", "--platform", platform, "--timeout", &limit])
        .args(["--mount", &mount, "--"])
        .args(program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

fn expect(output: &Output, said: &str) {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), said, "{output:?}");
}

/// What the neighbour computes: hashes, in threads and a child.
const NEIGHBOUR: &str = "
import hashlib, os, threading
def chain(n):
    text = b''
    for _ in range(n):
        text = hashlib.sha256(text).digest()
    return text.hex()
found = []
threads = [threading.Thread(target=lambda: found.append(chain(3000))) for _ in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
child = os.fork()
if child == 0:
    os._exit(int(chain(3000) != found[0]))
print(len(set(found)), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), found[0])
";
/// SHA-256 applied 3,000 times to nothing.
const CHAIN: &str = "4014e22a725f2358cf9bd64c185d703d5c71ff4926ec1b8aa005441877480007";

fn neighbours_do_not_notice(platform: &str) {
    let place = tempfile::tempdir().expect("a directory");
    let built = Command::new("gcc")
        .args(["-O1", "-pthread", "-o"])
        .arg(place.path().join("storm"))
        .arg(root().join("guests/hostile/storm.c"))
        .status()
        .expect("gcc");
    assert!(built.success());
    let length = seconds().to_string();
    let mut storm = start(platform, place.path(), &["/hostile/storm", &length]);
    let mut ended = None;
    // At least one neighbour comes while it storms, and one after it.
    while ended.is_none() {
        ended = storm.try_wait().expect("our own child");
        let neighbour = start(platform, place.path(), &["python3", "-c", NEIGHBOUR]);
        let output = neighbour.wait_with_output().expect("it ends");
        expect(&output, &format!("1 0 {CHAIN}\n"));
    }
    let output = storm.wait_with_output().expect("it ended");
    eprintln!("{platform}: {}", String::from_utf8_lossy(&output.stderr));
    expect(&output, "stormed\n");
}

#[test]
fn a_storm_on_kvm() {
    neighbours_do_not_notice("kvm");
}

#[test]
fn a_storm_on_processes() {
    neighbours_do_not_notice("process");
}
