//! Responses that are handed on as they come: pieces, windows, limits, ends of every kind.

use proptest::prelude::*;
use proto_sandbox::{EventHead, Initialization, Outcome, PIECE_BYTES};
use sandbox_runtime::{ConnectionId, Event, RuntimeApi, RuntimeEvent, RuntimeLimits, Saved};

const NEXT: &str = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n";
const HEAD: &str = "POST /2018-06-01/runtime/invocation/r/response HTTP/1.1\r\n\
    Lambda-Runtime-Function-Response-Mode: streaming\r\nContent-Type: text/x\r\nTransfer-Encoding: chunked\r\n\r\n";

fn limits() -> RuntimeLimits {
    RuntimeLimits {
        body_bytes: 10,
        streamed_bytes: 1000,
        window_bytes: 100,
        discard_bytes: 1000,
        ..RuntimeLimits::default()
    }
}

/// A runtime under these limits that has taken the event `r`.
fn running(limits: RuntimeLimits) -> (RuntimeApi, ConnectionId) {
    let mut runtime = RuntimeApi::new(limits, Initialization::OnDemand);
    let id = runtime.open().unwrap();
    runtime.input(id, NEXT.as_bytes());
    deliver(&mut runtime);
    let sent = runtime.output(id).len();
    runtime.consume_output(id, sent);
    events(&mut runtime);
    (runtime, id)
}

fn deliver(runtime: &mut RuntimeApi) {
    let head = EventHead {
        request_id: "r".into(),
        ..EventHead::default()
    };
    let payload = b"{}".to_vec();
    runtime.deliver(Event { head, payload }).unwrap();
}

fn events(runtime: &mut RuntimeApi) -> Vec<RuntimeEvent> {
    std::iter::from_fn(|| runtime.next_event()).collect()
}

fn answer(runtime: &mut RuntimeApi, id: ConnectionId) -> String {
    let text = String::from_utf8(runtime.output(id).to_vec()).unwrap();
    runtime.consume_output(id, text.len());
    text
}

fn chunk(data: &[u8]) -> Vec<u8> {
    let mut wire = format!("{:x}\r\n", data.len()).into_bytes();
    wire.extend_from_slice(data);
    wire.extend_from_slice(b"\r\n");
    wire
}

fn head() -> RuntimeEvent {
    RuntimeEvent::ResponseHead {
        request_id: "r".into(),
        content_type: Some("text/x".into()),
    }
}

fn piece(data: &[u8]) -> RuntimeEvent {
    RuntimeEvent::ResponsePiece {
        request_id: "r".into(),
        data: data.to_vec(),
    }
}

fn end(failure: Option<Outcome>, body: &[u8]) -> RuntimeEvent {
    RuntimeEvent::ResponseEnd {
        request_id: "r".into(),
        failure,
        body: body.to_vec(),
    }
}

#[test]
fn a_stream_is_told_as_it_comes() {
    let (mut runtime, id) = running(limits());
    runtime.input(id, HEAD.as_bytes());
    assert_eq!(events(&mut runtime), [head()]);
    // Longer than a buffered response may be.
    for data in [&b"first"[..], b"second, and longer than ten bytes"] {
        runtime.input(id, &chunk(data));
        assert_eq!(events(&mut runtime), [piece(data)]);
    }
    assert_eq!(answer(&mut runtime, id), "");
    runtime.input(id, b"0\r\n\r\n");
    assert_eq!(events(&mut runtime), [end(None, b"")]);
    assert!(answer(&mut runtime, id).starts_with("HTTP/1.1 202 "));
    runtime.input(id, NEXT.as_bytes());
    assert_eq!(events(&mut runtime), [RuntimeEvent::Idle]);
}

#[test]
fn trailers_end_a_stream_as_an_error() {
    let (mut runtime, id) = running(limits());
    let trailers = "0\r\nLambda-Runtime-Function-Error-Type: T\r\nLambda-Runtime-Function-Error-Body: e30=\r\n\r\n";
    let wire = [HEAD.as_bytes(), &chunk(b"ab"), trailers.as_bytes()].concat();
    runtime.input(id, &wire);
    let failure = Outcome::Function {
        error_type: Some("T".into()),
    };
    let expected = [head(), piece(b"ab"), end(Some(failure), b"{}")];
    assert_eq!(events(&mut runtime), expected);
    assert!(answer(&mut runtime, id).starts_with("HTTP/1.1 202 "));
}

#[test]
fn nothing_beyond_the_window_is_taken_until_there_is_credit() {
    let (mut runtime, id) = running(limits());
    runtime.input(id, HEAD.as_bytes());
    let wire = [&chunk(&[b'a'; 150])[..], b"0\r\n\r\n"].concat();
    let taken = runtime.input(id, &wire);
    assert_eq!(events(&mut runtime), [head(), piece(&[b'a'; 100])]);
    assert_eq!(taken, "96\r\n".len() + 100);
    assert_eq!(runtime.input(id, &wire[taken..]), 0);
    for (request, granted, expected) in [("other", 50, 0), ("r", 20, 20)] {
        runtime.credit(request, granted);
        let now = runtime.input(id, &wire[taken..]);
        assert_eq!(now, expected);
    }
    assert_eq!(events(&mut runtime), [piece(&[b'a'; 20])]);
    // No credit makes the window wider than it was.
    runtime.credit("r", u64::MAX);
    let rest = &wire[taken + 20..];
    assert_eq!(runtime.input(id, rest), rest.len());
    assert_eq!(events(&mut runtime), [piece(&[b'a'; 30]), end(None, b"")]);
    // Credit that comes late is nothing to the next event.
    runtime.input(id, NEXT.as_bytes());
    deliver(&mut runtime);
    runtime.credit("r", 50);
    assert_eq!(events(&mut runtime), [RuntimeEvent::Idle]);
}

#[test]
fn what_came_along_with_the_head_waits_for_credit_too() {
    let limits = RuntimeLimits {
        window_bytes: 3,
        ..limits()
    };
    let (mut runtime, id) = running(limits);
    let wire = [HEAD.as_bytes(), &chunk(b"abcdef"), b"0\r\n\r\n"].concat();
    assert_eq!(runtime.input(id, &wire), wire.len());
    assert_eq!(events(&mut runtime), [head(), piece(b"abc")]);
    // It is part of a snapshot like any other bytes.
    let saved = serde_json::to_string(&runtime.save().unwrap()).unwrap();
    let saved: Saved = serde_json::from_str(&saved).unwrap();
    for mut runtime in [runtime, saved.load(limits).unwrap()] {
        runtime.credit("r", 3);
        assert_eq!(events(&mut runtime), [piece(b"def"), end(None, b"")]);
    }
}

#[test]
fn a_stream_that_is_too_long_is_ended_at_its_limit_and_the_runtime_lives_on() {
    let limits = RuntimeLimits {
        streamed_bytes: 5,
        ..limits()
    };
    let (mut runtime, id) = running(limits);
    let wire = [HEAD.as_bytes(), &chunk(b"abc"), &chunk(b"defg")].concat();
    runtime.input(id, &wire);
    let pieces = [piece(b"abc"), piece(b"de")];
    let told = events(&mut runtime);
    assert_eq!(told.first(), Some(&head()));
    assert_eq!(bytes(&told), bytes(&pieces));
    assert_eq!(
        told.last(),
        Some(&end(Some(Outcome::ResponseTooLarge), b""))
    );
    runtime.input(id, &[&chunk(b"more")[..], b"0\r\n\r\n"].concat());
    let answer = answer(&mut runtime, id);
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("(5 bytes)"));
    runtime.input(id, NEXT.as_bytes());
    assert_eq!(events(&mut runtime), [RuntimeEvent::Idle]);
}

#[test]
fn a_stream_that_breaks_off_or_turns_to_nonsense_is_told() {
    for close in [RuntimeApi::close, RuntimeApi::end_of_input] {
        let (mut runtime, id) = running(limits());
        runtime.input(id, &[HEAD.as_bytes(), b"5\r\nab"].concat());
        close(&mut runtime, id);
        let expected = [head(), piece(b"ab"), end(Some(Outcome::Truncated), b"")];
        assert_eq!(events(&mut runtime), expected);
    }
    let (mut runtime, id) = running(limits());
    runtime.input(id, &[HEAD.as_bytes(), b"2\r\nabXXX"].concat());
    let expected = [head(), piece(b"ab"), end(Some(Outcome::Truncated), b"")];
    assert_eq!(events(&mut runtime), expected);
    assert!(answer(&mut runtime, id).starts_with("HTTP/1.1 400 ") && runtime.is_finished(id));
}

#[test]
fn streams_without_chunks_and_refused_ones() {
    let (mut runtime, id) = running(limits());
    let plain = HEAD.replace("Transfer-Encoding: chunked", "Content-Length: 12");
    runtime.input(id, format!("{plain}twelve bytes").as_bytes());
    let expected = [head(), piece(b"twelve bytes"), end(None, b"")];
    assert_eq!(events(&mut runtime), expected);
    // No second answer, and none to what was not asked.
    for path in ["/r/", "/x/"] {
        let wire = HEAD.replace("/r/", path);
        runtime.input(id, &[wire.as_bytes(), &chunk(b"ab"), b"0\r\n\r\n"].concat());
        assert_eq!(events(&mut runtime), [], "{path}");
    }
    let (mut runtime, id) = running(limits());
    let long = plain.replace("12", "1001\r\nExpect: 100-continue");
    runtime.input(id, long.as_bytes());
    assert!(answer(&mut runtime, id).contains("413 Request Entity Too Large"));
    let expected = [end(Some(Outcome::ResponseTooLarge), b"")];
    assert_eq!(events(&mut runtime), expected);
}

/// All data of pieces.
fn bytes(events: &[RuntimeEvent]) -> Vec<u8> {
    let data = events.iter().filter_map(|event| match event {
        RuntimeEvent::ResponsePiece { data, .. } => Some(&data[..]),
        _ => None,
    });
    data.collect::<Vec<_>>().concat()
}

/// What is not a piece.
fn others(events: &[RuntimeEvent]) -> Vec<&RuntimeEvent> {
    let piece = |event: &&RuntimeEvent| matches!(event, RuntimeEvent::ResponsePiece { .. });
    events.iter().filter(|event| !piece(event)).collect()
}

proptest! {
    /// However the guest's bytes are cut, and whenever credit comes: the same bytes, the same end.
    #[test]
    fn a_stream_does_not_depend_on_how_it_is_cut_and_credited(
        body in prop::collection::vec(any::<u8>(), 0..600),
        chunk_bytes in 1usize..80,
        most in 1u64..700,
        window in 1u64..200,
        cuts in prop::collection::vec(1usize..90, 1..30),
        credits in prop::collection::vec(0u64..150, 1..30),
        tail in prop_oneof![
            Just("0\r\n\r\n"),
            Just("0\r\nLambda-Runtime-Function-Error-Type: T\r\n\r\n"),
            Just("zz\r\n"),
        ],
    ) {
        let limits = RuntimeLimits { streamed_bytes: most, window_bytes: window, ..limits() };
        let (mut runtime, id) = running(limits);
        let mut wire = HEAD.as_bytes().to_vec();
        body.chunks(chunk_bytes).for_each(|part| wire.extend(chunk(part)));
        wire.extend(tail.as_bytes());
        let mut told = Vec::new();
        let (mut cut, mut credit) = (cuts.iter().cycle(), credits.iter().cycle());
        let (mut offered, mut taken, mut granted) = (0, 0, window);
        for _ in 0..100_000 {
            if taken == offered {
                offered = (offered + cut.next().unwrap()).min(wire.len());
            }
            taken += runtime.input(id, &wire[taken..offered]);
            told.extend(events(&mut runtime));
            let under_way = bytes(&told).len() as u64;
            prop_assert!(under_way <= granted, "{under_way} of {granted}");
            let more = (*credit.next().unwrap()).min(window - (granted - under_way));
            runtime.credit("r", more);
            granted += more;
            if taken == wire.len() || runtime.is_finished(id) { break; }
            // Some credit must come in the end.
            if credits.iter().all(|credit| *credit == 0) {
                runtime.credit("r", 1);
                granted += 1;
            }
        }
        for _ in 0..=body.len() {
            runtime.credit("r", 1);
        }
        told.extend(events(&mut runtime));
        let whole = usize::try_from(most).unwrap().min(body.len());
        prop_assert_eq!(bytes(&told), &body[..whole]);
        let failure = match tail {
            _ if body.len() as u64 > most => Some(Outcome::ResponseTooLarge),
            "0\r\n\r\n" => None,
            "zz\r\n" => Some(Outcome::Truncated),
            _ => Some(Outcome::Function { error_type: Some("T".into()) }),
        };
        prop_assert_eq!(others(&told), [&head(), &end(failure, b"")]);
        let longest = told.iter().filter_map(|event| match event {
            RuntimeEvent::ResponsePiece { data, .. } => Some(data.len()),
            _ => None,
        });
        prop_assert!(longest.max().unwrap_or(0) <= PIECE_BYTES);
    }
}
