//! Pipes, event files, epoll, terminals and the rest, used by one script natively and in a sandbox.

mod guest;

const SCRIPT: &str = include_str!("scripts/event_files.py");

#[test]
fn a_script_sees_what_it_sees_on_linux() {
    let argv = ["/usr/bin/python3", "-c", SCRIPT];
    let native = guest::native(&argv);
    assert!(native.status.success(), "{native:?}");
    let theirs = String::from_utf8_lossy(&native.stdout);
    let ours = guest::run(&argv, "").expect_success();
    assert_eq!(ours, theirs);
}
