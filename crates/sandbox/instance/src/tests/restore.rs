//! A function is captured where it stands, and goes on in shells.

use proto_sandbox::{
    CaptureSpec, CapturedPages, FirstEvent, FromSandbox, HotPages, RefusalKind, RestoreSpec,
    ToSandbox,
};

use super::{PLENTY, Runtime, Sandbox, descriptor, event, file, lambda, shell, start, waits};

/// Captures a sandbox that stands still.
fn capture(sandbox: &mut Sandbox, directory: &tempfile::TempDir) {
    let file = file(directory);
    let capture = ToSandbox::Capture(CaptureSpec {
        max_bytes: PLENTY,
        pages: CapturedPages::All,
    });
    sandbox.send_with(&capture, &descriptor(&file));
    let captured = sandbox.said();
    assert!(
        matches!(captured, FromSandbox::Captured { bytes: 1.., .. }),
        "{captured:?}"
    );
}

fn restore(sandbox: &mut Sandbox, event: Option<FirstEvent>, body: &[u8]) {
    assert_eq!(sandbox.said(), FromSandbox::ShellReady);
    let spec = RestoreSpec {
        environment: vec![("KEY".to_owned(), "secret".to_owned())],
        event,
    };
    sandbox.send(ToSandbox::Restore(spec), &[body, &[7; 32]].concat());
    let restored = sandbox.said();
    assert!(
        matches!(restored, FromSandbox::Restored { .. }),
        "{restored:?}"
    );
}

fn first(request_id: &str) -> Option<FirstEvent> {
    Some(FirstEvent {
        head: event(request_id),
        timeout_ms: 3000,
    })
}

/// Answers the event that the runtime has, and asks for the next.
fn finish(sandbox: &mut Sandbox, runtime: &Runtime, request: &str) {
    runtime.answer(request, "1");
    assert_eq!(sandbox.hear().unwrap().payload, b"1");
    runtime.receive("{\"status\":\"OK\"}\n");
    runtime.ask("invocation/next");
}

/// The snapshot of a function that waits for its first event.
fn ready(directory: &tempfile::TempDir) {
    let mut original = start(lambda(PLENTY), waits());
    let runtime = original.runtime();
    runtime.ask("invocation/next");
    original.expect(&FromSandbox::Ready);
    runtime.hang_up();
    capture(&mut original, directory);
    original.end();
}

#[test]
fn a_clone_begins_with_the_event_that_came_along_and_tells_what_it_used() {
    let directory = tempfile::tempdir().unwrap();
    ready(&directory);
    let mut clone = shell(lambda(PLENTY), &directory.path().join("snapshot"));
    restore(&mut clone, first("one"), b"{}");
    let runtime = clone.runtime();
    runtime.ask("invocation/next");
    let begun = clone.said();
    assert!(
        matches!(begun, FromSandbox::Begun { at: 1.., .. }),
        "{begun:?}"
    );
    assert!(
        runtime
            .receive("\r\n\r\n{}")
            .contains("Request-Id: one\r\n")
    );
    finish(&mut clone, &runtime, "one");
    let touched = clone.hear().unwrap();
    assert_eq!(touched.head, FromSandbox::Touched);
    assert!(HotPages::from_bytes(&touched.payload).0.len() < 1000);
    assert!(matches!(clone.said(), FromSandbox::Usage { .. }));
    // Once.
    clone.send(ToSandbox::Event(event("two")), b"{}");
    runtime.receive("{}");
    finish(&mut clone, &runtime, "two");
    assert!(matches!(clone.said(), FromSandbox::Usage { .. }));
    clone.end();
}

#[test]
fn a_clone_without_an_event_stands_still_until_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    ready(&directory);
    let mut clone = shell(lambda(PLENTY), &directory.path().join("snapshot"));
    restore(&mut clone, None, &[]);
    clone.expect(&FromSandbox::Ready);
    assert!(clone.system.kernel.freezer.wanted());
    clone.send(ToSandbox::Event(event("one")), b"{}");
    let runtime = clone.runtime();
    runtime.ask("invocation/next");
    assert!(
        runtime
            .receive("\r\n\r\n{}")
            .contains("Request-Id: one\r\n")
    );
    clone.end();
}

#[test]
fn the_original_goes_on_from_its_restore_point_when_it_is_told() {
    let mut original = start(lambda(PLENTY), waits());
    let runtime = original.runtime();
    runtime.ask("restore/next");
    original.expect(&FromSandbox::RestorePoint);
    let directory = tempfile::tempdir().unwrap();
    capture(&mut original, &directory);
    assert!(original.system.kernel.freezer.wanted());
    let environment = vec![("KEY".to_owned(), "secret".to_owned())];
    original.send(ToSandbox::Resume { environment }, &[]);
    assert!(runtime.receive("}").contains("{\"KEY\":\"secret\"}"));
    runtime.ask("invocation/next");
    original.expect(&FromSandbox::Ready);
    original.end();
}

#[test]
fn a_shell_that_is_stopped_ends_and_one_without_random_numbers_refuses() {
    let directory = tempfile::tempdir().unwrap();
    ready(&directory);
    let snapshot = directory.path().join("snapshot");
    let mut stopped = shell(lambda(PLENTY), &snapshot);
    assert_eq!(stopped.said(), FromSandbox::ShellReady);
    stopped.send(ToSandbox::Stop, &[]);
    stopped.serving.join().unwrap();
    let mut poor = shell(lambda(PLENTY), &snapshot);
    assert_eq!(poor.said(), FromSandbox::ShellReady);
    let spec = RestoreSpec {
        environment: Vec::new(),
        event: None,
    };
    poor.send(ToSandbox::Restore(spec), &[7; 31]);
    let refused = poor.said();
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
    poor.serving.join().unwrap();
}
