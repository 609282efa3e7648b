//! The one account of memory: what guests have, and what that takes of the host.
//!
//! ```text
//!   guest = private pages + pages of the snapshot + shared memory + pages of files beyond the disk quota
//!   host  = private pages + page tables + shared memory + pages of files
//! ```
//! *Guest* is what the limit of a sandbox, `/proc`, the control group's files and the report of a function tell; *host* is what the machine
//! is poorer by. What the host gives without asking us (private pages, pages of a shared mapping) is counted when somebody looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use host_sys::memory_file::Census;
use parking_lot::Mutex;

/// Bytes that the guests of a sandbox have, and that the host has for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// What counts against the sandbox's limit.
    pub guest: u64,
    /// Of that, private memory.
    pub private: u64,
    /// What the host has in memory, without the sandbox's own process.
    pub host: u64,
    /// What the disk quota has paid for, in memory files and on the heap of the sandbox's process.
    pub quota: u64,
}

/// Pages of writable file systems, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilePages {
    /// What their memory files have.
    pub held: u64,
    /// What was written and reserved within the quota, wherever it is.
    pub paid: u64,
    /// What came through mappings, or is beyond the quota.
    pub unpaid: u64,
}

/// Tells what the file systems of one quota have.
pub type CountFiles = Box<dyn Fn() -> FilePages + Send + Sync>;

/// How well a look must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// An estimate will do, unless it is beyond the limit.
    Passing,
    /// It is told to somebody.
    Closely,
}

/// The last close count of private pages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    /// What the quick count said then.
    pub(crate) quick: u64,
    /// By how much that was too high.
    pub(crate) over: u64,
    pub(crate) looks: u32,
}

/// What is counted where it is made, and what was found last.
#[derive(Default)]
pub struct MemoryAccount {
    /// Shared memory without a name, and memory files of memfd_create(2).
    pub(crate) shared: Arc<Census>,
    files: Mutex<Vec<CountFiles>>,
    pub(crate) last: Mutex<Count>,
    pub(crate) highest: AtomicU64,
}

impl MemoryAccount {
    /// Counts the file systems of a quota from now on.
    pub fn count_files(&self, count: CountFiles) {
        self.files.lock().push(count);
    }

    /// The most bytes that guests had when somebody looked.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.highest.load(Ordering::Relaxed)
    }

    pub(crate) fn files(&self) -> FilePages {
        let counts = self.files.lock();
        counts.iter().fold(FilePages::default(), |sum, count| {
            let pages = count();
            FilePages {
                held: sum.held.saturating_add(pages.held),
                paid: sum.paid.saturating_add(pages.paid),
                unpaid: sum.unpaid.saturating_add(pages.unpaid),
            }
        })
    }
}
