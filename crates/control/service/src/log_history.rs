//! The last log lines of each function, in memory, for people who look.
//!
//! Lock order: `functions` is a leaf.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use proto_node::{Heard, LOG_CHANNEL_RECORDS, LogRecord, LogSubscription};
use tokio::sync::broadcast;

/// Most bytes of text kept for one function.
const BYTES_PER_FUNCTION: usize = 256 * 1024;
/// Most functions with lines kept; beyond it, lines of new ones are only passed on.
const FUNCTIONS: usize = 2048;

#[derive(Default)]
struct Lines {
    records: VecDeque<Arc<LogRecord>>,
    bytes: usize,
}

/// The last log lines of each function.
pub struct LogHistory {
    functions: Mutex<HashMap<String, Lines>>,
    lines: usize,
    live: broadcast::Sender<Arc<LogRecord>>,
}

impl LogHistory {
    /// Keeps up to `lines` of each function.
    pub(crate) fn new(lines: usize) -> Self {
        let (live, _) = broadcast::channel(LOG_CHANNEL_RECORDS);
        Self {
            functions: Mutex::default(),
            lines,
            live,
        }
    }

    /// Takes in what the node logs, until the node is gone.
    pub(crate) async fn follow(self: Arc<Self>, mut source: LogSubscription) {
        while let Some(heard) = source.next().await {
            match heard {
                Heard::Record(record) => self.add(record),
                Heard::Lost(lost) => {
                    tracing::warn!(lost, "log lines came too fast to be kept");
                }
            }
        }
    }

    fn add(&self, record: Arc<LogRecord>) {
        let mut functions = self.functions.lock();
        if functions.len() < FUNCTIONS || functions.contains_key(&record.function) {
            let kept = functions.entry(record.function.clone()).or_default();
            kept.bytes += record.message.len();
            kept.records.push_back(Arc::clone(&record));
            while kept.records.len() > self.lines || kept.bytes > BYTES_PER_FUNCTION {
                let Some(oldest) = kept.records.pop_front() else {
                    break;
                };
                kept.bytes -= oldest.message.len();
            }
        }
        // Under the lock, so that a look at history and what follows it neither overlap nor gape.
        let _ = self.live.send(record);
    }

    /// What is kept of a function, and what comes from now on for all functions.
    pub fn look(
        &self,
        function: &str,
    ) -> (Vec<Arc<LogRecord>>, broadcast::Receiver<Arc<LogRecord>>) {
        let functions = self.functions.lock();
        let kept = functions
            .get(function)
            .map(|lines| lines.records.iter().cloned().collect());
        (kept.unwrap_or_default(), self.live.subscribe())
    }

    /// Drops the lines of a deleted function.
    pub(crate) fn forget(&self, function: &str) {
        self.functions.lock().remove(function);
    }
}
