//! How much the writable file systems of a sandbox may hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    inodes: AtomicU64,
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
            inodes: AtomicU64::new(0),
        }))
    }

    /// Its limits.
    #[must_use]
    pub fn limits(&self) -> BudgetLimits {
        self.0.limits
    }

    /// Bytes in use: what the sandbox's memory limit must count.
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
