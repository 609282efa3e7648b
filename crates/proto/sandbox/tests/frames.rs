//! Messages survive the wire, and bytes that are none are refused.

use proptest::prelude::*;
use proto_sandbox::frame::{MAX_HEADER, MAX_PAYLOAD};
use proto_sandbox::{
    Decoder, EventHead, ExitReason, FrameError, FromSandbox, GuestExit, Outcome, RefusalKind,
    RestoreStage, RestoreTime, StageName, ToSandbox, encode, read_message, write_message,
};

fn samples() -> Vec<FromSandbox> {
    vec![
        FromSandbox::Stage {
            name: StageName::RootFs,
            nanoseconds: u64::MAX,
        },
        FromSandbox::Ready,
        FromSandbox::Restored {
            times: vec![RestoreTime {
                stage: RestoreStage::Identity,
                nanoseconds: 7,
            }],
        },
        FromSandbox::Refused {
            kind: RefusalKind::Foreign,
            reason: "made for another machine".into(),
        },
        FromSandbox::Error {
            request_id: "r".into(),
            outcome: Outcome::Function { error_type: None },
        },
        FromSandbox::Exited {
            status: GuestExit::Signal(11),
            reason: ExitReason::Itself,
            max_memory_bytes: 1,
        },
    ]
}

#[test]
fn blocking_round_trip_ends_cleanly() {
    let mut wire = Vec::new();
    for head in samples() {
        write_message(&mut wire, &head, b"payload").unwrap();
    }
    let mut from = wire.as_slice();
    for head in samples() {
        let message = read_message::<FromSandbox>(&mut from).unwrap().unwrap();
        assert_eq!(
            (message.head, message.payload.as_slice()),
            (head, &b"payload"[..])
        );
    }
    assert!(read_message::<FromSandbox>(&mut from).unwrap().is_none());
}

#[test]
fn a_message_cut_short_is_an_error() {
    let wire = encode(&ToSandbox::Event(EventHead::default()), b"{}").unwrap();
    for end in 1..wire.len() {
        assert!(
            read_message::<ToSandbox>(&mut &wire[..end]).is_err(),
            "cut at {end}"
        );
    }
}

#[test]
fn lengths_are_refused_before_anything_is_allocated() {
    let mut header = Vec::from((MAX_HEADER as u32 + 1).to_le_bytes());
    header.extend([0; 4]);
    let mut decoder = Decoder::default();
    decoder.push(&header);
    let refused = decoder.next_message::<ToSandbox>();
    assert!(matches!(refused, Err(FrameError::HeaderTooLong(_))));

    let mut payload = vec![0; 4];
    payload.extend((MAX_PAYLOAD as u32 + 1).to_le_bytes());
    let refused = read_message::<ToSandbox>(&mut payload.as_slice());
    assert!(matches!(refused, Err(FrameError::PayloadTooLong(_))));
    let refused = encode(&ToSandbox::Stdin, &vec![0; MAX_PAYLOAD + 1]);
    assert!(matches!(refused, Err(FrameError::PayloadTooLong(_))));
}

proptest! {
    #[test]
    fn the_decoder_does_not_care_how_bytes_arrive(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..6),
        cuts in prop::collection::vec(1usize..50, 1..40),
    ) {
        let mut wire = Vec::new();
        for payload in &payloads {
            wire.extend(encode(&FromSandbox::Ready, payload).unwrap());
        }
        let (mut decoder, mut seen, mut rest) = (Decoder::default(), Vec::new(), wire.as_slice());
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            decoder.push(now);
            while let Some(message) = decoder.next_message::<FromSandbox>().unwrap() {
                seen.push(message.payload);
            }
            rest = later;
            if rest.is_empty() { break; }
        }
        prop_assert_eq!(seen, payloads);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next_message::<ToSandbox>() {}
    }
}

#[test]
fn hot_pages_go_there_and_back_and_garbage_is_bounded() {
    let run = |n: u32| proto_sandbox::HotRun {
        space: n,
        addr: u64::from(n) << 12,
        len: 4096,
        usage: match n % 2 {
            0 => proto_sandbox::HotUse::Write,
            _ => proto_sandbox::HotUse::Read,
        },
    };
    let hot = proto_sandbox::HotPages((0..100).map(run).collect());
    let mut bytes = hot.to_bytes();
    assert_eq!(proto_sandbox::HotPages::from_bytes(&bytes), hot);
    bytes.extend([1, 2, 3]);
    assert_eq!(proto_sandbox::HotPages::from_bytes(&bytes), hot);
    let many = proto_sandbox::HotPages::from_bytes(&vec![1; 1 << 20]);
    assert!(many.to_bytes().len() <= proto_sandbox::HotPages::MAX_BYTES);
    assert!(many.0.len() > 3000);
    assert_eq!(
        proto_sandbox::HotPages::from_bytes(&[7; 1700]),
        Default::default()
    );
}
