//! Responses that functions stream, from sandboxes that follow a script to whoever reads them.

#[allow(dead_code, reason = "each test binary uses its part")]
mod scripted;

use std::sync::atomic::Ordering;
use std::time::Duration;

use proto_node::{
    FaultKind, InvokeEnd, InvokeError, LogTail, PIECE_BYTES, Reply, ReplyPiece, ResponseMode,
    StartKind,
};
use proto_sandbox::STREAM_WINDOW;
use scripted::{Script, Scripted, function, invoke, pool, request};

/// Pieces of the response to the event `stream`.
const PIECES: usize = 64;

async fn begin(pool: &node_pool::Pool, event: &'static str, log_tail: LogTail) -> Reply {
    let reply = pool.invoke(function(), request(event, log_tail)).await;
    let reply = reply.unwrap();
    assert_eq!(reply.head.mode, ResponseMode::Streaming);
    assert_eq!(reply.head.content_type.as_deref(), Some("text/x"));
    reply
}

async fn chunk(reply: &mut Reply) -> usize {
    match reply.pieces.next().await {
        Ok(Some(ReplyPiece::Chunk(bytes))) => bytes.len(),
        other => panic!("{other:?}"),
    }
}

/// What is left of a reply: how many bytes, and its end.
async fn rest(mut reply: Reply) -> (usize, InvokeEnd) {
    let mut read = 0;
    loop {
        match reply.pieces.next().await.unwrap() {
            Some(ReplyPiece::Chunk(bytes)) => read += bytes.len(),
            Some(ReplyPiece::End(end)) => {
                assert_eq!(reply.pieces.next().await, Ok(None));
                return (read, *end);
            }
            None => panic!("it has no end"),
        }
    }
}

#[tokio::test]
async fn a_stream_comes_in_pieces_with_its_end_last() {
    let launcher = Scripted::new(Script::Obey);
    let pool = pool(&launcher, 1);
    for start in [StartKind::Cold, StartKind::Warm] {
        let reply = begin(&pool, "stream", LogTail::Tail).await;
        assert_eq!(reply.head.start, start);
        assert_eq!(reply.head.executed_version, "$LATEST");
        let (read, end) = rest(reply).await;
        assert_eq!((read, end.fault), (PIECES * PIECE_BYTES, None));
        assert_eq!(end.exits.is_empty(), start == StartKind::Warm);
        let tail = String::from_utf8(end.log_tail.to_vec()).unwrap();
        assert!(tail.contains("REPORT RequestId: id\t"), "{tail}");
    }
    // Whoever cannot read a stream gets all of it at once.
    let whole = begin(&pool, "stream", LogTail::None).await.whole(1 << 30);
    let proto_node::InvokeResult::Success(all) = whole.await.unwrap().result else {
        panic!("it is an answer")
    };
    assert_eq!(all.len(), PIECES * PIECE_BYTES);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stalls_holds_the_sandbox_back_and_nothing_else() {
    let launcher = Scripted::new(Script::Obey);
    let pool = pool(&launcher, 2);
    let mut reply = begin(&pool, "stream", LogTail::None).await;
    let window = usize::try_from(STREAM_WINDOW).unwrap();
    // Another event is served meanwhile, by another instance.
    invoke(&pool, "1").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(launcher.streamed.load(Ordering::SeqCst), window);
    let mut read = 0;
    while read < window / 2 {
        read += chunk(&mut reply).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(launcher.streamed.load(Ordering::SeqCst), window + read);
    let (left, end) = rest(reply).await;
    assert_eq!((read + left, end.fault), (PIECES * PIECE_BYTES, None));
}

#[tokio::test]
async fn a_reader_that_leaves_lets_the_function_come_to_its_end() {
    let launcher = Scripted::new(Script::Obey);
    let pool = pool(&launcher, 1);
    let mut reply = begin(&pool, "stream", LogTail::None).await;
    chunk(&mut reply).await;
    drop(reply);
    // The instance is free for the next event when all of the stream has gone by.
    let next = invoke(&pool, "1").await.unwrap();
    assert_eq!(next.start, StartKind::Warm);
    assert_eq!(
        launcher.streamed.load(Ordering::SeqCst),
        PIECES * PIECE_BYTES
    );
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_in_the_middle_is_told_at_the_end() {
    for (event, kind, text) in [
        ("stream badly", FaultKind::Reported, "{\"e\":1}"),
        (
            "stream for ever",
            FaultKind::Timeout,
            "Task timed out after 3.00 seconds",
        ),
        (
            "stream and exit",
            FaultKind::Exit,
            "Runtime exited with error: exit status 7",
        ),
    ] {
        let launcher = Scripted::new(Script::Obey);
        let pool = scripted::pool(&launcher, 1);
        let (read, end) = rest(begin(&pool, event, LogTail::None).await).await;
        let fault = end.fault.unwrap();
        assert_eq!((read, fault.kind), (PIECE_BYTES, kind));
        let body = String::from_utf8(fault.body.to_vec()).unwrap();
        assert!(body.contains(text), "{body}");
        invoke(&pool, "1").await.unwrap();
    }
}

#[tokio::test]
async fn a_sandbox_that_sends_more_than_it_is_let_is_ended() {
    let launcher = Scripted::new(Script::Obey);
    let pool = pool(&launcher, 1);
    let mut reply = begin(&pool, "stream too much", LogTail::None).await;
    let told = loop {
        match reply.pieces.next().await {
            Ok(Some(ReplyPiece::Chunk(_))) => {}
            other => break other,
        }
    };
    let expected = InvokeError::Sandbox("more of a response came than was asked for".to_owned());
    assert_eq!(told, Err(expected));
    assert_eq!(invoke(&pool, "1").await.unwrap().start, StartKind::Cold);
}
