//! Scripts that print the same natively and in a sandbox, a family of system calls each.

mod guest;

fn sees_what_it_sees_on_linux(script: &str) {
    let argv = ["/usr/bin/python3", "-c", script];
    let native = guest::native(&argv);
    assert!(native.status.success(), "{native:?}");
    let theirs = String::from_utf8_lossy(&native.stdout);
    let ours = guest::run(&argv, "").expect_success();
    assert_eq!(ours, theirs);
}

#[test]
fn memory() {
    sees_what_it_sees_on_linux(include_str!("scripts/memory.py"));
}

#[test]
fn sockets() {
    sees_what_it_sees_on_linux(include_str!("scripts/sockets.py"));
}

/// Pipes, event files, epoll, terminals and the rest.
#[test]
fn event_files() {
    sees_what_it_sees_on_linux(include_str!("scripts/event_files.py"));
}

#[test]
fn clone() {
    sees_what_it_sees_on_linux(include_str!("scripts/clone.py"));
}

/// unshare(2), membarrier(2), and what is told of scheduling and of the machine.
#[test]
fn tasks() {
    sees_what_it_sees_on_linux(include_str!("scripts/tasks.py"));
}

/// Stopped groups that nobody can continue.
#[test]
fn orphaned_groups() {
    sees_what_it_sees_on_linux(include_str!("scripts/job_orphans.py"));
}

/// `st_nlink` below `/proc`, `/dev` and `/sys`.
#[test]
fn links_of_directories() {
    sees_what_it_sees_on_linux(include_str!("scripts/links.py"));
}
