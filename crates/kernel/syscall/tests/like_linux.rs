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

/// What a C program prints, natively and in a sandbox that has it at `/place/program`.
fn a_program_sees_what_it_sees_on_linux(source: &str) {
    let layer = tempfile::tempdir().expect("a directory");
    let program = layer.path().join("place/program");
    std::fs::create_dir(layer.path().join("place")).expect("a directory");
    std::fs::write(layer.path().join("place/program.c"), source).expect("its source");
    let built = std::process::Command::new("gcc")
        .args(["-O1", "-o"])
        .args([&program, &program.with_extension("c")])
        .status()
        .expect("gcc");
    assert!(built.success());
    let native = guest::native(&[program.to_str().expect("a name")]);
    assert!(native.status.success(), "{native:?}");
    let layers = [layer.path().to_owned()];
    let machine = guest::boot_on(guest::platform(), std::time::Duration::ZERO, &layers);
    machine.start(&["/place/program"]);
    let ours = machine.finish().expect_success();
    assert_eq!(ours, String::from_utf8_lossy(&native.stdout));
}

/// x87, MXCSR and vectors in signal handlers, and after them.
#[test]
fn float_state_of_handlers() {
    a_program_sees_what_it_sees_on_linux(include_str!("scripts/float_state.c"));
}

/// `RLIMIT_CPU` and `RLIMIT_FSIZE`.
#[test]
fn limits() {
    sees_what_it_sees_on_linux(include_str!("scripts/limits.py"));
}

/// Expiries of POSIX timers while their signal is pending.
#[test]
fn overruns() {
    sees_what_it_sees_on_linux(include_str!("scripts/overruns.py"));
}

/// What a number is given to while a call waits is none of that call's business.
#[test]
fn parked() {
    sees_what_it_sees_on_linux(include_str!("scripts/parked.py"));
}

/// Buffers that are not all there.
#[test]
fn partial() {
    sees_what_it_sees_on_linux(include_str!("scripts/partial.py"));
}

/// splice(2) and its kin, which wait for one of two files.
#[test]
fn two_sides() {
    sees_what_it_sees_on_linux(include_str!("scripts/two_sides.py"));
}

/// IP_RECVERR and MSG_ERRQUEUE.
#[test]
fn error_queue() {
    sees_what_it_sees_on_linux(include_str!("scripts/error_queue.py"));
}

/// F_SETOWN, O_ASYNC and F_SETSIG.
#[test]
fn async_io() {
    sees_what_it_sees_on_linux(include_str!("scripts/async_io.py"));
}

/// The order in which calls find mistakes.
#[test]
fn errors() {
    sees_what_it_sees_on_linux(include_str!("scripts/errors.py"));
}
