//! What functions and the platform say: cut into lines, held to a budget, kept for
//! the answer's tail, published to subscribers and stored on disk.

mod budget;
mod hub;
mod instance;
mod lines;
mod store;
mod tail;

pub use hub::LogHub;
pub(crate) use instance::InstanceLog;
pub use store::{LogStore, LogStoreConfig, StoredLogs};
