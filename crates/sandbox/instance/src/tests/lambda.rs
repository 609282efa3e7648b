//! The life of a Lambda function's sandbox: start, ready, events, answers, ends.

use std::collections::VecDeque;

use base_abi::general;
use platform_api::Event;
use platform_script::Script;
use proto_sandbox::{
    CaptureSpec, CapturedPages, ExitReason, FromSandbox, GuestExit, Outcome, RefusalKind,
    STREAM_WINDOW, StageName, ToSandbox,
};

use super::{PLENTY, Runtime, Sandbox, descriptor, event, file, lambda, start, waits};

/// A sandbox whose runtime waits for its first event.
fn ready() -> (Sandbox, Runtime) {
    let mut sandbox = start(lambda(PLENTY), waits());
    let runtime = sandbox.runtime();
    runtime.ask("invocation/next");
    sandbox.expect(&FromSandbox::Ready);
    (sandbox, runtime)
}

fn exited(last: &FromSandbox) -> (GuestExit, ExitReason) {
    match last {
        FromSandbox::Exited { status, reason, .. } => (*status, *reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_function_starts_takes_events_and_is_frozen_between_them() {
    let mut sandbox = start(lambda(PLENTY), waits());
    let runtime = sandbox.runtime();
    let stage = |sandbox: &mut Sandbox| match sandbox.said() {
        FromSandbox::Stage { name, .. } => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(stage(&mut sandbox), StageName::RuntimeInit);
    runtime.ask("invocation/next");
    assert_eq!(stage(&mut sandbox), StageName::FunctionInit);
    assert_eq!(sandbox.said(), FromSandbox::Ready);
    assert!(sandbox.system.kernel.freezer.wanted());
    for request in ["one", "two"] {
        sandbox.send(ToSandbox::Event(event(request)), b"{}");
        let got = runtime.receive("\r\n\r\n{}");
        assert!(got.contains(&format!("Request-Id: {request}\r\n")), "{got}");
        assert!(!sandbox.system.kernel.freezer.wanted());
        runtime.answer(request, "42");
        let answer = sandbox.hear().unwrap();
        assert_eq!(answer.payload, b"42");
        assert!(
            matches!(&answer.head, FromSandbox::Response { request_id, .. } if request_id == request),
            "{answer:?}"
        );
        runtime.receive("{\"status\":\"OK\"}\n");
        runtime.ask("invocation/next");
        let usage = sandbox.said();
        assert!(
            matches!(
                usage,
                FromSandbox::Usage {
                    max_memory_bytes: 1..
                }
            ),
            "{usage:?}"
        );
        assert!(sandbox.system.kernel.freezer.wanted());
    }
    let last = sandbox.end();
    assert_eq!(exited(&last).1, ExitReason::Stopped);
}

#[test]
fn a_streamed_response_waits_for_credit() {
    let (mut sandbox, runtime) = ready();
    sandbox.send(ToSandbox::Event(event("one")), b"{}");
    runtime.receive("{}");
    let length = STREAM_WINDOW + 10;
    runtime.send(&format!(
        "POST /2018-06-01/runtime/invocation/one/response HTTP/1.1\r\nContent-Length: {length}\r\n\
         Lambda-Runtime-Function-Response-Mode: streaming\r\n\r\n"
    ));
    assert!(matches!(sandbox.said(), FromSandbox::ResponseHead { .. }));
    let mut read = 0;
    std::thread::scope(|scope| {
        // The guest's own thread writes to the node, which must read meanwhile.
        scope.spawn(|| runtime.send(&"x".repeat(usize::try_from(length).unwrap())));
        while read < STREAM_WINDOW {
            let piece = sandbox.hear().unwrap();
            assert!(matches!(piece.head, FromSandbox::ResponsePiece { .. }));
            read += piece.payload.len() as u64;
        }
    });
    assert_eq!(read, STREAM_WINDOW);
    let request_id = "one".to_owned();
    sandbox.send(
        ToSandbox::Credit {
            request_id,
            bytes: 10,
        },
        &[],
    );
    assert_eq!(sandbox.hear().unwrap().payload.len(), 10);
    let end = sandbox.said();
    assert!(
        matches!(end, FromSandbox::ResponseEnd { failure: None, .. }),
        "{end:?}"
    );
    sandbox.end();
}

#[test]
fn a_program_that_ends_in_the_middle_of_an_answer_is_told() {
    let (mut sandbox, runtime) = ready();
    sandbox.send(ToSandbox::Event(event("one")), b"{}");
    runtime.receive("{}");
    runtime.send(
        "POST /2018-06-01/runtime/invocation/one/response HTTP/1.1\r\nContent-Length: 9\r\n\r\n42",
    );
    runtime.hang_up();
    let broken = FromSandbox::Error {
        request_id: "one".to_owned(),
        outcome: Outcome::Truncated,
    };
    sandbox.expect(&broken);
    sandbox.send(ToSandbox::Signal { signal: 11 }, &[]);
    let last = sandbox.last();
    assert_eq!(exited(&last), (GuestExit::Signal(11), ExitReason::Itself));
}

#[test]
fn a_guest_with_too_much_memory_is_killed() {
    // A mebibyte that the kernel puts in place at once, and then a sleep: the guest may have more than one byte no longer.
    let [protection, flags] = [
        general::PROT_READ | general::PROT_WRITE,
        general::MAP_SHARED | general::MAP_ANONYMOUS | general::MAP_POPULATE,
    ];
    let populate = [0, 1 << 20, protection.into(), flags.into(), u64::MAX, 0];
    let mut calls = VecDeque::from([Script::call(general::__NR_mmap.into(), &populate)]);
    let takes = Script::steps(move |_| {
        let call = calls.pop_front();
        Some(Event::Syscall(call.unwrap_or_else(|| {
            Script::call(general::__NR_pause.into(), &[])
        })))
    });
    let sandbox = start(lambda(1), takes);
    let last = sandbox.last();
    assert_eq!(
        exited(&last),
        (GuestExit::Signal(9), ExitReason::OutOfMemory)
    );
}

#[test]
fn a_runtime_that_fails_its_initialisation_is_told() {
    let mut sandbox = start(lambda(PLENTY), waits());
    let runtime = sandbox.runtime();
    runtime.send(
        "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nContent-Length: 2\r\n\
         Lambda-Runtime-Function-Error-Type: T\r\n\r\n{}",
    );
    let error_type = Some("T".to_owned());
    sandbox.expect(&FromSandbox::InitError { error_type });
    sandbox.end();
}

#[test]
fn a_capture_that_cannot_be_is_refused_and_the_guest_goes_on() {
    let (mut sandbox, runtime) = ready();
    let directory = tempfile::tempdir().unwrap();
    let file = file(&directory);
    let capture = ToSandbox::Capture(CaptureSpec {
        max_bytes: 1,
        pages: CapturedPages::All,
    });
    sandbox.send_with(&capture, &descriptor(&file));
    let refused = sandbox.said();
    let too_large = RefusalKind::TooLarge;
    assert!(
        matches!(&refused, FromSandbox::Refused { kind, .. } if *kind == too_large),
        "{refused:?}"
    );
    sandbox.send(capture, &[]);
    let refused = sandbox.said();
    assert!(
        matches!(
            &refused,
            FromSandbox::Refused {
                kind: RefusalKind::Host,
                ..
            }
        ),
        "{refused:?}"
    );
    sandbox.send(ToSandbox::Event(event("one")), b"{}");
    runtime.receive("{}");
    runtime.answer("one", "1");
    assert_eq!(sandbox.hear().unwrap().payload, b"1");
    sandbox.end();
}

#[test]
fn a_node_that_goes_away_takes_the_sandbox_with_it() {
    let (sandbox, _runtime) = ready();
    sandbox.socket.shutdown(std::net::Shutdown::Both).unwrap();
    sandbox.serving.join().unwrap();
}
