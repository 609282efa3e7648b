//! The answer to an event: its head, what the function says in pieces, and how it ended.

use std::collections::BTreeMap;
use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::body::{Gathered, PIECE_BYTES, ReaderGone};
use crate::{FunctionFault, InvokeError, InvokeOutcome, InvokeResult, StartKind, Timings};

/// How the function answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseMode {
    /// At once; the head comes when all of it is there.
    #[default]
    Buffered,
    /// Bit by bit (`Lambda-Runtime-Function-Response-Mode: streaming`).
    Streaming,
}

/// What is known when the answer begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyHead {
    /// Version that ran: `$LATEST` or a number.
    pub executed_version: String,
    /// How the instance came to be.
    pub start: StartKind,
    /// How the function answers.
    pub mode: ResponseMode,
    /// `Content-Type` that the function gave its answer, if it did.
    pub content_type: Option<String>,
}

/// How an event ended, and what is known only then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvokeEnd {
    /// The function failed; what it said before is no answer.
    pub fault: Option<FunctionFault>,
    /// Last bytes of the invocation's log if asked for, START to REPORT; at most 4 KiB.
    pub log_tail: Bytes,
    /// From the launch of a restored instance until it asked for this event, its first.
    pub restore: Option<Duration>,
    /// How often guest code was left until the answer, by reason, if the instance came up for this event.
    pub exits: BTreeMap<String, u64>,
    /// Times by stage.
    pub timings: Timings,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyPiece {
    /// The next bytes of what the function says, at most [`PIECE_BYTES`].
    Chunk(Bytes),
    /// The last piece.
    End(Box<InvokeEnd>),
}

/// Where the pieces of an answer come from.
pub trait PieceSource: Send {
    /// The next piece; [`ReplyPiece::End`] or an error is the last. To ask is what lets the function go on.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<ReplyPiece, InvokeError>>;
}

/// The pieces of an answer. Dropping them before the end means that the client has left.
pub struct Pieces(State);

enum State {
    Whole(Bytes, Box<InvokeEnd>),
    Source(Box<dyn PieceSource>),
    Ended,
}

impl Pieces {
    /// All there is.
    pub fn whole(answer: Bytes, end: InvokeEnd) -> Self {
        Self(State::Whole(answer, Box::new(end)))
    }

    /// Pieces that come from elsewhere.
    pub fn new(source: impl PieceSource + 'static) -> Self {
        Self(State::Source(Box::new(source)))
    }

    /// Pieces that are written while they are read; the writer is at most `ahead` of them ahead of the reader.
    pub fn pipe(ahead: usize) -> (PieceWriter, Self) {
        let (sender, receiver) = mpsc::channel(ahead.max(1));
        (PieceWriter(sender), Self::new(Piped(receiver)))
    }

    /// The next piece, none after [`ReplyPiece::End`] and after an error.
    pub fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<ReplyPiece>, InvokeError>> {
        let piece = match &mut self.0 {
            State::Ended => return Poll::Ready(Ok(None)),
            State::Whole(rest, _) if !rest.is_empty() => {
                let piece = rest.split_to(rest.len().min(PIECE_BYTES));
                return Poll::Ready(Ok(Some(ReplyPiece::Chunk(piece))));
            }
            State::Whole(_, end) => Ok(ReplyPiece::End(std::mem::take(end))),
            State::Source(source) => match source.poll_next(context) {
                Poll::Ready(piece) => piece,
                Poll::Pending => return Poll::Pending,
            },
        };
        if !matches!(piece, Ok(ReplyPiece::Chunk(_))) {
            self.0 = State::Ended;
        }
        Poll::Ready(piece.map(Some))
    }

    /// The next piece, none after [`ReplyPiece::End`] and after an error. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<ReplyPiece>, InvokeError> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            State::Whole(..) => "Pieces(whole)",
            State::Source(_) => "Pieces",
            State::Ended => "Pieces(ended)",
        })
    }
}

/// Writes [`Pieces::pipe`]. One that is dropped before it has written an end breaks the answer off.
#[derive(Debug)]
pub struct PieceWriter(mpsc::Sender<Result<ReplyPiece, InvokeError>>);

impl PieceWriter {
    /// Hands over the next piece; waits until the reader has come near it.
    pub async fn send(&self, piece: ReplyPiece) -> Result<(), ReaderGone> {
        self.0.send(Ok(piece)).await.map_err(|_| ReaderGone)
    }

    /// Says why there is no more.
    pub async fn fail(self, error: InvokeError) -> Result<(), ReaderGone> {
        self.0.send(Err(error)).await.map_err(|_| ReaderGone)
    }

    /// Resolves when nobody reads on.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

struct Piped(mpsc::Receiver<Result<ReplyPiece, InvokeError>>);

impl PieceSource for Piped {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<ReplyPiece, InvokeError>> {
        let broken = || Err(InvokeError::Sandbox("the answer broke off".to_owned()));
        self.0
            .poll_recv(context)
            .map(|piece| piece.unwrap_or_else(broken))
    }
}

/// The answer to an event.
#[derive(Debug)]
pub struct Reply {
    /// What is known when the answer begins.
    pub head: ReplyHead,
    /// What the function says, and how it ended.
    pub pieces: Pieces,
}

impl Reply {
    /// All of the answer, at most `limit` bytes; a longer one is the fault
    /// [`FunctionFault::response_too_large`]. Copies nothing of what is in memory or comes in one piece.
    pub async fn whole(self, limit: usize) -> Result<InvokeOutcome, InvokeError> {
        let Self { head, mut pieces } = self;
        let (answer, end) = match pieces.0 {
            State::Whole(answer, end) => ((answer.len() <= limit).then_some(answer), end),
            _ => gather(&mut pieces, limit).await?,
        };
        let end = *end;
        let result = match (end.fault, answer) {
            (Some(fault), _) => InvokeResult::Fault(fault),
            (None, Some(answer)) => InvokeResult::Success(answer),
            (None, None) => InvokeResult::Fault(FunctionFault::response_too_large()),
        };
        Ok(InvokeOutcome {
            result,
            executed_version: head.executed_version,
            log_tail: end.log_tail,
            start: head.start,
            restore: end.restore,
            exits: end.exits,
            timings: end.timings,
        })
    }

    /// An answer that is there.
    pub fn from_outcome(outcome: InvokeOutcome) -> Self {
        let (answer, fault) = match outcome.result {
            InvokeResult::Success(answer) => (answer, None),
            InvokeResult::Fault(fault) => (Bytes::new(), Some(fault)),
        };
        Self {
            head: ReplyHead {
                executed_version: outcome.executed_version,
                start: outcome.start,
                mode: ResponseMode::Buffered,
                content_type: None,
            },
            pieces: Pieces::whole(
                answer,
                InvokeEnd {
                    fault,
                    log_tail: outcome.log_tail,
                    restore: outcome.restore,
                    exits: outcome.exits,
                    timings: outcome.timings,
                },
            ),
        }
    }
}

/// What the function says, none if it is longer than `limit`, and how it ended.
async fn gather(
    pieces: &mut Pieces,
    limit: usize,
) -> Result<(Option<Bytes>, Box<InvokeEnd>), InvokeError> {
    let mut answer = Some(Gathered::default());
    loop {
        match pieces.next().await? {
            Some(ReplyPiece::Chunk(piece)) => match &mut answer {
                Some(said) if said.len() + piece.len() <= limit => said.push(piece),
                _ => answer = None,
            },
            Some(ReplyPiece::End(end)) => return Ok((answer.map(Gathered::finish), end)),
            None => return Err(InvokeError::Sandbox("the answer has no end".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(result: InvokeResult) -> InvokeOutcome {
        InvokeOutcome {
            result,
            executed_version: "7".into(),
            log_tail: Bytes::from_static(b"END"),
            start: StartKind::Restored,
            restore: Some(Duration::from_micros(3)),
            exits: [("call".to_owned(), 2)].into(),
            timings: Timings::default(),
        }
    }

    #[tokio::test]
    async fn an_outcome_comes_out_as_it_went_in() {
        let long = Bytes::from(vec![1; PIECE_BYTES + 5]);
        let fault = FunctionFault::reported(Bytes::from_static(b"{}"));
        for result in [
            InvokeResult::Success(long.clone()),
            InvokeResult::Success(Bytes::new()),
            InvokeResult::Fault(fault),
        ] {
            let outcome = outcome(result);
            let direct = Reply::from_outcome(outcome.clone()).whole(1 << 20).await;
            assert_eq!(direct, Ok(outcome.clone()));
            let Reply { head, mut pieces } = Reply::from_outcome(outcome.clone());
            let (writer, piped) = Pieces::pipe(1);
            let writing = tokio::spawn(async move {
                while let Some(piece) = pieces.next().await.unwrap() {
                    writer.send(piece).await.unwrap();
                }
            });
            let reply = Reply {
                head,
                pieces: piped,
            };
            assert_eq!(reply.whole(1 << 20).await, Ok(outcome));
            writing.await.unwrap();
        }
        let short = Reply::from_outcome(outcome(InvokeResult::Success(long)));
        let told = short.whole(PIECE_BYTES).await.unwrap();
        let too_large = InvokeResult::Fault(FunctionFault::response_too_large());
        assert_eq!(told.result, too_large);
        assert_eq!(told.log_tail, "END");
    }

    #[tokio::test]
    async fn an_answer_without_end_is_an_error() {
        let (writer, mut pieces) = Pieces::pipe(2);
        let chunk = ReplyPiece::Chunk(Bytes::from_static(b"half"));
        writer.send(chunk.clone()).await.unwrap();
        drop(writer);
        assert_eq!(pieces.next().await, Ok(Some(chunk)));
        assert!(matches!(pieces.next().await, Err(InvokeError::Sandbox(_))));
        assert_eq!(pieces.next().await, Ok(None));
        let (writer, pieces) = Pieces::pipe(2);
        drop(pieces);
        writer.closed().await;
        let end = ReplyPiece::End(Box::default());
        assert_eq!(writer.send(end).await, Err(ReaderGone));
    }
}
