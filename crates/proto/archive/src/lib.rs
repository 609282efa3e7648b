//! The archives in which code comes: what is accepted, and what it unpacks to.
//!
//! Who takes an archive from a client [`check`]s it, so that the client hears what is wrong; who runs the code
//! [`unpack`]s it. Both go by the same limits, so a node refuses only what nobody should have sent it.

#![forbid(unsafe_code)]

mod error;
mod tree;
mod unpack;

pub use error::{MAX_ENTRIES, UnpackError};
pub use unpack::{check, check_room, declared, unpack};
