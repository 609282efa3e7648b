//! Messages of `application/vnd.amazon.eventstream`, as answers of InvokeWithResponseStream hold them.
//!
//! ```text
//!   length of all u32 │ length of the headers u32 │ CRC-32 of the two │ headers │ payload │ CRC-32 of all before
//!   header: length of the name u8 │ name │ 7, a string │ length u16 │ value
//! ```
//!
//! Numbers are big-endian. Source: "Amazon Event Stream Specification" (Smithy); botocore's parser agrees, which a
//! test asks.

use bytes::{BufMut, Bytes, BytesMut};
use crc32fast::Hasher;
use serde::Serialize;

/// Bytes before the headers.
const PRELUDE: usize = 12;
/// Bytes after the payload.
const TRAILER: usize = 4;
/// Type of a header whose value is a string.
const STRING: u8 = 7;

/// How an answer ended, in the words of the service model.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct InvokeComplete {
    /// What kind of failure, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error_code: Option<String>,
    /// The failure's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error_details: Option<String>,
    /// The end of the log in base64, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_result: Option<String>,
}

/// The next bytes of the function's answer.
pub(crate) fn payload_chunk(payload: &[u8]) -> Bytes {
    let headers = [
        (":event-type", "PayloadChunk"),
        (":content-type", "application/octet-stream"),
        (":message-type", "event"),
    ];
    message(&headers, payload)
}

/// The last message of an answer that came to its end.
pub(crate) fn invoke_complete(complete: &InvokeComplete) -> Bytes {
    let headers = [
        (":event-type", "InvokeComplete"),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    // Texts always serialise.
    let payload = serde_json::to_vec(complete).unwrap_or_default();
    message(&headers, &payload)
}

/// The last message of an answer that broke off because of us; clients raise it as an exception.
pub(crate) fn error(code: &str, text: &str) -> Bytes {
    let headers = [
        (":error-code", code),
        (":error-message", text),
        (":message-type", "error"),
    ];
    message(&headers, b"")
}

/// A message; payloads are pieces of bounded size, and headers are ours, so lengths fit.
fn message(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    let lengths = headers
        .iter()
        .map(|(name, value)| 4 + name.len() + value.len());
    let headers_length: usize = lengths.sum();
    let length = PRELUDE + headers_length + payload.len() + TRAILER;
    let mut message = BytesMut::with_capacity(length);
    message.put_u32(length as u32);
    message.put_u32(headers_length as u32);
    message.put_u32(crc32fast::hash(&message));
    for (name, value) in headers {
        message.put_u8(name.len() as u8);
        message.put_slice(name.as_bytes());
        message.put_u8(STRING);
        message.put_u16(value.len() as u16);
        message.put_slice(value.as_bytes());
    }
    message.put_slice(payload);
    let mut hasher = Hasher::new();
    hasher.update(&message);
    message.put_u32(hasher.finalize());
    message.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_the_specification_says() {
        // The vector `payload_no_headers` of the Smithy test suite.
        let expected = [
            0x00, 0x00, 0x00, 0x1d, 0x00, 0x00, 0x00, 0x00, 0xfd, 0x52, 0x8c, 0x5a, 0x7b, 0x27,
            0x66, 0x6f, 0x6f, 0x27, 0x3a, 0x27, 0x62, 0x61, 0x72, 0x27, 0x7d, 0xc3, 0x65, 0x39,
            0x36,
        ];
        assert_eq!(message(&[], b"{'foo':'bar'}")[..], expected);
    }

    #[test]
    fn only_what_there_is_to_say_is_said() {
        let message = invoke_complete(&InvokeComplete::default());
        assert_eq!(
            message[message.len() - TRAILER - 2..message.len() - TRAILER],
            *b"{}"
        );
    }
}
