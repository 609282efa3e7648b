//! Programs in a virtual machine, inside the whole jail, and what is said where there is no KVM.

mod watched;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;
use watched::{Server, children_of, without_kvm};

fn run(program: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekindle"));
    command.args(["run", "--platform", "kvm", "--timeout", "50s", "--"]);
    command.args(program).output().expect("it starts")
}

#[test]
fn python_computes_on_kvm() {
    let output = run(&["python3", "-c", "print(sum(range(10)))"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "45\n",
        "{output:?}"
    );
}

#[test]
fn processes_threads_and_shared_memory_on_kvm() {
    let script = "
import mmap, os, threading
shared, private = mmap.mmap(-1, 4096), bytearray(b'before')
child = os.fork()
if child == 0:
    shared[0], private[0] = 7, 0
    os._exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shared[0], private.decode())
done = []
threads = [threading.Thread(target=lambda: done.append(sum(range(50000)))) for _ in range(80)]
[t.start() for t in threads]
[t.join() for t in threads]
print(len(done))
";
    let output = run(&["python3", "-c", script]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "3 7 before\n80\n", "{output:?}");
}

#[test]
fn a_fault_is_a_signal_on_kvm() {
    let script = "import ctypes; ctypes.string_at(0)";
    let output = run(&["python3", "-c", script]);
    assert_eq!(output.status.code(), Some(139), "{output:?}");
}

const FUNCTION: &str = "def handler(event, context): return event\n";

#[test]
fn a_function_demands_its_platform_on_kvm() {
    let place = tempfile::tempdir().unwrap();
    let code = place.path().join("code");
    std::fs::create_dir(&code).unwrap();
    std::fs::write(code.join("app.py"), FUNCTION).unwrap();
    let data = place.path().join("data");
    for (servers, demanded) in [("process", "kvm"), ("kvm", "process")] {
        let server = Server::start_with(&data, &["--platform", servers, "--snap-start", "never"]);
        let variable = format!("REKINDLE_PLATFORM={demanded}");
        server.deploy(&code, &["--name", demanded, "--env", &variable]);
        assert_eq!(server.invoke(demanded, &json!(1)).body, json!(1));
        let sandboxes = server.sandboxes();
        let sandbox = sandboxes.first().unwrap();
        // Guests of a virtual machine are no processes of the host.
        let guests = children_of(sandbox.pid).len();
        assert_eq!(guests == 0, demanded == "kvm", "{guests} on {demanded}");
    }
}

#[test]
fn a_program_on_a_platform_that_is_missing_does_not_start() {
    let mut command = without_kvm();
    let output = command.args(["run", "--platform", "kvm", "--", "true"]);
    let output = output.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("cannot make a virtual machine"), "{said}");
    assert!(said.contains("rekindle doctor"), "{said}");
}

#[test]
fn a_function_that_demands_what_is_missing_says_so() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("app.py"), FUNCTION).unwrap();
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_without_kvm(data.path());
    server.deploy(place.path(), &["--name", "anywhere"]);
    let demand = ["--name", "machine", "--env", "REKINDLE_PLATFORM=kvm"];
    server.deploy(place.path(), &demand);
    let path = "/2015-03-31/functions/machine/invocations";
    let (head, body) = server.request("POST", path, "1");
    assert!(head.starts_with("HTTP/1.1 500"), "{head}");
    for part in ["cannot make a virtual machine", "REKINDLE_PLATFORM"] {
        assert!(body.contains(part), "{body}");
    }
    assert_eq!(server.invoke("anywhere", &json!(1)).body, json!(1));
}

/// What `--platform auto` says that it took, and whether the program ran.
fn automatic(mut rekindle: Command) -> String {
    let output = rekindle.args(["run", "--platform", "auto", "--", "echo", "ran"]);
    let output = output.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.stdout, b"ran\n", "{said}");
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("rekindle: platform "));
    line.unwrap_or_else(|| panic!("{said}")).to_owned()
}

#[test]
fn the_choice_is_told_with_its_reason() {
    let taken = automatic(Command::new(env!("CARGO_BIN_EXE_rekindle")));
    let measured = taken.contains("a guest's call ");
    assert_eq!(measured, Path::new("/dev/kvm").exists(), "{taken}");
    let taken = automatic(without_kvm());
    assert!(taken.starts_with("process: no kvm: "), "{taken}");
}
