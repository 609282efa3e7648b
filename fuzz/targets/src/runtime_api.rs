//! A guest's bytes on several connections of the Runtime API, with its HTTP heads: no panic, bounds kept.

use proto_sandbox::{EventHead, Initialization};
use sandbox_runtime::{Event, RuntimeApi, RuntimeEvent, RuntimeLimits};

const LIMITS: RuntimeLimits = RuntimeLimits {
    connections: 3,
    head_bytes: 1024,
    body_bytes: 256,
    streamed_bytes: 512,
    window_bytes: 64,
    discard_bytes: 1024,
    pipelined_bytes: 512,
};

pub(crate) fn run(bytes: &[u8]) {
    let mut runtime = RuntimeApi::new(LIMITS, Initialization::OnDemand);
    let mut ids: Vec<_> = (0..LIMITS.connections)
        .filter_map(|_| runtime.open())
        .collect();
    // Each line's first byte says what happens to which connection; the rest is sent.
    for part in bytes.split(|byte| *byte == 0xff) {
        let Some((action, bytes)) = part.split_first() else {
            continue;
        };
        let at = usize::from(action & 3) % ids.len();
        match action >> 2 {
            0 => {
                let head = EventHead {
                    request_id: "r".into(),
                    ..EventHead::default()
                };
                let payload = b"{}".to_vec();
                let _ = runtime.deliver(Event { head, payload });
            }
            1 => runtime.end_of_input(ids[at]),
            2 => {
                runtime.close(ids[at]);
                ids[at] = runtime.open().expect("one was closed");
            }
            3 => runtime.credit("r", bytes.len() as u64),
            _ => {}
        }
        assert!(runtime.input(ids[at], bytes) <= bytes.len());
        while let Some(event) = runtime.next_event() {
            match event {
                RuntimeEvent::Response { payload, .. } => {
                    assert!(payload.len() as u64 <= LIMITS.body_bytes);
                }
                RuntimeEvent::ResponsePiece { data, .. } => {
                    assert!(data.len() as u64 <= LIMITS.window_bytes);
                }
                _ => {}
            }
        }
        let sent = runtime.output(ids[at]).len();
        runtime.consume_output(ids[at], sent);
    }
}
