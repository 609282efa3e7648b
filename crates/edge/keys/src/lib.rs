//! Keys, and requests that are signed with them (AWS Signature Version 4).
//!
//! ```text
//!   file (mode 0600) ──▶ KeyRing: as it is now ──▶ Checker ── head ──▶ Claim ── body ──▶ Caller
//!     ▲ create, revoke                               who, when, for what        nobody has sent this before
//!     └── KeyFile                  Credentials ── sign ──▶ a client's request
//! ```
//!
//! What is checked of a request, in this order, before a byte of its body is read: that it says who it is from, in its
//! headers or in its query; the key, its account, region, service and date; that everything is signed that could
//! change what it does (`host`, every `x-amz-*`); and, where the body's digest is a signed header, the signature.
//!
//! Source: "AWS Signature Version 4 for API requests", IAM user guide.

#![forbid(unsafe_code)]

mod canonical;
mod check;
mod claim;
mod file;
mod key;
mod replay;
mod ring;
mod section;
mod sign;

pub use canonical::query_pairs;
pub use check::{Checker, Transport};
pub use claim::Claim;
pub use file::{KeyFile, KeysError, read_keys};
pub use key::{AccessKey, Place};
pub use ring::KeyRing;
pub use sign::{Credentials, sign};

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads hex; `None` for anything else.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}
