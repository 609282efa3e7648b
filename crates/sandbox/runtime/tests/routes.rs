//! Every route of the Runtime API with its answers and refusals.

use proto_sandbox::{EventHead, Initialization, Outcome};
use sandbox_runtime::{Busy, ConnectionId, Event, RuntimeApi, RuntimeEvent, RuntimeLimits, Saved};

const NEXT: &str = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n";

fn small() -> RuntimeLimits {
    RuntimeLimits {
        connections: 2,
        head_bytes: 1024,
        body_bytes: 100,
        streamed_bytes: 1000,
        window_bytes: 100,
        discard_bytes: 1000,
        pipelined_bytes: 512,
    }
}

fn event(id: &str) -> Event {
    let head = EventHead {
        request_id: id.into(),
        invocation_id: format!("attempt-{id}"),
        deadline_ms: 1234,
        invoked_function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
        ..EventHead::default()
    };
    Event {
        head,
        payload: b"{\"a\":1}".to_vec(),
    }
}

fn send(runtime: &mut RuntimeApi, id: ConnectionId, text: &str) -> String {
    assert_eq!(runtime.input(id, text.as_bytes()), text.len());
    answer(runtime, id)
}

fn answer(runtime: &mut RuntimeApi, id: ConnectionId) -> String {
    let text = String::from_utf8(runtime.output(id).to_vec()).unwrap();
    runtime.consume_output(id, text.len());
    text
}

fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /2018-06-01/runtime/{path} HTTP/1.1\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

fn events(runtime: &mut RuntimeApi) -> Vec<RuntimeEvent> {
    std::iter::from_fn(|| runtime.next_event()).collect()
}

/// A runtime that has taken the event `r1`.
fn running() -> (RuntimeApi, ConnectionId) {
    let mut runtime = RuntimeApi::new(small(), Initialization::OnDemand);
    let id = runtime.open().unwrap();
    assert_eq!(send(&mut runtime, id, NEXT), "");
    runtime.deliver(event("r1")).unwrap();
    answer(&mut runtime, id);
    events(&mut runtime);
    (runtime, id)
}

#[test]
fn next_waits_and_carries_the_event_in_exact_headers() {
    let mut runtime = RuntimeApi::new(small(), Initialization::OnDemand);
    let id = runtime.open().unwrap();
    assert_eq!(send(&mut runtime, id, NEXT), "");
    assert_eq!(
        events(&mut runtime),
        [RuntimeEvent::Connected, RuntimeEvent::Ready]
    );
    let mut event = event("r1");
    event.head.trace_id = Some("Root=1".into());
    event.head.client_context = Some("{\"a\":\r\n\"b\"}".into());
    event.head.cognito_identity = Some("{}".into());
    event.head.tenant_id = Some("t".into());
    runtime.deliver(event).unwrap();
    assert_eq!(
        answer(&mut runtime, id),
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\
         Lambda-Runtime-Aws-Request-Id: r1\r\nLambda-Runtime-Deadline-Ms: 1234\r\n\
         Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:f\r\n\
         Lambda-Runtime-Invocation-Id: attempt-r1\r\nLambda-Runtime-Trace-Id: Root=1\r\n\
         Lambda-Runtime-Client-Context: {\"a\":  \"b\"}\r\nLambda-Runtime-Cognito-Identity: {}\r\n\
         Lambda-Runtime-Aws-Tenant-Id: t\r\n\r\n{\"a\":1}"
    );
}

#[test]
fn an_event_waits_for_next() {
    let mut runtime = RuntimeApi::new(small(), Initialization::OnDemand);
    runtime.deliver(event("r1")).unwrap();
    assert_eq!(runtime.deliver(event("r2")), Err(Busy));
    let id = runtime.open().unwrap();
    assert!(send(&mut runtime, id, NEXT).contains("Request-Id: r1"));
}

#[test]
fn a_response_ends_the_event_and_next_ends_the_turn() {
    let (mut runtime, id) = running();
    assert_eq!(runtime.deliver(event("r2")), Err(Busy));
    let sent = post(
        "invocation/r1/response",
        "Content-Type: text/plain\r\n",
        "done",
    );
    let got = send(&mut runtime, id, &sent);
    assert!(got.starts_with("HTTP/1.1 202 Accepted\r\n") && got.ends_with("{\"status\":\"OK\"}\n"));
    assert_eq!(
        events(&mut runtime),
        [RuntimeEvent::Response {
            request_id: "r1".into(),
            content_type: Some("text/plain".into()),
            payload: b"done".to_vec(),
        }]
    );
    assert_eq!(send(&mut runtime, id, NEXT), "");
    assert_eq!(events(&mut runtime), [RuntimeEvent::Idle]);
    runtime.deliver(event("r2")).unwrap();
    assert!(answer(&mut runtime, id).contains("Request-Id: r2"));
}

#[test]
fn an_error_carries_its_type_and_body() {
    let (mut runtime, id) = running();
    let sent = post(
        "invocation/r1/error",
        "Lambda-Runtime-Function-Error-Type: T\r\n",
        "{}",
    );
    assert!(send(&mut runtime, id, &sent).starts_with("HTTP/1.1 202 "));
    let outcome = Outcome::Function {
        error_type: Some("T".into()),
    };
    let body = b"{}".to_vec();
    assert_eq!(
        events(&mut runtime),
        [RuntimeEvent::Error {
            request_id: "r1".into(),
            outcome,
            body
        }]
    );
}

#[test]
fn chunks_make_a_response_and_trailers_an_error() {
    let start = "POST /2018-06-01/runtime/invocation/r1/response HTTP/1.1\r\n\
        Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n";
    let (mut runtime, id) = running();
    send(&mut runtime, id, &format!("{start}\r\n"));
    let got = events(&mut runtime);
    assert!(matches!(&got[..], [RuntimeEvent::Response { payload, .. }] if payload == b"abc"));

    let (mut runtime, id) = running();
    let trailers =
        "Lambda-Runtime-Function-Error-Type: T\r\nLambda-Runtime-Function-Error-Body: e30=\r\n\r\n";
    send(&mut runtime, id, &format!("{start}{trailers}"));
    let got = events(&mut runtime);
    assert!(matches!(&got[..], [RuntimeEvent::Error { body, .. }] if body == b"{}"));
}

#[test]
fn other_request_ids_and_attempts_are_refused() {
    let (mut runtime, id) = running();
    let invalid = "{\"errorMessage\":\"Invalid request ID\",\"errorType\":\"InvalidRequestID\"}";
    for sent in [
        post("invocation/r2/response", "", "x"),
        post("invocation/r2/error", "", "x"),
        post(
            "invocation/r1/response",
            "Lambda-Runtime-Invocation-Id: attempt-r0\r\n",
            "x",
        ),
    ] {
        let got = send(&mut runtime, id, &sent);
        assert!(
            got.starts_with("HTTP/1.1 400 ") && got.ends_with(invalid),
            "{got}"
        );
    }
    assert_eq!(events(&mut runtime), []);
    let sent = post(
        "invocation/r1/response",
        "Lambda-Runtime-Invocation-Id: attempt-r1\r\n",
        "x",
    );
    assert!(send(&mut runtime, id, &sent).starts_with("HTTP/1.1 202 "));
}

#[test]
fn steps_out_of_order_are_refused() {
    let (mut runtime, id) = running();
    let forbidden = |got: String, from: &str, to: &str| {
        let message = format!("State transition from {from} to {to} failed for runtime.");
        assert!(
            got.starts_with("HTTP/1.1 403 ") && got.contains(&message),
            "{got}"
        );
        assert!(got.contains("\"errorType\":\"InvalidStateTransition\""));
    };
    forbidden(send(&mut runtime, id, NEXT), "Running", "Ready");
    forbidden(
        send(&mut runtime, id, &post("init/error", "", "{}")),
        "Running",
        "InitError",
    );
    send(&mut runtime, id, &post("invocation/r1/response", "", "1"));
    let again = send(&mut runtime, id, &post("invocation/r1/response", "", "2"));
    forbidden(again, "ResponseSent", "InvocationResponse");
    assert_eq!(events(&mut runtime).len(), 1);
}

#[test]
fn nothing_follows_an_init_error() {
    let mut runtime = RuntimeApi::new(small(), Initialization::OnDemand);
    let id = runtime.open().unwrap();
    let sent = post(
        "init/error",
        "Lambda-Runtime-Function-Error-Type: Runtime.X\r\n",
        "{}",
    );
    assert!(send(&mut runtime, id, &sent).starts_with("HTTP/1.1 202 "));
    let error_type = Some("Runtime.X".to_owned());
    let body = b"{}".to_vec();
    let expected = [
        RuntimeEvent::Connected,
        RuntimeEvent::InitError { error_type, body },
    ];
    assert_eq!(events(&mut runtime), expected);
    assert!(send(&mut runtime, id, NEXT).starts_with("HTTP/1.1 403 "));
}

#[test]
fn a_response_that_is_too_large_fails_the_event_not_the_runtime() {
    let (mut runtime, id) = running();
    let got = send(
        &mut runtime,
        id,
        &post("invocation/r1/response", "", &"x".repeat(101)),
    );
    assert!(
        got.starts_with("HTTP/1.1 413 ") && got.contains("(100 bytes)"),
        "{got}"
    );
    let expected = RuntimeEvent::Error {
        request_id: "r1".into(),
        outcome: Outcome::ResponseTooLarge,
        body: Vec::new(),
    };
    assert_eq!(events(&mut runtime), [expected]);
    assert_eq!(send(&mut runtime, id, NEXT), "");
    assert_eq!(events(&mut runtime), [RuntimeEvent::Idle]);
}

#[test]
fn a_body_beyond_all_bounds_closes_the_connection() {
    let (mut runtime, id) = running();
    let got = send(
        &mut runtime,
        id,
        &post("invocation/r1/response", "", &"x".repeat(2000)),
    );
    assert!(got.contains("Connection: close"));
    assert!(runtime.is_finished(id));
    let got = events(&mut runtime);
    assert!(matches!(
        &got[..],
        [RuntimeEvent::Error {
            outcome: Outcome::Truncated,
            ..
        }]
    ));
}

#[test]
fn expect_continue_is_answered_before_the_body() {
    let expect = "Expect: 100-continue\r\n";
    let (mut runtime, id) = running();
    let sent = post("invocation/r1/response", expect, "done");
    let (head, body) = sent.split_at(sent.len() - 4);
    assert_eq!(
        send(&mut runtime, id, head),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    assert!(send(&mut runtime, id, body).starts_with("HTTP/1.1 202 "));

    let (mut runtime, id) = running();
    let long = post("invocation/r1/response", expect, &"x".repeat(101));
    let head = &long[..long.len() - 101];
    assert!(send(&mut runtime, id, head).starts_with("HTTP/1.1 413 "));
    let got = events(&mut runtime);
    assert!(matches!(
        &got[..],
        [RuntimeEvent::Error {
            outcome: Outcome::ResponseTooLarge,
            ..
        }]
    ));
    assert!(runtime.is_finished(id));

    let (mut runtime, id) = running();
    let wrong = post("invocation/r9/response", expect, "abc");
    assert!(send(&mut runtime, id, &wrong[..wrong.len() - 3]).starts_with("HTTP/1.1 400 "));
    assert!(runtime.is_finished(id));
}

#[test]
fn a_response_broken_off_is_told() {
    for close in [RuntimeApi::close, RuntimeApi::end_of_input] {
        let (mut runtime, id) = running();
        let sent = post("invocation/r1/response", "", "done");
        send(&mut runtime, id, &sent[..sent.len() - 1]);
        close(&mut runtime, id);
        let got = events(&mut runtime);
        assert!(matches!(
            &got[..],
            [RuntimeEvent::Error {
                outcome: Outcome::Truncated,
                ..
            }]
        ));
        let id = runtime.open().unwrap();
        assert_eq!(send(&mut runtime, id, NEXT), "");
        assert_eq!(events(&mut runtime), [RuntimeEvent::Idle]);
    }
}

#[test]
fn ping_wrong_paths_and_wrong_methods() {
    let mut runtime = RuntimeApi::new(small(), Initialization::OnDemand);
    let id = runtime.open().unwrap();
    assert!(send(&mut runtime, id, "GET /ping HTTP/1.1\r\n\r\n").ends_with("\r\n\r\npong"));
    let got = send(&mut runtime, id, "GET /2018-06-01/nothing HTTP/1.1\r\n\r\n");
    assert!(got.starts_with("HTTP/1.1 404 "));
    let got = send(
        &mut runtime,
        id,
        "DELETE /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n",
    );
    assert!(got.starts_with("HTTP/1.1 405 ") && got.contains("Allow: GET"));
}

#[test]
fn what_is_no_http_is_answered_and_closed() {
    for (sent, status) in [
        ("\u{1}\u{2}\r\n\r\n".to_owned(), "400"),
        (
            format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(2000)),
            "431",
        ),
        (
            "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nContent-Length: x\r\n\r\n".into(),
            "400",
        ),
    ] {
        let mut runtime = RuntimeApi::new(small(), Initialization::OnDemand);
        let id = runtime.open().unwrap();
        let got = send(&mut runtime, id, &sent);
        assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{got}");
        assert!(runtime.is_finished(id));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_and_bounded() {
    let (mut runtime, id) = running();
    let ping = "GET /ping HTTP/1.1\r\n\r\n";
    let sent = format!("{}{NEXT}{ping}", post("invocation/r1/response", "", "1"));
    let got = send(&mut runtime, id, &sent);
    assert_eq!(got.matches("HTTP/1.1 ").count(), 1);
    runtime.deliver(event("r2")).unwrap();
    let got = answer(&mut runtime, id);
    assert!(
        got.contains("Request-Id: r2") && got.ends_with("pong"),
        "{got}"
    );

    let id = runtime.open().unwrap();
    send(&mut runtime, id, ping);
    let (mut runtime, id) = running();
    send(&mut runtime, id, &post("invocation/r1/response", "", "1"));
    send(&mut runtime, id, NEXT);
    assert_eq!(runtime.input(id, &[b'x'; 4000]), small().pipelined_bytes);
    assert_eq!(runtime.input(id, b"x"), 0);
}

#[test]
fn connections_are_bounded_and_a_dead_one_gets_no_event() {
    let mut runtime = RuntimeApi::new(small(), Initialization::OnDemand);
    let (one, two) = (runtime.open().unwrap(), runtime.open().unwrap());
    assert_eq!(runtime.open(), None);
    send(&mut runtime, one, NEXT);
    send(&mut runtime, two, NEXT);
    runtime.end_of_input(one);
    assert!(runtime.is_finished(one));
    runtime.close(one);
    runtime.deliver(event("r1")).unwrap();
    assert!(answer(&mut runtime, two).contains("Request-Id: r1"));
    assert!(runtime.open().is_some());
}

const RESTORE_NEXT: &str = "GET /2018-06-01/runtime/restore/next HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn restore_next_waits_for_the_moment_after_the_snapshot() {
    let mut runtime = RuntimeApi::new(small(), Initialization::SnapStart);
    let id = runtime.open().unwrap();
    assert!(!runtime.resume(&[]));
    assert_eq!(send(&mut runtime, id, RESTORE_NEXT), "");
    assert_eq!(
        events(&mut runtime),
        [RuntimeEvent::Connected, RuntimeEvent::RestorePoint]
    );
    // An event may come before the runtime is there to take it.
    runtime.deliver(event("r1")).unwrap();
    let other = runtime.open().unwrap();
    for request in [
        NEXT.to_owned(),
        RESTORE_NEXT.to_owned(),
        post("restore/error", "", "{}"),
    ] {
        let refused = send(&mut runtime, other, &request);
        assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
        assert!(
            refused.contains("State transition from RestoreReady to "),
            "{refused}"
        );
    }
    assert!(runtime.resume(&[]) && !runtime.resume(&[]));
    let restored = answer(&mut runtime, id);
    assert!(restored.starts_with("HTTP/1.1 200 OK\r\n"), "{restored}");
    assert!(restored.contains("Content-Length: 0\r\n") && restored.ends_with("\r\n\r\n"));
    assert!(send(&mut runtime, id, NEXT).contains("Lambda-Runtime-Aws-Request-Id: r1\r\n"));
    assert_eq!(events(&mut runtime), [RuntimeEvent::Ready]);
    assert!(send(&mut runtime, other, RESTORE_NEXT).contains("from Running to RestoreReady"));
}

const TEMPLATE_NEXT: &str = "GET /2018-06-01/runtime/template/next HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn a_template_becomes_a_function_which_can_be_captured_itself() {
    for other in [Initialization::OnDemand, Initialization::SnapStart] {
        let mut runtime = RuntimeApi::new(small(), other);
        let id = runtime.open().unwrap();
        let refused = send(&mut runtime, id, TEMPLATE_NEXT);
        assert!(refused.starts_with("HTTP/1.1 404 "), "{refused}");
    }
    let mut runtime = RuntimeApi::new(small(), Initialization::Template);
    let id = runtime.open().unwrap();
    assert_eq!(send(&mut runtime, id, TEMPLATE_NEXT), "");
    assert_eq!(
        events(&mut runtime),
        [RuntimeEvent::Connected, RuntimeEvent::RestorePoint]
    );
    let other = runtime.open().unwrap();
    let refused = send(&mut runtime, other, NEXT);
    assert!(
        refused.contains("State transition from TemplateReady to Ready"),
        "{refused}"
    );
    let name = ("_HANDLER".to_owned(), "app.handler".to_owned());
    assert!(runtime.resume(&[name]) && !runtime.resume(&[]));
    assert!(answer(&mut runtime, id).ends_with("{\"environment\":{\"_HANDLER\":\"app.handler\"}}"));
    let refused = send(&mut runtime, id, TEMPLATE_NEXT);
    assert!(refused.starts_with("HTTP/1.1 404 "), "{refused}");
    assert_eq!(send(&mut runtime, id, RESTORE_NEXT), "");
    assert_eq!(events(&mut runtime), [RuntimeEvent::RestorePoint]);
    assert!(runtime.resume(&[]));
    answer(&mut runtime, id);
    assert_eq!(send(&mut runtime, id, NEXT), "");
    assert_eq!(events(&mut runtime), [RuntimeEvent::Ready]);
}

#[test]
fn a_clone_gets_the_variables_that_its_snapshot_could_not_hold() {
    let mut runtime = RuntimeApi::new(small(), Initialization::SnapStart);
    let id = runtime.open().unwrap();
    send(&mut runtime, id, RESTORE_NEXT);
    let secret = ("KEY".to_owned(), "s\"ü".to_owned());
    assert!(runtime.resume(&[secret]));
    let restored = answer(&mut runtime, id);
    assert!(
        restored.ends_with("\r\n\r\n{\"environment\":{\"KEY\":\"s\\\"ü\"}}"),
        "{restored}"
    );
}

#[test]
fn a_hook_that_fails_after_restore_ends_the_life_of_the_runtime() {
    let mut runtime = RuntimeApi::new(small(), Initialization::SnapStart);
    let id = runtime.open().unwrap();
    send(&mut runtime, id, RESTORE_NEXT);
    runtime.resume(&[]);
    answer(&mut runtime, id);
    events(&mut runtime);
    let header = "Lambda-Runtime-Function-Error-Type: Runtime.AfterRestoreError\r\n";
    let reply = send(
        &mut runtime,
        id,
        &post("restore/error", header, "{\"a\":1}"),
    );
    assert!(reply.starts_with("HTTP/1.1 202 Accepted"), "{reply}");
    assert_eq!(
        events(&mut runtime),
        [RuntimeEvent::RestoreError {
            error_type: Some("Runtime.AfterRestoreError".into()),
            body: b"{\"a\":1}".to_vec()
        }]
    );
    assert!(send(&mut runtime, id, NEXT).contains("from RestoreError to Ready"));
}

#[test]
fn the_restore_routes_exist_only_where_a_snapshot_is_taken() {
    let mut runtime = RuntimeApi::new(small(), Initialization::OnDemand);
    let id = runtime.open().unwrap();
    for request in [RESTORE_NEXT.to_owned(), post("restore/error", "", "")] {
        assert!(send(&mut runtime, id, &request).starts_with("HTTP/1.1 404 "));
    }
    // And a runtime that knows nothing of them is served as usual.
    let mut runtime = RuntimeApi::new(small(), Initialization::SnapStart);
    let id = runtime.open().unwrap();
    assert_eq!(send(&mut runtime, id, NEXT), "");
    assert_eq!(events(&mut runtime).pop(), Some(RuntimeEvent::Ready));
}

#[test]
fn who_hangs_up_in_restore_next_may_ask_again() {
    let mut runtime = RuntimeApi::new(small(), Initialization::SnapStart);
    let id = runtime.open().unwrap();
    send(&mut runtime, id, RESTORE_NEXT);
    runtime.close(id);
    assert!(!runtime.resume(&[]));
    let id = runtime.open().unwrap();
    send(&mut runtime, id, RESTORE_NEXT);
    assert_eq!(events(&mut runtime).pop(), Some(RuntimeEvent::RestorePoint));
    assert!(runtime.resume(&[]));
}

/// What a clone has of the Runtime API of its original.
fn clone_of(runtime: &RuntimeApi) -> RuntimeApi {
    let text = serde_json::to_string(&runtime.save().unwrap()).unwrap();
    let saved: Saved = serde_json::from_str(&text).unwrap();
    saved.load(small()).unwrap()
}

#[test]
fn clones_go_on_from_where_their_original_was_saved() {
    let mut original = RuntimeApi::new(small(), Initialization::SnapStart);
    let id = original.open().unwrap();
    send(&mut original, id, RESTORE_NEXT);
    assert!(original.save().is_none(), "something is left to tell");
    events(&mut original);
    for number in 0..3 {
        let mut clone = clone_of(&original);
        assert_eq!(clone.connections().collect::<Vec<_>>(), [id]);
        assert!(clone.resume(&[]));
        assert!(answer(&mut clone, id).starts_with("HTTP/1.1 200 OK"));
        send(&mut clone, id, NEXT);
        let request = format!("r{number}");
        clone.deliver(event(&request)).unwrap();
        assert!(answer(&mut clone, id).contains(&format!("Request-Id: {request}\r\n")));
        // And parked in its next request, it is saved again.
        send(
            &mut clone,
            id,
            &post(&format!("invocation/{request}/response"), "", "{}"),
        );
        send(&mut clone, id, NEXT);
        events(&mut clone);
        let mut again = clone_of(&clone);
        again.deliver(event("later")).unwrap();
        assert!(answer(&mut again, id).contains("Request-Id: later\r\n"));
    }
    // The original is untouched by all that.
    assert!(original.resume(&[]));
}

#[test]
fn a_request_that_was_half_sent_is_completed_in_the_clone() {
    let (runtime, id) = running();
    let mut runtime = runtime;
    let whole = post("invocation/r1/response", "", "{\"answer\":1}");
    let (first, rest) = whole.split_at(whole.len() - 5);
    send(&mut runtime, id, first);
    let mut clone = clone_of(&runtime);
    assert!(send(&mut clone, id, rest).starts_with("HTTP/1.1 202"));
    assert!(matches!(
        events(&mut clone).as_slice(),
        [RuntimeEvent::Response { payload, .. }] if payload == b"{\"answer\":1}"
    ));
}

#[test]
fn what_cannot_have_been_saved_is_not_loaded() {
    let mut runtime = RuntimeApi::new(small(), Initialization::SnapStart);
    let id = runtime.open().unwrap();
    send(&mut runtime, id, RESTORE_NEXT);
    events(&mut runtime);
    let good = serde_json::to_value(runtime.save().unwrap()).unwrap();
    let load = |value: serde_json::Value| {
        serde_json::from_value::<Saved>(value).map(|saved| saved.load(small()).is_ok())
    };
    assert!(load(good.clone()).unwrap());
    for (pointer, value) in [
        ("/next_id", serde_json::json!(0)),
        ("/parked", serde_json::json!([7])),
        ("/parked", serde_json::json!([0, 0])),
        ("/state", serde_json::json!({ "RestoreReady": 7 })),
        ("/connections/0/input", serde_json::json!(vec![65; 2000])),
        ("/requests", serde_json::json!({ "7": "Ping" })),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert!(!load(bad).unwrap(), "{pointer}");
    }
    let mut many = good;
    let one = many["connections"]["0"].clone();
    many["connections"] = serde_json::json!({ "0": one, "1": one, "2": one });
    many["next_id"] = serde_json::json!(3);
    assert!(!load(many).unwrap());
}
