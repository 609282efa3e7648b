//! Frames: messages and pieces of bodies on one stream.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use proto_node::PIECE_BYTES;
use serde::{Serialize, de::DeserializeOwned};

/// Bytes before each frame: what it is, and its length.
pub const HEADER_BYTES: usize = 5;
/// Longest message to a node in bytes: the largest names every revision that there is.
pub const CALL_BYTES: usize = 4 * 1024 * 1024;
/// Longest message from a node in bytes: the largest is the error of a function, which may be as long as an answer.
pub const ANSWER_BYTES: usize = 16 * 1024 * 1024;

const MESSAGE: u8 = 1;
const PIECE: u8 = 2;

/// Why the other side is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A frame is longer than any may be.
    #[error("a frame of {0} bytes is too long")]
    TooLong(u64),
    /// A frame of a kind that there is not.
    #[error("there are no frames of kind {0}")]
    Kind(u8),
    /// A message that is none.
    #[error("a message cannot be read: {0}")]
    Malformed(String),
    /// A message where a piece is due, or the other way round.
    #[error("a frame came where it does not belong")]
    Misplaced,
    /// The stream ended within a frame, or before it.
    #[error("the stream ended too early")]
    Unfinished,
}

/// What a stream is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message, to be read with [`Frame::read`].
    Message(Bytes),
    /// A piece of a body.
    Piece(Bytes),
}

impl Frame {
    /// The message.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, WireError> {
        let Self::Message(bytes) = self else {
            return Err(WireError::Misplaced);
        };
        postcard::from_bytes(bytes).map_err(|error| WireError::Malformed(error.to_string()))
    }
}

/// A message as a frame.
pub fn message<T: Serialize>(message: &T) -> Result<Bytes, WireError> {
    let text = postcard::to_stdvec(message);
    let text = text.map_err(|error| WireError::Malformed(error.to_string()))?;
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + text.len());
    frame.put_slice(&header(MESSAGE, text.len())?);
    frame.put_slice(&text);
    Ok(frame.freeze())
}

/// What goes before a piece of so many bytes.
pub fn piece(length: usize) -> Result<Bytes, WireError> {
    Ok(Bytes::copy_from_slice(&header(PIECE, length)?))
}

fn header(kind: u8, length: usize) -> Result<[u8; HEADER_BYTES], WireError> {
    let most = match kind {
        PIECE => PIECE_BYTES,
        _ => ANSWER_BYTES,
    };
    match u32::try_from(length) {
        Ok(short) if length <= most => {
            let [a, b, c, d] = short.to_le_bytes();
            Ok([kind, a, b, c, d])
        }
        _ => Err(WireError::TooLong(length as u64)),
    }
}

/// Takes a stream apart. It holds at most one frame and what came with its end.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    longest_message: usize,
}

impl FrameReader {
    /// One that takes messages of at most `longest_message` bytes.
    pub fn new(longest_message: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            longest_message,
        }
    }

    /// More of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether the stream may end here.
    pub fn is_between_frames(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next frame, none if more is needed for it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, WireError> {
        let Some((&[kind, a, b, c, d], _)) = self.buffer.split_first_chunk() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([a, b, c, d]);
        let most = match kind {
            MESSAGE => self.longest_message,
            PIECE => PIECE_BYTES,
            _ => return Err(WireError::Kind(kind)),
        };
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= most)
            .ok_or(WireError::TooLong(length.into()))?;
        if self.buffer.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        let bytes = self.buffer.split_to(length).freeze();
        Ok(Some(match kind {
            MESSAGE => Frame::Message(bytes),
            _ => Frame::Piece(bytes),
        }))
    }
}
