//! Hands each log record to whoever listens now and to the store.

use std::sync::Arc;

use proto_node::{LOG_CHANNEL_RECORDS, LogRecord};
use tokio::sync::broadcast;

use crate::store::LogStore;

/// Where all log records of this node pass.
#[derive(Debug)]
pub struct LogHub {
    live: broadcast::Sender<Arc<LogRecord>>,
    store: Option<LogStore>,
}

impl LogHub {
    /// A hub that also writes to `store`, if there is one.
    pub fn new(store: Option<LogStore>) -> Self {
        Self {
            live: broadcast::channel(LOG_CHANNEL_RECORDS).0,
            store,
        }
    }

    /// All records from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<LogRecord>> {
        self.live.subscribe()
    }

    /// The records on disk.
    pub fn store(&self) -> Option<&LogStore> {
        self.store.as_ref()
    }

    /// One more record.
    pub fn publish(&self, record: LogRecord) {
        let record = Arc::new(record);
        if let Some(store) = &self.store {
            store.append(Arc::clone(&record));
        }
        // Nobody listening is no error.
        let _ = self.live.send(record);
    }
}
