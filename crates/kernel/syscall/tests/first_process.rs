//! What is different for process 1: the orphans that it inherits, and the signals that do not reach it.

mod guest;

use std::time::Duration;

use kernel_core::signal::{Signal, si_code, siginfo};
use kernel_core::task::{ExitStatus, Protection};

use guest::{Machine, boot};

fn python(script: &str) -> String {
    guest::run(&["/usr/bin/python3", "-I", "-S", "-c", script], "").expect_success()
}

/// The lines are those of `unshare -Urpf --mount-proc python3 orphans.py` on Linux.
#[test]
fn an_init_gets_its_orphans() {
    assert_eq!(
        python(include_str!("scripts/orphans.py")),
        "subreaper 8\nlives True\nby number 3\nany True True\ntold True 5 True\nzombies True\n"
    );
}

/// On Linux it would be beside an init, which takes them.
#[test]
fn a_program_that_is_no_init_has_no_zombies_of_others() {
    let program = "
import os, select
def orphan(gate, told):
    if (parent := os.fork()) == 0:
        if (pid := os.fork()) == 0:
            os.close(gate[1])
            os.read(gate[0], 1)
            os._exit(0)
        os.write(told[1], b'%d ' % pid)
        os._exit(0)
    os.waitpid(parent, 0)
gate, told = os.pipe(), os.pipe()
for _ in range(40): orphan(gate, told)
pids = [int(pid) for pid in os.read(told[0], 4096).split()]
ends = [os.pidfd_open(pid) for pid in pids]
os.close(gate[1])
for end in ends: select.select([end], [], [])
def there(pid):
    try: os.kill(pid, 0)
    except ProcessLookupError: return False
    return True
print(len(pids), [pid for pid in pids if there(pid)], [n for n in os.listdir('/proc') if n.isdigit()])
# What was a zombie already when its parent ended goes as well.
if (parent := os.fork()) == 0:
    if (pid := os.fork()) == 0: os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    os._exit(0)
os.waitpid(parent, 0)
print([n for n in os.listdir('/proc') if n.isdigit()])
try: os.wait()
except ChildProcessError: print('no child')
";
    assert_eq!(python(program), "40 [] ['1']\n['1']\nno child\n");
}

/// The lines are those of `unshare -Urpf --mount-proc python3 init_signals.py` on Linux.
#[test]
fn an_init_is_spared_what_it_has_no_handler_for() {
    assert_eq!(
        python(include_str!("scripts/init_signals.py")),
        include_str!("scripts/init_signals.txt")
    );
}

fn ends(argv: &[&str]) -> Option<ExitStatus> {
    guest::run(argv, "").status
}

#[test]
fn its_own_instructions_end_an_init() {
    let core = |number| Some(ExitStatus::Signal { number, core: true });
    let segv = "import ctypes; ctypes.string_at(0)";
    assert_eq!(ends(&["/usr/bin/python3", "-c", segv]), core(11));
    // abort(3) finds that SIGABRT does nothing, and executes what it may not.
    let abort = "import os; os.abort()";
    assert_eq!(ends(&["/usr/bin/python3", "-c", abort]), core(11));
}

fn process_1(machine: &Machine) -> std::sync::Arc<kernel_core::task::Process> {
    let tree = machine.system.kernel.tree.lock();
    std::sync::Arc::clone(&tree.links(1).expect("process 1").process)
}

#[test]
fn what_comes_from_outside_ends_an_init() {
    for number in [15, 9, 14] {
        let machine = boot(Duration::ZERO);
        machine.start(&["/bin/sleep", "1000"]);
        let signal = Signal::new(number).expect("a signal");
        let outside = siginfo::user(si_code::SI_USER, 0, 0);
        assert!(
            machine
                .system
                .kernel
                .send_to_process(&process_1(&machine), signal, outside)
        );
        let number = u8::try_from(number).expect("small");
        let killed = ExitStatus::Signal {
            number,
            core: false,
        };
        assert_eq!(machine.finish().status, Some(killed));
    }
}

/// On Lambda a function is beside an init.
#[test]
fn a_function_may_end_itself_but_no_orphan_ends_it() {
    let program = "
import os, signal
def child(work):
    if (pid := os.fork()) == 0:
        work()
        os._exit(0)
    os.waitpid(pid, 0)
for number in [9, 15, 19]:
    child(lambda: os.kill(os.getppid(), number))
print('alive', flush=True)
os.kill(os.getpid(), 9)
";
    let machine = boot(Duration::ZERO);
    machine.start_with(
        [0; 2],
        Protection::FromOthers,
        &["/usr/bin/python3", "-c", program],
    );
    let outcome = machine.finish();
    let killed = ExitStatus::Signal {
        number: 9,
        core: false,
    };
    assert_eq!(
        (outcome.output.as_str(), outcome.status),
        ("alive\n", Some(killed))
    );
}
