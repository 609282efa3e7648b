//! Whatever the other side sends is understood or refused, and nothing else happens.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use proto_node::{
    CodeRef, FunctionSpec, InvokeEnd, InvokeError, InvokeHead, Isolation, LogTail, ReplyHead,
    ResponseMode, Revision, SnapStart, StartKind,
};
use proto_wire::{
    ANSWER_BYTES, CALL_BYTES, Call, CallAnswer, Frame, FrameReader, HEADER_BYTES, Hello,
    HelloError, Invalid, Purpose, Session, Welcome, WireError, message, piece,
};

fn function() -> FunctionSpec {
    FunctionSpec {
        revision: Revision("6f1c".into()),
        name: "f".into(),
        version: "$LATEST".into(),
        arn: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
        account: "000000000000".into(),
        region: "us-east-1".into(),
        runtime: "python3.11".into(),
        handler: "app.handler".into(),
        architecture: "x86_64".into(),
        memory_mb: 128,
        timeout: Duration::from_secs(3),
        ephemeral_storage_mb: 512,
        environment: [("KEY".to_owned(), "value".to_owned())].into(),
        code: CodeRef {
            sha256: "ab".repeat(32),
            bytes: 7,
        },
        snap_start: SnapStart::On,
        isolation: Isolation::PerEvent,
        platform: Default::default(),
        log_group: "/aws/lambda/f".into(),
    }
}

fn invoke() -> Call {
    Call::Invoke {
        event: 9,
        function: Box::new(function()),
        head: Box::new(InvokeHead {
            request_id: "8476a536-e9f4-11e8-9739-2dfe598c3fcd".into(),
            invoked_arn: "arn".into(),
            client_context: Some("{}".into()),
            trace_id: None,
            log_tail: LogTail::Tail,
            queue_time: Duration::from_secs(10),
        }),
    }
}

#[test]
fn messages_and_pieces_come_out_as_they_went_in() {
    let head = ReplyHead {
        executed_version: "7".into(),
        start: StartKind::Restored,
        mode: ResponseMode::Streaming,
        content_type: Some("text/plain".into()),
    };
    let answers = [
        CallAnswer::Invoked(Ok(head)),
        CallAnswer::Invoked(Err(InvokeError::CodeMissing)),
        CallAnswer::Ended(Ok(Box::new(InvokeEnd::default()))),
        CallAnswer::Revisions(BTreeSet::from([Revision("r".into())])),
    ];
    let mut stream = Vec::new();
    for answer in &answers {
        stream.extend_from_slice(&message(answer).unwrap());
        stream.extend_from_slice(&piece(3).unwrap());
        stream.extend_from_slice(b"abc");
    }
    // However it is cut.
    for cut in [1, 2, 7, 4096] {
        let mut decoder = FrameReader::new(ANSWER_BYTES);
        let mut heard = Vec::new();
        for bytes in stream.chunks(cut) {
            decoder.push(bytes);
            while let Some(frame) = decoder.next_frame().unwrap() {
                heard.push(frame);
            }
        }
        assert!(decoder.is_between_frames());
        assert_eq!(heard.len(), 2 * answers.len());
        for (pair, answer) in heard.chunks(2).zip(&answers) {
            assert_eq!(&pair[0].read::<CallAnswer>().unwrap(), answer);
            assert_eq!(pair[1], Frame::Piece("abc".into()));
        }
    }
    let call = invoke();
    let frame = message(&call).unwrap();
    let mut decoder = FrameReader::new(CALL_BYTES);
    decoder.push(&frame);
    let read = decoder.next_frame().unwrap().unwrap().read::<Call>();
    assert_eq!(read.as_ref(), Ok(&call));
    assert_eq!(call.check(), Ok(()));
}

#[test]
fn what_is_too_long_is_refused_before_it_came_in() {
    let mut decoder = FrameReader::new(CALL_BYTES);
    decoder.push(&[1, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(
        decoder.next_frame(),
        Err(WireError::TooLong(u32::MAX.into()))
    );
    let mut decoder = FrameReader::new(CALL_BYTES);
    decoder.push(&[2, 1, 0, 1, 0]);
    assert_eq!(decoder.next_frame(), Err(WireError::TooLong(65_537)));
    let mut decoder = FrameReader::new(CALL_BYTES);
    decoder.push(&[7, 0, 0, 0, 0]);
    assert_eq!(decoder.next_frame(), Err(WireError::Kind(7)));
    assert!(piece(65_537).is_err());
}

#[test]
fn what_no_caller_may_say_is_refused() {
    let name = |change: fn(&mut FunctionSpec)| {
        let mut function = function();
        change(&mut function);
        Call::Prepare(Box::new(function)).check()
    };
    let up = |function: &mut FunctionSpec| function.name = "../up".into();
    assert_eq!(name(up), Err(Invalid("the function's name")));
    let path = |function: &mut FunctionSpec| function.code.sha256 = format!("/{}", "a".repeat(63));
    assert_eq!(name(path), Err(Invalid("the code's digest")));
    let long = |function: &mut FunctionSpec| function.timeout = Duration::MAX;
    assert_eq!(name(long), Err(Invalid("the time limit")));
    let dots = Call::RemoveLogs("..".into()).check();
    assert_eq!(dots, Err(Invalid("the function's name")));
    let revision = Call::Forget(Revision("a/b".into())).check();
    assert_eq!(revision, Err(Invalid("the revision")));
}

#[test]
fn first_lines_are_understood() {
    let session = Session(0xdead_beef);
    for purpose in [Purpose::Taken, Purpose::Calls(session)] {
        for token in [None, Some("s3cr3t".to_owned())] {
            let hello = Hello { purpose, token };
            let line = hello.line();
            assert_eq!(Hello::parse(line.trim_end()), Ok(hello));
        }
    }
    let refused = Welcome::Refused("two\nlines".into()).line();
    let heard = Welcome::parse(refused.trim_end());
    assert_eq!(heard, Ok(Welcome::Refused("two lines".into())));
    let newer = Hello::parse("REKINDLE 2 taken - -");
    assert_eq!(newer, Err(HelloError::Version(2)));
    for line in [
        "",
        "GET / HTTP/1.1",
        "REKINDLE x taken - -",
        "REKINDLE 1 taken - ",
    ] {
        assert_eq!(Hello::parse(line), Err(HelloError::Foreign), "{line}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_fall_over(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        cut in 1..40usize,
    ) {
        understand(&bytes, cut);
    }

    #[test]
    fn no_damage_to_a_call_makes_the_parser_fall_over(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in 1..400usize,
    ) {
        let mut bytes = message(&invoke()).unwrap().to_vec();
        for (at, value) in flips {
            let at = at.index(bytes.len() - HEADER_BYTES) + HEADER_BYTES;
            bytes[at] = value;
        }
        understand(&bytes, cut);
    }

    #[test]
    fn no_line_makes_the_parser_fall_over(line in "\\PC{0,80}") {
        let _ = (Hello::parse(&line), Welcome::parse(&line));
    }
}

/// Reads bytes as both sides would.
fn understand(bytes: &[u8], cut: usize) {
    let mut decoder = FrameReader::new(CALL_BYTES);
    for bytes in bytes.chunks(cut) {
        decoder.push(bytes);
        while let Ok(Some(frame)) = decoder.next_frame() {
            if let Ok(call) = frame.read::<Call>() {
                let _ = call.check();
            }
            let _ = frame.read::<CallAnswer>();
        }
    }
}
