//! The way of an answer from an instance to whoever asked: all at once, or piece by piece.
//!
//! ```text
//! Waiting ──answered, failed──▶ told, with all of it
//!    └──────began to stream──▶ Streaming ──pieces, then the end──▶ told
//! ```
//!
//! A stream holds what its reader has not taken, [`STREAM_WINDOW`] bytes at most: the sandbox sends no more before
//! it is told that some was taken. A reader that has left takes everything at once, so that the function comes to
//! its end (AWS: "streamed functions are not interrupted or stopped when the invoking client connection is broken").
//!
//! Lock order: [`Pipe::state`] is the only lock here and never held across an await or a call out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use proto_node::{
    InvokeEnd, InvokeError, InvokeOutcome, InvokeResult, PIECE_BYTES, PieceSource, Pieces, Reply,
    ReplyHead, ReplyPiece, ResponseMode,
};
use proto_sandbox::STREAM_WINDOW;
use tokio::sync::{Notify, oneshot};

/// Taken bytes that are worth a message to the sandbox: it goes on while that travels.
const CREDIT_STEP: u64 = STREAM_WINDOW / 2;
/// Pieces up to this length are put together while nobody takes them: a window full of single bytes is no queue of
/// as many pieces.
const SMALL: usize = 4096;

/// Where the answer to an event goes.
pub(crate) enum Answer {
    /// Nothing is told yet.
    Waiting(oneshot::Sender<Result<Reply, InvokeError>>),
    /// The head is told, the rest follows.
    Streaming(StreamWriter),
}

impl Answer {
    /// An answer, and where it comes out.
    pub(crate) fn new() -> (Self, oneshot::Receiver<Result<Reply, InvokeError>>) {
        let (sender, receiver) = oneshot::channel();
        (Self::Waiting(sender), receiver)
    }

    /// The function began to answer by a stream.
    pub(crate) fn begin(&mut self, head: ReplyHead) {
        let pipe = Arc::new(Pipe::default());
        let pieces = Pieces::new(StreamReader(Arc::clone(&pipe)));
        let writer = StreamWriter { pipe, under_way: 0 };
        if let Self::Waiting(sender) = std::mem::replace(self, Self::Streaming(writer)) {
            // Who has left is noticed by what happens to the pieces.
            let _ = sender.send(Ok(Reply { head, pieces }));
        }
    }

    /// Passes a piece of the stream on. Without a head before it, nobody has asked for it.
    pub(crate) fn push(&mut self, piece: Bytes) -> Result<(), Overrun> {
        match self {
            Self::Streaming(writer) => writer.push(piece),
            Self::Waiting(_) => Ok(()),
        }
    }

    /// Bytes taken of the stream that the sandbox is to be told of now, if they are worth a message.
    pub(crate) fn credit(&mut self) -> Option<u64> {
        match self {
            Self::Streaming(writer) => writer.credit(),
            Self::Waiting(_) => None,
        }
    }

    /// Waits until [`Self::credit`] may have something. Dropping the future loses nothing.
    pub(crate) async fn credit_due(&self) {
        match self {
            Self::Streaming(writer) => writer.pipe.due.notified().await,
            Self::Waiting(_) => std::future::pending().await,
        }
    }

    /// Tells what came of the event, or why there is no answer or no more of it. The response of a stream is told
    /// before; of what was not streamed this is the `content_type`.
    pub(crate) fn finish(
        self,
        outcome: Result<InvokeOutcome, InvokeError>,
        content_type: Option<String>,
    ) {
        match outcome {
            Ok(outcome) => self.conclude(outcome, content_type),
            Err(error) => self.fail(error),
        }
    }

    fn conclude(self, outcome: InvokeOutcome, content_type: Option<String>) {
        let (answer, fault) = match outcome.result {
            InvokeResult::Success(answer) => (answer, None),
            InvokeResult::Fault(fault) => (Bytes::new(), Some(fault)),
        };
        let end = InvokeEnd {
            fault,
            log_tail: outcome.log_tail,
            restore: outcome.restore,
            exits: outcome.exits,
            timings: outcome.timings,
        };
        match self {
            Self::Waiting(sender) => {
                let head = ReplyHead {
                    executed_version: outcome.executed_version,
                    start: outcome.start,
                    mode: ResponseMode::Buffered,
                    content_type,
                };
                let pieces = Pieces::whole(answer, end);
                let _ = sender.send(Ok(Reply { head, pieces }));
            }
            Self::Streaming(writer) => writer.pipe.end(Ok(Box::new(end))),
        }
    }

    /// Tells why there is no answer, or no more of it.
    pub(crate) fn fail(self, error: InvokeError) {
        match self {
            Self::Waiting(sender) => drop(sender.send(Err(error))),
            Self::Streaming(writer) => writer.pipe.end(Err(error)),
        }
    }
}

/// What is between the instance and the reader of a stream.
#[derive(Default)]
struct Pipe {
    state: Mutex<State>,
    /// Enough was taken to tell the sandbox.
    due: Notify,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Bytes>,
    /// Small pieces behind them, put together.
    tail: BytesMut,
    end: Option<Result<Box<InvokeEnd>, InvokeError>>,
    reader: Reader,
    /// Bytes taken that the sandbox was not told of.
    taken: u64,
}

/// Who reads.
#[derive(Default)]
enum Reader {
    /// Somebody, who is not waiting.
    #[default]
    Busy,
    /// Somebody who waits for the next piece.
    Waits(Waker),
    /// Nobody any more.
    Gone,
}

impl Pipe {
    fn end(&self, end: Result<Box<InvokeEnd>, InvokeError>) {
        let mut state = self.state.lock();
        state.end.get_or_insert(end);
        state.wake();
    }
}

impl State {
    fn wake(&mut self) {
        if let Reader::Waits(waker) = std::mem::replace(&mut self.reader, Reader::Busy) {
            waker.wake();
        }
    }

    fn push(&mut self, piece: Bytes) {
        let waits = !(self.pieces.is_empty() && self.tail.is_empty());
        if waits && piece.len() <= SMALL {
            if self.tail.len() + piece.len() > PIECE_BYTES {
                self.pieces.push_back(self.tail.split().freeze());
            }
            self.tail.extend_from_slice(&piece);
            return;
        }
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
        self.pieces.push_back(piece);
    }

    fn pop(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front();
        let piece = piece.or_else(|| {
            let tail = std::mem::take(&mut self.tail).freeze();
            (!tail.is_empty()).then_some(tail)
        })?;
        self.taken += piece.len() as u64;
        Some(piece)
    }
}

/// The sandbox sent more than it was let.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more of a response came than was asked for")]
pub(crate) struct Overrun;

/// The instance's end of a stream. Dropping it breaks the stream off, if it has no end.
pub(crate) struct StreamWriter {
    pipe: Arc<Pipe>,
    /// Bytes that the sandbox may count as not taken.
    under_way: u64,
}

impl StreamWriter {
    /// Passes a piece on.
    pub(crate) fn push(&mut self, piece: Bytes) -> Result<(), Overrun> {
        self.under_way += piece.len() as u64;
        if self.under_way > STREAM_WINDOW {
            return Err(Overrun);
        }
        let mut state = self.pipe.state.lock();
        if let Reader::Gone = state.reader {
            state.taken += piece.len() as u64;
        } else if !piece.is_empty() {
            state.push(piece);
            state.wake();
        }
        Ok(())
    }

    /// Bytes taken that the sandbox is to be told of now, if they are worth a message.
    pub(crate) fn credit(&mut self) -> Option<u64> {
        let mut state = self.pipe.state.lock();
        if state.taken < CREDIT_STEP {
            return None;
        }
        let bytes = std::mem::take(&mut state.taken);
        self.under_way = self.under_way.saturating_sub(bytes);
        Some(bytes)
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        let broken = InvokeError::Sandbox("the answer broke off".to_owned());
        self.pipe.end(Err(broken));
    }
}

/// The other end. Dropping it lets the function run on without a reader.
struct StreamReader(Arc<Pipe>);

impl PieceSource for StreamReader {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<ReplyPiece, InvokeError>> {
        let mut state = self.0.state.lock();
        if let Some(piece) = state.pop() {
            if state.taken >= CREDIT_STEP {
                self.0.due.notify_one();
            }
            return Poll::Ready(Ok(ReplyPiece::Chunk(piece)));
        }
        if let Some(end) = state.end.take() {
            return Poll::Ready(end.map(ReplyPiece::End));
        }
        state.reader = Reader::Waits(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        while state.pop().is_some() {}
        state.reader = Reader::Gone;
        self.0.due.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> (StreamWriter, StreamReader) {
        let pipe = Arc::new(Pipe::default());
        let reader = StreamReader(Arc::clone(&pipe));
        (StreamWriter { pipe, under_way: 0 }, reader)
    }

    fn next(reader: &mut StreamReader) -> Poll<Result<ReplyPiece, InvokeError>> {
        reader.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    fn chunk(bytes: &'static [u8]) -> Poll<Result<ReplyPiece, InvokeError>> {
        Poll::Ready(Ok(ReplyPiece::Chunk(Bytes::from_static(bytes))))
    }

    #[test]
    fn pieces_come_in_order_small_ones_that_wait_together() {
        let (mut writer, mut reader) = stream();
        for piece in [&b"one"[..], b"two", b"three", b""] {
            writer.push(Bytes::from_static(piece)).unwrap();
        }
        assert_eq!(next(&mut reader), chunk(b"one"));
        assert_eq!(next(&mut reader), chunk(b"twothree"));
        assert_eq!(next(&mut reader), Poll::Pending);
        let long = Bytes::from(vec![7; SMALL + 1]);
        writer.push(Bytes::from_static(b"a")).unwrap();
        writer.push(Bytes::from_static(b"b")).unwrap();
        writer.push(long.clone()).unwrap();
        assert_eq!(next(&mut reader), chunk(b"a"));
        assert_eq!(next(&mut reader), chunk(b"b"));
        assert_eq!(next(&mut reader), Poll::Ready(Ok(ReplyPiece::Chunk(long))));
        writer.pipe.end(Ok(Box::default()));
        assert_eq!(
            next(&mut reader),
            Poll::Ready(Ok(ReplyPiece::End(Box::default())))
        );
    }

    #[test]
    fn no_more_is_under_way_than_the_window_and_credit_comes_in_steps() {
        let (mut writer, mut reader) = stream();
        let piece = Bytes::from(vec![0; PIECE_BYTES]);
        let pieces = usize::try_from(STREAM_WINDOW).unwrap() / PIECE_BYTES;
        for _ in 0..pieces {
            writer.push(piece.clone()).unwrap();
        }
        assert_eq!(writer.credit(), None);
        for _ in 0..pieces / 2 {
            assert_eq!(writer.credit(), None);
            assert!(next(&mut reader).is_ready());
        }
        assert_eq!(writer.credit(), Some(CREDIT_STEP));
        for _ in 0..pieces / 2 {
            writer.push(piece.clone()).unwrap();
        }
        assert_eq!(writer.push(Bytes::from_static(b"x")), Err(Overrun));
    }

    #[test]
    fn who_leaves_takes_all_there_is_and_all_that_comes() {
        let (mut writer, reader) = stream();
        let piece = Bytes::from(vec![0; PIECE_BYTES]);
        writer.push(piece.clone()).unwrap();
        drop(reader);
        writer.push(piece.clone()).unwrap();
        assert_eq!(writer.credit(), Some(2 * PIECE_BYTES as u64));
    }

    #[test]
    fn a_stream_without_end_is_broken_off() {
        let (mut writer, mut reader) = stream();
        writer.push(Bytes::from_static(b"x")).unwrap();
        drop(writer);
        assert_eq!(next(&mut reader), chunk(b"x"));
        let Poll::Ready(Err(InvokeError::Sandbox(_))) = next(&mut reader) else {
            panic!("it is not told")
        };
    }
}
