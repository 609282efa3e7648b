//! How much the writable file systems of a sandbox may hold together.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use host_sys::memory_file::Census;
use kernel_vfs::{Errno, Result};

/// Limits of a [`Budget`].
#[derive(Clone, Copy, Debug)]
pub struct BudgetLimits {
    /// Bytes of contents, link targets and extended attributes.
    pub bytes: u64,
    /// Files, directories and other nodes.
    pub inodes: u64,
}

/// Bytes and inodes shared by file systems; clones share one account.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    limits: BudgetLimits,
    bytes: AtomicU64,
    /// Those of `bytes` that were taken for pages of memory files.
    in_memory_files: AtomicU64,
    memory_files: Census,
    inodes: AtomicU64,
}

/// What the file systems of a budget have, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetPages {
    /// Pages of memory files, however they came into being.
    pub held: u64,
    /// What was taken from the budget, within its limit.
    pub paid: u64,
    /// Pages that came through mappings and were not taken from the budget yet, and what is beyond the limit.
    pub unpaid: u64,
}

fn take(used: &AtomicU64, limit: u64, amount: u64) -> Result<()> {
    let step = |used: u64| used.checked_add(amount).filter(|sum| *sum <= limit);
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
        .map(|_| ())
        .map_err(|_| Errno::ENOSPC)
}

fn give(used: &AtomicU64, amount: u64) {
    // An account is never given more than was taken; saturate rather than wrap if it were.
    let _ = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
        Some(used.saturating_sub(amount))
    });
}

impl Budget {
    /// A budget with nothing used.
    #[must_use]
    pub fn new(limits: BudgetLimits) -> Budget {
        Budget(Arc::new(Account {
            limits,
            bytes: AtomicU64::new(0),
            in_memory_files: AtomicU64::new(0),
            memory_files: Census::default(),
            inodes: AtomicU64::new(0),
        }))
    }

    /// Its limits.
    #[must_use]
    pub fn limits(&self) -> BudgetLimits {
        self.0.limits
    }

    /// Bytes in use.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Inodes in use.
    #[must_use]
    pub fn inodes(&self) -> u64 {
        self.0.inodes.load(Ordering::Relaxed)
    }

    pub(crate) fn take_bytes(&self, amount: u64) -> Result<()> {
        take(&self.0.bytes, self.0.limits.bytes, amount)
    }

    /// What there is now. Asks the host about every memory file.
    #[must_use]
    pub fn pages(&self) -> BudgetPages {
        let held = self.0.memory_files.held_bytes();
        // After the host was asked: what was written meanwhile is taken before it is there.
        let taken = self.0.in_memory_files.load(Ordering::Relaxed);
        let (bytes, limit) = (self.bytes(), self.0.limits.bytes);
        let beyond = bytes.saturating_sub(limit);
        BudgetPages {
            held,
            paid: bytes - beyond,
            unpaid: held.saturating_sub(taken).saturating_add(beyond),
        }
    }

    /// A memory file whose pages are taken from it from now on; so many bytes were already.
    pub(crate) fn add_memory_file(&self, file: &Arc<File>, taken: u64) {
        self.0.memory_files.add(file);
        self.0.in_memory_files.fetch_add(taken, Ordering::Relaxed);
    }

    /// As [`take_bytes`](Budget::take_bytes), for pages of a memory file.
    pub(crate) fn take_memory(&self, amount: u64) -> Result<()> {
        self.take_bytes(amount)?;
        self.0.in_memory_files.fetch_add(amount, Ordering::Relaxed);
        Ok(())
    }

    /// As [`force_bytes`](Budget::force_bytes), for pages of a memory file.
    pub(crate) fn force_memory(&self, amount: u64) {
        self.force_bytes(amount);
        self.0.in_memory_files.fetch_add(amount, Ordering::Relaxed);
    }

    /// As [`give_bytes`](Budget::give_bytes), for pages of a memory file.
    pub(crate) fn give_memory(&self, amount: u64) {
        self.give_bytes(amount);
        give(&self.0.in_memory_files, amount);
    }

    /// Counts bytes that exist already, even beyond the limit (pages made through mappings).
    pub(crate) fn force_bytes(&self, amount: u64) {
        self.0.bytes.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn give_bytes(&self, amount: u64) {
        give(&self.0.bytes, amount);
    }

    pub(crate) fn take_inode(&self) -> Result<()> {
        take(&self.0.inodes, self.0.limits.inodes, 1)
    }

    pub(crate) fn give_inode(&self) {
        give(&self.0.inodes, 1);
    }
}
