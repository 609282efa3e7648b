//! What is different for process 1: the orphans that it inherits, and the signals that do not reach it.

mod guest;

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
