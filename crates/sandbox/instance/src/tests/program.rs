//! A program with its streams, as `rekindle run` has it.

use base_abi::general;
use platform_script::Script;
use proto_sandbox::{ExitReason, FromSandbox, GuestExit, ToSandbox, WorkloadSpec};

use super::{PLENTY, event, spec, start, waits};

#[test]
fn a_program_ends_as_it_likes() {
    let exit = Script::calls(&[(general::__NR_exit_group.into(), &[7])]);
    let last = start(spec(PLENTY, WorkloadSpec::Program), exit).last();
    let FromSandbox::Exited { status, reason, .. } = last else {
        panic!("{last:?}")
    };
    assert_eq!((status, reason), (GuestExit::Code(7), ExitReason::Itself));
}

#[test]
fn events_are_not_for_programs_and_signals_are() {
    let mut sandbox = start(spec(PLENTY, WorkloadSpec::Program), waits());
    sandbox.send(ToSandbox::Event(event("one")), b"{}");
    sandbox.send(ToSandbox::Signal { signal: 15 }, &[]);
    let last = sandbox.last();
    let FromSandbox::Exited { status, reason, .. } = last else {
        panic!("{last:?}")
    };
    assert_eq!(
        (status, reason),
        (GuestExit::Signal(15), ExitReason::Itself)
    );
}
