//! Reading what functions write.

use std::fmt;
use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};

use crate::{BoxFuture, LogRecord};

/// What a reader of a log hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next record.
    Record(Arc<LogRecord>),
    /// So many records came faster than they were read, and are lost to this reader.
    Lost(u64),
}

/// Where the records of a subscription come from.
pub trait LogSource: Send {
    /// What comes next; none when there is no more to come. Dropping the future loses nothing.
    fn next(&mut self) -> BoxFuture<'_, Option<Heard>>;
}

/// A subscription to log records.
pub struct LogSubscription(Box<dyn LogSource>);

impl LogSubscription {
    /// Records that come from `source`.
    pub fn new(source: impl LogSource + 'static) -> Self {
        Self(Box::new(source))
    }

    /// What comes next; none when there is no more to come. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Heard> {
        self.0.next().await
    }
}

impl fmt::Debug for LogSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogSubscription")
    }
}

/// A subscription inside one process.
impl LogSource for broadcast::Receiver<Arc<LogRecord>> {
    fn next(&mut self) -> BoxFuture<'_, Option<Heard>> {
        Box::pin(async {
            match self.recv().await {
                Ok(record) => Some(Heard::Record(record)),
                Err(RecvError::Lagged(lost)) => Some(Heard::Lost(lost)),
                Err(RecvError::Closed) => None,
            }
        })
    }
}

/// What a node keeps and tells of the logs of its functions.
pub trait Logs: Send + Sync + 'static {
    /// A new subscription to the log lines of all functions on this node from now on.
    ///
    /// It holds [`crate::LOG_CHANNEL_RECORDS`]; a slow reader hears [`Heard::Lost`], never slows a function.
    fn subscribe(&self) -> LogSubscription;

    /// The newest log lines of a function that are kept on disk, at most `limit`, in order of
    /// time; they survive the node. A node that keeps none answers none.
    fn stored_logs(&self, function: &str, limit: usize) -> BoxFuture<'_, Vec<LogRecord>>;

    /// The function was deleted: removes its log lines from disk, so that a later function of the same
    /// name does not show them. Resolves when no reader finds them any more.
    fn remove_logs(&self, function: &str) -> BoxFuture<'_, ()>;
}
