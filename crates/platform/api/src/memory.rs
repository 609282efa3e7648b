//! Address spaces: what is mapped where, and the kernel's access to it.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use base_abi::Errno;

use crate::{Context, CpuState, PlatformError};

bitflags::bitflags! {
    /// Page protection, with the bit values of `PROT_*` (mmap(2)).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Protection: u32 {
        /// `PROT_READ`.
        const READ = 1;
        /// `PROT_WRITE`.
        const WRITE = 2;
        /// `PROT_EXEC`.
        const EXEC = 4;
    }
}

/// Whether writes to a file-backed range reach the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Copy on write: writes stay in this address space.
    Private,
    /// Writes go to the file and to every other shared mapping of it.
    Shared,
}

/// What is behind a mapped range.
#[derive(Clone, Debug)]
pub enum Backing {
    /// Zero pages, private to this address space (copy on write over [`AddressSpace::fork`]).
    Anonymous,
    /// A range of a host file: a memory file, or a file of a read-only image layer.
    File {
        /// The file. The platform keeps its own reference as long as it needs one.
        file: Arc<File>,
        /// Byte offset of the first page, page aligned.
        offset: u64,
        /// Private or shared.
        sharing: Sharing,
    },
}

/// One change of an address space. Addresses and lengths are page aligned and
/// were checked by the kernel to lie between the platform's bounds.
#[derive(Clone, Debug)]
pub enum MapOp {
    /// Maps a range, replacing whatever was there (`MAP_FIXED`).
    Map {
        /// First byte.
        addr: u64,
        /// Bytes, not zero.
        len: u64,
        /// Protection.
        prot: Protection,
        /// What is behind it.
        backing: Backing,
    },
    /// Unmaps a range; parts that are not mapped are fine.
    Unmap {
        /// First byte.
        addr: u64,
        /// Bytes.
        len: u64,
    },
    /// Changes the protection of a fully mapped range.
    Protect {
        /// First byte.
        addr: u64,
        /// Bytes.
        len: u64,
        /// New protection.
        prot: Protection,
    },
    /// Moves a fully mapped range with its contents (`mremap(2)` with `MREMAP_FIXED`), replacing what
    /// was at the destination. `new_len` may be smaller or larger; what is larger continues the backing.
    Move {
        /// Old first byte.
        from: u64,
        /// Old length.
        old_len: u64,
        /// New first byte; may equal `from` to resize in place.
        to: u64,
        /// New length.
        new_len: u64,
    },
    /// Makes writable pages the address space's own now (`MADV_POPULATE_WRITE`), so that writing them does not
    /// fault. What they hold stays.
    Touch {
        /// First byte.
        addr: u64,
        /// Bytes.
        len: u64,
    },
    /// Has readable pages of files in place now (`MADV_POPULATE_READ`), so that reading or running them does not
    /// fault. They stay shared. A platform may leave it out.
    Prefault {
        /// First byte.
        addr: u64,
        /// Bytes.
        len: u64,
    },
    /// Drops private pages (`MADV_DONTNEED`): anonymous memory reads as zero again, private file
    /// pages read as the file.
    Discard {
        /// First byte.
        addr: u64,
        /// Bytes.
        len: u64,
    },
}

/// One guest address space. Shared by all threads of a guest process.
pub trait AddressSpace: Send + Sync {
    /// Applies the changes in order. All were made visible to every context of
    /// this address space when the call returns.
    ///
    /// # Errors
    /// The index of the first change that the host refused, with its reason
    /// (`ENOMEM` mostly); earlier ones stay applied, later ones were not tried.
    fn apply(&self, ops: &[MapOp]) -> Result<(), ApplyError>;

    /// Reads guest memory as the guest could (no read of `PROT_NONE`).
    /// Returns how many bytes were read before the first inaccessible page.
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize;

    /// Writes guest memory as the guest could (copy on write breaks as usual).
    /// Returns how many bytes were written before the first inaccessible page.
    fn write(&self, addr: u64, data: &[u8]) -> usize;

    /// Compares and swaps an aligned guest word; returns the value found before.
    ///
    /// # Errors
    /// `EFAULT` where the word is not readable and writable.
    fn compare_exchange_u32(&self, addr: u64, current: u32, new: u32) -> Result<u32, Errno>;

    /// A copy-on-write copy with no contexts. Must not be called while another
    /// thread changes the same address space; the kernel's own lock sees to that.
    ///
    /// # Errors
    /// When the host refuses.
    fn fork(&self) -> Result<Arc<dyn AddressSpace>, PlatformError>;

    /// A new guest thread in this address space. It runs once [`Context::run`] is called;
    /// all calls of `run` must then come from one host thread.
    ///
    /// # Errors
    /// When the host refuses.
    fn new_context(&self, state: CpuState) -> Result<Box<dyn Context>, PlatformError>;

    /// The pages of a range that may hold something else than what is behind them: those written since
    /// they were mapped, whatever their protection is now. In order; shared mappings do not matter.
    /// Nothing may run in this address space meanwhile. A platform that does not know names the whole range.
    ///
    /// # Errors
    /// When the host refuses.
    fn written_pages(&self, range: Range<u64>) -> Result<Vec<Range<u64>>, PlatformError> {
        Ok(vec![range])
    }

    /// The pages of a range that are in place and shared with a file: those that were read or run. In order. A
    /// platform that does not know names none.
    ///
    /// # Errors
    /// When the host refuses.
    fn shared_pages(&self, _range: Range<u64>) -> Result<Vec<Range<u64>>, PlatformError> {
        Ok(Vec::new())
    }

    /// Bytes of these ranges that are private to this address space, as [`resident_bytes`](AddressSpace::resident_bytes)
    /// counts them. In order, none over another. An estimate: guests may run meanwhile.
    ///
    /// # Errors
    /// When the host refuses.
    fn private_within(&self, ranges: &[Range<u64>]) -> Result<u64, PlatformError> {
        ranges.iter().try_fold(0u64, |sum, range| {
            let written = self.written_pages(range.clone())?;
            let bytes: u64 = written.iter().map(|part| part.end - part.start).sum();
            Ok(sum.saturating_add(bytes))
        })
    }

    /// Bytes of host memory private to this address space (resident, not shared with files),
    /// for limits and `/proc/<pid>/status`. An estimate that may lag.
    fn resident_bytes(&self) -> u64;
}

/// Which change failed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("change {index} of the address space failed: {errno}")]
pub struct ApplyError {
    /// Index into the batch.
    pub index: usize,
    /// What the host said.
    pub errno: Errno,
}
