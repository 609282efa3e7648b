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
