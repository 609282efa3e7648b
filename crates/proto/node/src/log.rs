//! Log lines of functions, and the tail that an answer carries.

use serde::{Deserialize, Serialize};

/// Bytes of log that an answer carries at most (`X-Amz-Log-Result`: the last 4 KB).
pub const LOG_TAIL_BYTES: usize = 4096;

/// Records a subscription holds before a slow reader loses the oldest.
pub const LOG_CHANNEL_RECORDS: usize = 1024;

/// Who wrote a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    /// The function or its runtime, on standard output or standard error.
    Function,
    /// The platform: INIT_START, START, END, REPORT and so on.
    Platform,
}

/// One log line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// Function name.
    pub function: String,
    /// Version that ran.
    pub version: String,
    /// Log group of the function.
    pub group: String,
    /// Log stream of the instance, `YYYY/MM/DD/[$LATEST]<32 hex>`.
    pub stream: String,
    /// Event that was running, if any (none during init).
    pub request_id: Option<String>,
    /// Who wrote it.
    pub kind: LogKind,
    /// The text without its line end; bytes that are no UTF-8 are replaced.
    pub message: String,
}

/// The last [`LOG_TAIL_BYTES`] of `log`, cut anywhere as AWS does.
pub fn tail_of(log: &[u8]) -> &[u8] {
    &log[log.len().saturating_sub(LOG_TAIL_BYTES)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_keeps_short_logs_and_cuts_long_ones_at_the_front() {
        assert_eq!(tail_of(b"short"), b"short");
        let long: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();
        assert_eq!(tail_of(&long), &long[904..]);
    }
}
