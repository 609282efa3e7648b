//! Framing: two lengths, a JSON header, raw payload bytes, all bounded.
//!
//! ```text
//! u32 LE header length | u32 LE payload length | header (JSON) | payload
//! ```

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest header in bytes; `Start` with its environment is the largest one.
pub const MAX_HEADER: usize = 256 * 1024;
/// Largest payload in bytes: a whole buffered response. An event (6 MiB) with the random numbers of a restore is shorter.
pub const MAX_PAYLOAD: usize = crate::MAX_RESPONSE_BYTES as usize;
/// Payloads up to this length are copied behind their header, so that one write wakes the reader once.
const SMALL: usize = 4096;
/// Bytes of room that a [`Decoder`] keeps when it holds nothing: pieces and log lines fit.
const KEPT: usize = 128 * 1024;
/// Bytes of the two lengths before each header.
pub const PREFIX: usize = 8;

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The header is longer than [`MAX_HEADER`].
    #[error("message header of {0} bytes is longer than {MAX_HEADER}")]
    HeaderTooLong(usize),
    /// The payload is longer than [`MAX_PAYLOAD`].
    #[error("message payload of {0} bytes is longer than {MAX_PAYLOAD}")]
    PayloadTooLong(usize),
    /// The header is not a message that this version knows.
    #[error("unknown message header")]
    Header(#[source] serde_json::Error),
    /// The socket failed or closed in the middle of a message.
    #[error("the sandbox socket failed")]
    Io(#[from] io::Error),
}

/// A header and its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<H> {
    /// What the message says.
    pub head: H,
    /// Bytes that belong to it; empty for most.
    pub payload: Vec<u8>,
}

/// The prefix and header of a message whose payload is sent right after it,
/// so that a large payload need not be copied.
pub fn encode_head<H: Serialize>(head: &H, payload_len: usize) -> Result<Vec<u8>, FrameError> {
    if payload_len > MAX_PAYLOAD {
        return Err(FrameError::PayloadTooLong(payload_len));
    }
    let mut bytes = vec![0; PREFIX];
    serde_json::to_writer(&mut bytes, head).map_err(FrameError::Header)?;
    let header_len = bytes.len() - PREFIX;
    if header_len > MAX_HEADER {
        return Err(FrameError::HeaderTooLong(header_len));
    }
    bytes[..4].copy_from_slice(&(header_len as u32).to_le_bytes());
    bytes[4..PREFIX].copy_from_slice(&(payload_len as u32).to_le_bytes());
    Ok(bytes)
}

/// A whole message as bytes.
pub fn encode<H: Serialize>(head: &H, payload: &[u8]) -> Result<Vec<u8>, FrameError> {
    let mut bytes = encode_head(head, payload.len())?;
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

/// Writes one message to a blocking writer.
pub fn write_message<H: Serialize>(
    to: &mut impl Write,
    head: &H,
    payload: &[u8],
) -> Result<(), FrameError> {
    let mut bytes = encode_head(head, payload.len())?;
    if payload.len() <= SMALL {
        bytes.extend_from_slice(payload);
        to.write_all(&bytes)?;
    } else {
        to.write_all(&bytes)?;
        to.write_all(payload)?;
    }
    Ok(to.flush()?)
}

/// Reads one message from a blocking reader; `None` when it ended between two.
pub fn read_message<H: DeserializeOwned>(
    from: &mut impl Read,
) -> Result<Option<Message<H>>, FrameError> {
    let mut prefix = [0; PREFIX];
    let mut have = 0;
    while have < PREFIX {
        match from.read(&mut prefix[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    let (header_len, payload_len) = lengths(prefix)?;
    let mut header = vec![0; header_len];
    from.read_exact(&mut header)?;
    let head = serde_json::from_slice(&header).map_err(FrameError::Header)?;
    let mut payload = vec![0; payload_len];
    from.read_exact(&mut payload)?;
    Ok(Some(Message { head, payload }))
}

fn lengths(prefix: [u8; PREFIX]) -> Result<(usize, usize), FrameError> {
    let [a, b, c, d, e, f, g, h] = prefix;
    let header = u32::from_le_bytes([a, b, c, d]) as usize;
    let payload = u32::from_le_bytes([e, f, g, h]) as usize;
    if header > MAX_HEADER {
        return Err(FrameError::HeaderTooLong(header));
    }
    if payload > MAX_PAYLOAD {
        return Err(FrameError::PayloadTooLong(payload));
    }
    Ok((header, payload))
}

/// Splits a byte stream into messages, for readers that may not block.
///
/// Holds at most one message and what came in the same read.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() && self.bytes.capacity() > KEPT {
            // The room for an answer of megabytes should not stay with an idle instance.
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..self.start);
        }
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if it is there. Errors are final: the stream has
    /// lost its framing.
    pub fn next_message<H: DeserializeOwned>(&mut self) -> Result<Option<Message<H>>, FrameError> {
        let rest = &self.bytes[self.start..];
        let Some(prefix) = rest.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let (header_len, payload_len) = lengths(*prefix)?;
        let end = PREFIX + header_len + payload_len;
        let Some(frame) = rest.get(PREFIX..end) else {
            return Ok(None);
        };
        let (header, payload) = frame.split_at(header_len);
        let head = serde_json::from_slice(header).map_err(FrameError::Header)?;
        let payload = payload.to_vec();
        self.start += end;
        Ok(Some(Message { head, payload }))
    }
}
