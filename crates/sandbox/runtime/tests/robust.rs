//! Bytes of any kind, cut anywhere, neither panic nor change what a request means.

use proptest::prelude::*;
use proto_sandbox::EventHead;
use proto_sandbox::Initialization;
use sandbox_runtime::{Event, RuntimeApi, RuntimeEvent, RuntimeLimits};

/// Pieces of which requests are made, so that random input gets past the first byte.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n".to_vec()),
        Just(b"POST /2018-06-01/runtime/invocation/r/response HTTP/1.1\r\n".to_vec()),
        Just(b"POST /2018-06-01/runtime/invocation/r/error HTTP/1.0\r\n".to_vec()),
        Just(b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"Expect: 100-continue\r\n".to_vec()),
        Just(b"Connection: close\r\n".to_vec()),
        Just(b"Lambda-Runtime-Function-Response-Mode: streaming\r\n".to_vec()),
        (0u32..40).prop_map(|n| format!("Content-Length: {n}\r\n").into_bytes()),
        (0u32..40).prop_map(|n| format!("{n:x}\r\n").into_bytes()),
        Just(b"\r\n".to_vec()),
        Just(b"0\r\n\r\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn event() -> Event {
    let head = EventHead {
        request_id: "r".into(),
        ..EventHead::default()
    };
    Event {
        head,
        payload: b"{}".to_vec(),
    }
}

proptest! {
    #[test]
    fn any_input_on_several_connections_is_survived(
        script in prop::collection::vec((0usize..3, piece(), 0u8..12), 0..60),
    ) {
        let limits = RuntimeLimits {
            connections: 3, body_bytes: 64, streamed_bytes: 96, window_bytes: 16, discard_bytes: 64, ..RuntimeLimits::default()
        };
        let mut runtime = RuntimeApi::new(limits, Initialization::OnDemand);
        let mut ids: Vec<_> = (0..3).map(|_| runtime.open().unwrap()).collect();
        for (at, bytes, action) in script {
            prop_assert!(runtime.input(ids[at], &bytes) <= bytes.len());
            match action {
                0 => drop(runtime.deliver(event())),
                1 => runtime.end_of_input(ids[at]),
                3 => runtime.credit("r", 8),
                2 => { runtime.close(ids[at]); ids[at] = runtime.open().unwrap(); }
                _ => {
                    let sent = runtime.output(ids[at]).len();
                    runtime.consume_output(ids[at], sent);
                }
            }
            while let Some(event) = runtime.next_event() {
                match event {
                    RuntimeEvent::Response { payload, .. } => prop_assert!(payload.len() <= 64),
                    RuntimeEvent::ResponsePiece { data, .. } => {
                        prop_assert!((1..=16).contains(&data.len()));
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn a_response_does_not_depend_on_how_it_is_cut(
        body in prop::collection::vec(any::<u8>(), 0..300),
        chunk in 1usize..80,
        cuts in prop::collection::vec(1usize..60, 1..30),
    ) {
        let mut runtime = RuntimeApi::new(RuntimeLimits::default(), Initialization::OnDemand);
        let id = runtime.open().unwrap();
        runtime.deliver(event()).unwrap();
        let mut wire = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n\
            POST /2018-06-01/runtime/invocation/r/response HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for part in body.chunks(chunk) {
            wire.extend(format!("{:x}\r\n", part.len()).into_bytes());
            wire.extend_from_slice(part);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        let mut rest = wire.as_slice();
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            prop_assert_eq!(runtime.input(id, now), now.len());
            rest = later;
            if rest.is_empty() { break; }
        }
        let answered = std::iter::from_fn(|| runtime.next_event()).find_map(|event| match event {
            RuntimeEvent::Response { payload, .. } => Some(payload),
            _ => None,
        });
        prop_assert_eq!(answered, Some(body));
    }
}
