//! What functions and the platform say: cut into lines, held to a budget, kept for
//! the answer's tail, published to subscribers and stored on disk.
//!
//! ```text
//! guest's bytes ─▶ InstanceLog (lines, budget, tail) ─▶ LogHub ─▶ subscribers
//! platform's lines ─────────┘                              └────▶ LogStore (files, one thread)
//! ```
#![forbid(unsafe_code)]

mod budget;
mod hub;
mod instance;
mod lines;
mod store;
mod tail;

pub use hub::LogHub;
pub use instance::InstanceLog;
pub use store::{LogStore, LogStoreConfig, StoredLogs};
