//! The seam to a node (`proto-node`) as messages on a connection, version 1.
//!
//! ```text
//!   control                                                             node
//!   ── side connection:   "REKINDLE 1 taken - TOKEN\n" ─▶  ◀─ "OK SESSION\n"
//!                                                          ◀─ the number of each event that is taken, 8 bytes each
//!   ── main connection:   "REKINDLE 1 calls SESSION TOKEN\n" ─▶  ◀─ "OK SESSION\n", then HTTP/2
//!        POST /call       frames: a message (Call), then pieces of a body
//!                                                          ◀─ frames: messages (CallAnswer) and pieces
//! ```
//!
//! A frame is a byte that says what it is, four bytes of length (little endian), and so many bytes: a message in
//! postcard's format, or a piece of a body. The end of the stream is the end of the body; a reset one broke off.
//!
//! The side connection is why an event never runs twice: its node writes the number there by itself, before it hands
//! the event to an instance, and what was written is read even if the node was killed right after. A node that is alive
//! closes it only when no event of the session can be handed over any more.
//!
//! Invariant: what the other side says is checked before anybody acts on it ([`Call::check`]); nothing it can send makes
//! this crate panic or take more memory than its limits say.

#![forbid(unsafe_code)]

mod check;
mod frame;
mod hello;
mod message;

pub use check::Invalid;
pub use frame::{
    ANSWER_BYTES, CALL_BYTES, Frame, FrameReader, HEADER_BYTES, WireError, message, piece,
};
pub use hello::{Hello, HelloError, LINE_BYTES, Purpose, Session, TOKEN_CHARS, VERSION, Welcome};
pub use message::{Call, CallAnswer};

/// The path that all calls go to.
pub const PATH: &str = "/call";
/// Calls that one connection carries at once.
pub const STREAMS: u32 = 2048;
/// Bytes of one stream that may be on their way: a reader that stalls holds back so many.
pub const STREAM_WINDOW: u32 = 128 * 1024;
/// Bytes of all streams together: readers that stall must not hold back the others.
pub const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;
/// Bytes of one record on the side connection.
pub const TAKEN_BYTES: usize = 8;
