//! How much of everything a guest may send.

/// Bounds on what the guest's runtime may make us hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuntimeLimits {
    /// Open connections; more are refused at [`crate::RuntimeApi::open`].
    pub connections: usize,
    /// Bytes of a request line with its headers; more is answered 431.
    pub head_bytes: usize,
    /// Bytes of a buffered response or of an error body; more is answered 413.
    pub body_bytes: u64,
    /// Bytes of a streamed response; more is answered 413.
    pub streamed_bytes: u64,
    /// Bytes of a streamed response that may be under way to whoever reads it.
    pub window_bytes: u64,
    /// Bytes of a refused body that are read and thrown away so that the
    /// connection can live on; beyond it the connection is closed.
    pub discard_bytes: u64,
    /// Bytes that may wait behind a request which is still being answered.
    pub pipelined_bytes: usize,
}

impl Default for RuntimeLimits {
    fn default() -> Self {
        Self {
            connections: 64,
            head_bytes: 64 * 1024,
            body_bytes: proto_sandbox::MAX_RESPONSE_BYTES,
            streamed_bytes: proto_sandbox::MAX_STREAMED_BYTES,
            window_bytes: proto_sandbox::STREAM_WINDOW,
            discard_bytes: 256 * 1024 * 1024,
            pipelined_bytes: 64 * 1024,
        }
    }
}

/// Bytes of a streamed response that are handed on at once.
pub(crate) const PIECE_BYTES: usize = proto_sandbox::PIECE_BYTES;
/// Headers of one request, and trailers of one body.
pub(crate) const MAX_HEADERS: usize = 64;
/// Bytes of a chunk's size line.
pub(crate) const MAX_CHUNK_LINE: usize = 1024;
