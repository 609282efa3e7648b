//! Who a process is: what it makes is its own, and what rights its next program has (credentials(7), capabilities(7)).

mod guest;

const USER: [u32; 2] = [993, 990];

fn ordinary(argv: &[&str]) -> String {
    guest::run_as(USER, argv, "typed\n").expect_success()
}

/// What `setpriv --reuid 993 --regid 990 --clear-groups python3 ownership.py` prints on Linux.
#[test]
fn what_a_process_makes_is_its_own() {
    let script = include_str!("scripts/ownership.py");
    assert_eq!(
        ordinary(&["/usr/bin/python3", "-I", "-S", "-c", script]),
        include_str!("scripts/ownership.txt")
    );
}

#[test]
fn pipes_are_opened_by_name() {
    let script = "cat <(echo a); echo b | cat /dev/stdin; echo c > >(cat); wait; echo d | tee /dev/fd/1; cat /dev/stdin; \
        echo e > /dev/stdout; echo f > /dev/stderr; chmod 0666 /dev/stdout && stat -L -c '%a %u %g' /dev/stdout";
    assert_eq!(
        ordinary(&["/bin/bash", "-c", script]),
        "a\nb\nc\nd\nd\ntyped\ne\n666 993 990\n"
    );
}

/// What root's `python3 capabilities.py` prints on Linux.
#[test]
fn a_program_has_the_rights_that_its_file_and_its_caller_give() {
    let argv = [
        "/usr/bin/python3",
        "-I",
        "-S",
        "-c",
        include_str!("scripts/capabilities.py"),
    ];
    assert_eq!(
        guest::run(&argv, "").expect_success(),
        include_str!("scripts/capabilities.txt")
    );
}

/// A user's tasks are counted where the limit is below the sandbox's own; root's are not.
#[test]
fn a_user_makes_no_more_processes_than_it_may() {
    let program = "
import os, resource
def forks():
    made = 0
    try:
        while made < 20:
            if os.fork() == 0: os.read(gate[0], 1) or os._exit(0)
            made += 1
    except BlockingIOError: pass
    return made
def limited(uid):
    if (pid := os.fork()) == 0:
        if uid: os.setresuid(uid, uid, uid)
        resource.setrlimit(resource.RLIMIT_NPROC, (4, 4))
        os._exit(forks())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
gate = os.pipe()
print(limited(1234), limited(1235), limited(1234), limited(0))
";
    let argv = ["/usr/bin/python3", "-I", "-S", "-c", program];
    assert_eq!(guest::run(&argv, "").expect_success(), "3 3 0 20\n");
}
