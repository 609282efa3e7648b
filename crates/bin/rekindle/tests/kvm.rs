//! Programs in a virtual machine, inside the whole jail; says so and does nothing on hosts without KVM.

use std::process::{Command, Output};

fn run(program: &[&str]) -> Option<Output> {
    if !std::path::Path::new("/dev/kvm").exists() {
        eprintln!("skipped: this host has no /dev/kvm");
        return None;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekindle"));
    command.args(["run", "--platform", "kvm", "--timeout", "50s", "--"]);
    Some(command.args(program).output().expect("it starts"))
}

#[test]
fn python_computes() {
    let Some(output) = run(&["python3", "-c", "print(sum(range(10)))"]) else {
        return;
    };
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "45\n",
        "{output:?}"
    );
}

#[test]
fn processes_threads_and_shared_memory() {
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
    let Some(output) = run(&["python3", "-c", script]) else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "3 7 before\n80\n", "{output:?}");
}

#[test]
fn a_fault_is_a_signal() {
    let script = "import ctypes; ctypes.string_at(0)";
    let Some(output) = run(&["python3", "-c", script]) else {
        return;
    };
    assert_eq!(output.status.code(), Some(139), "{output:?}");
}
