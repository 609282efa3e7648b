//! The one account of memory: what guests have, and what that takes of the host.
//!
//! ```text
//!   guest = private pages + pages of the snapshot + shared memory + pages of files beyond the disk quota
//!   host  = private pages + page tables + shared memory + pages of files
//! ```
//! *Guest* is what the limit of a sandbox, `/proc`, the control group's files and the report of a function tell; *host* is what the machine
//! is poorer by. What the host gives without asking us (private pages, pages of a shared mapping) is counted when somebody looks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use host_sys::memory_file::Census;
use kernel_mm::Mm;
use parking_lot::Mutex;
use platform_api::{Counting, Held};

use crate::System;

/// Looks after which pages are counted closely again whatever has changed: copies that are written stop being shared.
const LOOKS: u32 = 64;
/// Change of private memory that makes a close count out of date where one is asked for.
const STALE: u64 = 256 << 10;
/// The same where an estimate will do, at least; larger sandboxes allow more.
const DRIFT: u64 = 4 << 20;

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
struct Count {
    /// What the quick count said then.
    quick: u64,
    /// By how much that was too high.
    over: u64,
    looks: u32,
}

/// What is counted where it is made, and what was found last.
#[derive(Default)]
pub struct MemoryAccount {
    /// Shared memory without a name, and memory files of memfd_create(2).
    pub(crate) shared: Arc<Census>,
    files: Mutex<Vec<CountFiles>>,
    last: Mutex<Count>,
    highest: AtomicU64,
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

    fn files(&self) -> FilePages {
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

impl System {
    /// What guests have now.
    pub fn memory_use(&self, look: Look) -> MemoryUse {
        let spaces = self.spaces();
        let held = self.held(&spaces, Counting::Quick);
        let (snapshot, shared) = (of_snapshots(&spaces), self.memory.shared.held_bytes());
        let files = self.memory.files();
        let rest = snapshot.saturating_add(shared).saturating_add(files.unpaid);
        let private = self.private(&spaces, held.private, rest, look);
        let host = private.saturating_add(held.tables).saturating_add(shared);
        let found = MemoryUse {
            guest: private.saturating_add(rest),
            private: private.saturating_add(snapshot),
            host: host.saturating_add(files.held),
            quota: files.paid,
        };
        self.memory
            .highest
            .fetch_max(found.guest, Ordering::Relaxed);
        found
    }

    /// Private pages by the last close count, or by a new one where that is called for.
    fn private(&self, spaces: &[Arc<Mm>], quick: u64, rest: u64, look: Look) -> u64 {
        let mut last = self.memory.last.lock();
        let limit = self.kernel.config.memory;
        let estimate = quick.saturating_sub(last.over);
        let drift = match look {
            Look::Passing => DRIFT.max(limit / 32),
            Look::Closely => STALE,
        };
        last.looks += 1;
        let known = last.quick.abs_diff(quick) < drift && last.looks < LOOKS;
        if known && estimate.saturating_add(rest) <= limit {
            return estimate;
        }
        let close = self.held(spaces, Counting::Close).private;
        // Frames that were given ahead are nobody's yet: an address space does not count them as its own.
        let used = spaces.iter().map(|mm| mm.resident().0.own).sum();
        let close = close.min(used).min(quick);
        *last = Count {
            quick,
            over: quick - close,
            looks: 0,
        };
        close
    }

    fn held(&self, spaces: &[Arc<Mm>], counting: Counting) -> Held {
        self.kernel.platform.held(counting).unwrap_or_else(|| Held {
            private: spaces.iter().map(|mm| mm.space().resident_bytes()).sum(),
            tables: 0,
        })
    }

    /// Every address space once.
    fn spaces(&self) -> Vec<Arc<Mm>> {
        let tasks: Vec<_> = self.kernel.tree.lock().tasks().cloned().collect();
        let spaces = tasks.iter().map(|task| task.mm());
        let spaces: BTreeMap<u64, Arc<Mm>> = spaces.map(|mm| (mm.id(), mm)).collect();
        spaces.into_values().collect()
    }
}

/// Bytes of snapshots that guests still see; copies of an address space see the same.
fn of_snapshots(spaces: &[Arc<Mm>]) -> u64 {
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    for from in spaces.iter().filter_map(|mm| mm.from_snapshot()) {
        let most = seen.entry(from.origin).or_insert(0);
        *most = from.bytes.max(*most);
    }
    seen.into_values().fold(0, u64::saturating_add)
}
