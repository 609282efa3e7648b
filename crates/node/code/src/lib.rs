//! The code of functions on a node's disk: unpacked, by digest, and who uses it.

#![forbid(unsafe_code)]

mod store;
mod users;

pub use store::{CodeStore, OpenError};
