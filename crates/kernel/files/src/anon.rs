//! Inode numbers and status of files that no directory names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base_abi::structs::Stat;
use kernel_vfs::{FileType, Owned, Ownership};

/// `st_dev` of `anon_inodefs`.
const ANON_DEV: u64 = 14;
/// `st_dev` of `pipefs`.
const PIPE_DEV: u64 = 13;

/// The numbering of anonymous inodes of one sandbox; clones share it.
#[derive(Clone, Debug, Default)]
pub struct AnonInodes(Arc<AtomicU64>);

impl AnonInodes {
    /// Numbers from one upwards.
    #[must_use]
    pub fn new() -> AnonInodes {
        AnonInodes::default()
    }

    /// The next number.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// The last number given out, and where a restored sandbox continues.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Continues after `last`.
    pub fn restore(&self, last: u64) {
        self.0.store(last, Ordering::Relaxed);
    }
}

/// Status of an `anon_inode` file: mode 0600 without a type, as Linux shows it.
#[must_use]
pub fn anon_stat(ino: u64) -> Stat {
    Stat {
        dev: ANON_DEV,
        ino,
        nlink: 1,
        mode: 0o600,
        blksize: 4096,
        ..Stat::default()
    }
}

/// Status of an unnamed pipe.
#[must_use]
pub fn pipe_stat(ino: u64, owner: &Ownership) -> Stat {
    owner.fill(Stat {
        dev: PIPE_DEV,
        ino,
        nlink: 1,
        mode: FileType::Fifo.mode_bits(),
        blksize: 4096,
        ..Stat::default()
    })
}

/// A pipe is its maker's alone (pipe(7)).
#[must_use]
pub fn pipe_owned([uid, gid]: [u32; 2]) -> Owned {
    Owned {
        mode: 0o600,
        uid,
        gid,
    }
}
