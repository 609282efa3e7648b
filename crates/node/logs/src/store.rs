//! Log records on disk: per function two files of bounded size, written by one thread.
//!
//! `DIR/<function>/current.jsonl` grows to [`LogStoreConfig::file_bytes`], then takes the
//! place of `previous.jsonl`. A full queue drops records and counts them; a function never
//! waits for the disk.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::{self, Thread};
use std::time::Duration;

use proto_node::LogRecord;

/// Where logs are kept, and how much of them.
#[derive(Debug, Clone)]
pub struct LogStoreConfig {
    /// Directory of the store; made when missing.
    pub directory: PathBuf,
    /// Size at which a function's file is rotated; it may have two.
    pub file_bytes: u64,
}

/// Records that wait to be written.
const QUEUE: usize = 8192;
/// How long records gather while more come than one at a time: waking the writer for each would cost every invocation
/// a wake-up of another processor. A server that is killed loses no more than these.
const GATHER: Duration = Duration::from_millis(5);
/// So many bytes that wait end the gathering.
const GATHERED: usize = 1 << 20;
/// Bytes that may wait; what comes then is dropped and counted.
const QUEUE_BYTES: usize = 64 << 20;
/// Functions whose files are kept open.
const MAX_OPEN: usize = 64;

enum Order {
    Append(Arc<LogRecord>),
    Flush(mpsc::Sender<()>),
    Remove(String),
}

/// The writer's handle; cloned freely. The writer ends when the last is dropped.
#[derive(Debug, Clone)]
pub struct LogStore {
    orders: SyncSender<Order>,
    /// Bytes of records that were sent and not taken yet.
    waiting: Arc<AtomicUsize>,
    writer: Thread,
    dropped: Arc<AtomicU64>,
    directory: PathBuf,
}

/// The newest records of a function.
#[derive(Debug, Default)]
pub struct StoredLogs {
    /// In order of time.
    pub records: Vec<LogRecord>,
    /// Older ones were left out because of the limit.
    pub truncated: bool,
}

impl LogStore {
    /// Opens the store and starts its writer.
    pub fn open(config: LogStoreConfig) -> io::Result<Self> {
        fs::create_dir_all(&config.directory)?;
        let (orders, receiver) = mpsc::sync_channel(QUEUE);
        let directory = config.directory.clone();
        let mut writer = Writer {
            config,
            open: HashMap::new(),
            waiting: Arc::default(),
        };
        let waiting = Arc::clone(&writer.waiting);
        let thread = thread::Builder::new()
            .name("logs".into())
            .spawn(move || writer.run(&receiver))?;
        Ok(Self {
            orders,
            waiting,
            writer: thread.thread().clone(),
            dropped: Arc::default(),
            directory,
        })
    }

    pub(crate) fn append(&self, record: Arc<LogRecord>) {
        let bytes = record.message.len();
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let full = before > QUEUE_BYTES || {
            let sent = self.orders.try_send(Order::Append(record));
            matches!(sent, Err(TrySendError::Full(_)))
        };
        if full {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if full || (before..before + bytes).contains(&GATHERED) {
            self.writer.unpark();
        }
    }

    /// An order that is not to wait for others.
    fn order(&self, order: Order) -> bool {
        let sent = self.orders.send(order).is_ok();
        self.writer.unpark();
        sent
    }

    /// Records that were not written because the disk was too slow.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Deletes the logs of a function.
    pub fn remove(&self, function: &str) {
        self.order(Order::Remove(function.to_owned()));
    }

    /// The newest `limit` records of `function` from `since_ms` on. Blocks on the disk.
    pub fn read(&self, function: &str, since_ms: u64, limit: usize) -> io::Result<StoredLogs> {
        let (done, wait) = mpsc::channel();
        // What was said before this call is in the files after it.
        if self.order(Order::Flush(done)) {
            let _ = wait.recv();
        }
        let mut found = std::collections::VecDeque::new();
        let mut truncated = false;
        let Some(directory) = directory_of(&self.directory, function) else {
            return Ok(StoredLogs::default());
        };
        for name in ["previous.jsonl", "current.jsonl"] {
            let file = match File::open(directory.join(name)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for line in BufReader::new(file).split(b'\n') {
                // A line cut short by a crash is left out.
                let Ok(record) = serde_json::from_slice::<LogRecord>(&line?) else {
                    continue;
                };
                if record.timestamp_ms < since_ms {
                    continue;
                }
                if found.len() >= limit {
                    found.pop_front();
                    truncated = true;
                }
                if limit > 0 {
                    found.push_back(record);
                }
            }
        }
        Ok(StoredLogs {
            records: found.into(),
            truncated,
        })
    }
}

/// The directory of a function; none for names that no function has, which could lead elsewhere.
fn directory_of(root: &Path, function: &str) -> Option<PathBuf> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (!function.is_empty() && function.len() <= 140 && function.chars().all(plain))
        .then(|| root.join(function))
}

struct Writer {
    config: LogStoreConfig,
    open: HashMap<String, (BufWriter<File>, u64)>,
    waiting: Arc<AtomicUsize>,
}

impl Writer {
    fn run(&mut self, orders: &Receiver<Order>) {
        while let Ok(first) = orders.recv() {
            self.obey(first);
            // Whoever sends wakes nobody from here on, until nothing came for a while.
            loop {
                self.flush();
                thread::park_timeout(GATHER);
                let Ok(next) = orders.try_recv() else { break };
                self.obey(next);
                while let Ok(next) = orders.try_recv() {
                    self.obey(next);
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Append(record) => {
                self.waiting
                    .fetch_sub(record.message.len(), Ordering::Relaxed);
                if let Err(error) = self.append(&record) {
                    tracing::warn!(function = record.function, %error, "a log record was not written");
                    self.open.remove(&record.function);
                }
            }
            Order::Flush(done) => {
                self.flush();
                let _ = done.send(());
            }
            Order::Remove(function) => {
                self.open.remove(&function);
                if let Some(directory) = directory_of(&self.config.directory, &function) {
                    let _ = fs::remove_dir_all(directory);
                }
            }
        }
    }

    fn flush(&mut self) {
        for (function, (file, _)) in &mut self.open {
            if let Err(error) = file.flush() {
                tracing::warn!(function, %error, "log records were not written");
            }
        }
    }

    fn append(&mut self, record: &LogRecord) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let Some(directory) = directory_of(&self.config.directory, &record.function) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if !self.open.contains_key(&record.function) {
            if self.open.len() >= MAX_OPEN {
                self.flush();
                self.open.clear();
            }
            fs::create_dir_all(&directory)?;
            let opened = open_current(&directory)?;
            self.open.insert(record.function.clone(), opened);
        }
        let Some((file, size)) = self.open.get_mut(&record.function) else {
            return Ok(());
        };
        if *size + line.len() as u64 > self.config.file_bytes && *size > 0 {
            file.flush()?;
            fs::rename(
                directory.join("current.jsonl"),
                directory.join("previous.jsonl"),
            )?;
            (*file, *size) = open_current(&directory)?;
        }
        file.write_all(&line)?;
        *size += line.len() as u64;
        Ok(())
    }
}

fn open_current(directory: &Path) -> io::Result<(BufWriter<File>, u64)> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(directory.join("current.jsonl"))?;
    let size = file.seek(SeekFrom::End(0))?;
    Ok((BufWriter::new(file), size))
}

#[cfg(test)]
mod tests {
    use proto_node::LogKind;

    use super::*;

    fn record(function: &str, at: u64, message: String) -> Arc<LogRecord> {
        Arc::new(LogRecord {
            timestamp_ms: at,
            function: function.into(),
            version: "$LATEST".into(),
            group: "/aws/lambda/f".into(),
            stream: "s".into(),
            request_id: None,
            kind: LogKind::Function,
            message,
        })
    }

    fn store(file_bytes: u64) -> (tempfile::TempDir, LogStore) {
        let directory = tempfile::tempdir().unwrap();
        let config = LogStoreConfig {
            directory: directory.path().join("logs"),
            file_bytes,
        };
        let store = LogStore::open(config).unwrap();
        (directory, store)
    }

    #[test]
    fn records_come_back_in_order_by_time_and_limit() {
        let (_directory, store) = store(1 << 20);
        for at in 0..10 {
            store.append(record("f", at, format!("m{at}")));
            store.append(record("g", at, "other".into()));
        }
        let got = store.read("f", 4, 3).unwrap();
        let messages: Vec<_> = got
            .records
            .iter()
            .map(|record| record.message.as_str())
            .collect();
        assert_eq!((messages, got.truncated), (vec!["m7", "m8", "m9"], true));
        assert_eq!(store.read("f", 0, 100).unwrap().records.len(), 10);
        assert!(store.read("../g", 0, 100).unwrap().records.is_empty());
        store.remove("f");
        assert!(store.read("f", 0, 100).unwrap().records.is_empty());
    }

    #[test]
    fn files_are_rotated_and_bounded() {
        let (directory, store) = store(10_000);
        for at in 0..1000 {
            // Waits for the writer now and then, so that the queue drops nothing.
            if at % 500 == 0 {
                store.read("f", 0, 0).unwrap();
            }
            store.append(record("f", at, "x".repeat(100)));
        }
        let got = store.read("f", 0, 10_000).unwrap();
        assert_eq!(got.records.last().unwrap().timestamp_ms, 999);
        let files = directory.path().join("logs/f");
        let size: u64 = fs::read_dir(files)
            .unwrap()
            .map(|f| f.unwrap().metadata().unwrap().len())
            .sum();
        assert!(size <= 20_000, "{size}");
    }
}
