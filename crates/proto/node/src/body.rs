//! A body that is handed on in pieces, so that nobody on its way needs to hold it whole.

use std::fmt;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Longest piece of a body or an answer in bytes. Small enough that many fit in memory, large enough that a
/// piece costs little beside its bytes.
pub const PIECE_BYTES: usize = 64 * 1024;

/// Why a body did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum BodyBroken {
    /// Whoever sent it went away before its end.
    #[error("the body broke off")]
    Gone,
    /// It is longer than its reader takes.
    #[error("the body is longer than {0} bytes")]
    TooLong(u64),
}

/// Where the pieces of a body come from.
pub trait BodySource: Send {
    /// The next piece, none at the end. To ask is what lets the sender go on.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyBroken>>;
}

/// A body in pieces of at most [`PIECE_BYTES`]. Dropping it tells the sender that nobody reads on.
pub struct Body(Kind);

enum Kind {
    /// What is left of one that is in memory.
    Whole(Bytes),
    Pieces(Box<dyn BodySource>),
}

impl Body {
    /// One that is in memory; nothing is copied.
    pub fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(bytes))
    }

    /// Nothing.
    pub fn empty() -> Self {
        Self::whole(Bytes::new())
    }

    /// One whose pieces come from elsewhere.
    pub fn pieces(source: impl BodySource + 'static) -> Self {
        Self(Kind::Pieces(Box::new(source)))
    }

    /// One that is written while it is read; its writer is at most `ahead` pieces ahead of its reader.
    pub fn pipe(ahead: usize) -> (BodyWriter, Self) {
        let (sender, receiver) = mpsc::channel(ahead.max(1));
        (BodyWriter(sender), Self::pieces(Piped(receiver)))
    }

    /// The same body once more, if it is in memory: for who may have to send it twice.
    pub fn again(&self) -> Option<Self> {
        match &self.0 {
            Kind::Whole(bytes) => Some(Self::whole(bytes.clone())),
            Kind::Pieces(_) => None,
        }
    }

    /// How many bytes come yet, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match &self.0 {
            Kind::Whole(bytes) => Some(bytes.len() as u64),
            Kind::Pieces(_) => None,
        }
    }

    /// The next piece, none at the end.
    pub fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, BodyBroken>> {
        match &mut self.0 {
            Kind::Whole(rest) if rest.is_empty() => Poll::Ready(Ok(None)),
            Kind::Whole(rest) => {
                let piece = rest.split_to(rest.len().min(PIECE_BYTES));
                Poll::Ready(Ok(Some(piece)))
            }
            Kind::Pieces(source) => source.poll_next(context),
        }
    }

    /// The next piece, none at the end. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyBroken> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// All that comes yet, at most `limit` bytes. Copies nothing of a body that is in memory or comes in one piece.
    pub async fn read(mut self, limit: usize) -> Result<Bytes, BodyBroken> {
        let too_long = BodyBroken::TooLong(limit as u64);
        if let Kind::Whole(bytes) = self.0 {
            return (bytes.len() <= limit).then_some(bytes).ok_or(too_long);
        }
        let mut read = Gathered::default();
        while let Some(piece) = self.next().await? {
            if read.len() + piece.len() > limit {
                return Err(too_long);
            }
            read.push(piece);
        }
        Ok(read.finish())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::whole(bytes)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Whole(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Kind::Pieces(_) => f.write_str("Body(pieces)"),
        }
    }
}

/// Nobody reads what is written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads on")]
pub struct ReaderGone;

/// Writes a [`Body::pipe`]. One that is dropped before [`Self::finish`] breaks the body off.
#[derive(Debug)]
pub struct BodyWriter(mpsc::Sender<Option<Bytes>>);

impl BodyWriter {
    /// Hands over the next piece, at most [`PIECE_BYTES`]; waits until the reader has come near it.
    pub async fn send(&self, piece: Bytes) -> Result<(), ReaderGone> {
        let sent = self.0.send(Some(piece)).await;
        sent.map_err(|_| ReaderGone)
    }

    /// Says that this was all.
    pub async fn finish(self) -> Result<(), ReaderGone> {
        self.0.send(None).await.map_err(|_| ReaderGone)
    }
}

struct Piped(mpsc::Receiver<Option<Bytes>>);

impl BodySource for Piped {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyBroken>> {
        self.0
            .poll_recv(context)
            .map(|piece| piece.ok_or(BodyBroken::Gone))
    }
}

/// Pieces put together; a single one is not copied.
#[derive(Default)]
pub(crate) struct Gathered {
    first: Bytes,
    all: BytesMut,
}

impl Gathered {
    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        if self.len() == 0 {
            self.first = piece;
            return;
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&piece);
    }

    pub(crate) fn finish(self) -> Bytes {
        match self.all.is_empty() {
            true => self.first,
            false => self.all.freeze(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_in_memory_comes_in_pieces_and_whole_without_a_copy() {
        let bytes = Bytes::from(vec![7; 2 * PIECE_BYTES + 1]);
        let mut body = Body::whole(bytes.clone());
        let mut lengths = Vec::new();
        while let Some(piece) = body.next().await.unwrap() {
            lengths.push(piece.len());
        }
        assert_eq!(lengths, [PIECE_BYTES, PIECE_BYTES, 1]);
        let read = Body::whole(bytes.clone()).read(bytes.len()).await.unwrap();
        assert_eq!(read.as_ptr(), bytes.as_ptr());
        let short = Body::whole(bytes.clone()).read(9).await;
        assert_eq!(short, Err(BodyBroken::TooLong(9)));
    }

    #[tokio::test]
    async fn a_pipe_carries_pieces_and_says_whether_that_was_all() {
        for finishes in [true, false] {
            let (writer, body) = Body::pipe(1);
            let writing = tokio::spawn(async move {
                for piece in ["one ", "two"] {
                    writer.send(Bytes::from(piece)).await.unwrap();
                }
                if finishes {
                    writer.finish().await.unwrap();
                }
            });
            let read = body.read(100).await;
            let expected = match finishes {
                true => Ok(Bytes::from("one two")),
                false => Err(BodyBroken::Gone),
            };
            assert_eq!(read, expected);
            writing.await.unwrap();
        }
        let (writer, body) = Body::pipe(1);
        drop(body);
        assert_eq!(writer.send(Bytes::new()).await, Err(ReaderGone));
    }
}
