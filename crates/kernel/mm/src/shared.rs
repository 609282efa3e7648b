//! What of a shared file is mapped: which memory a word belongs to, for futexes, and who may write, for seals.

use platform_api::Protection;

use crate::mm::Mm;
use crate::vma::VmaBacking;

/// What a guest word is, beyond its address (futex(2): shared futexes are found by this).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WordIdentity {
    /// Private memory: the address within this address space says it all.
    Private(u64),
    /// A byte of shared memory, the same wherever it is mapped.
    Shared {
        /// Device and inode number of the host file with the bytes.
        file: (u64, u64),
        /// Byte offset in it.
        offset: u64,
    },
}

impl Mm {
    /// The identity of the word at `addr`; `None` where nothing is mapped.
    #[must_use]
    pub fn word_identity(&self, addr: u64) -> Option<WordIdentity> {
        let state = self.lock();
        let vma = state.tree.at(addr)?;
        Some(match &vma.backing {
            VmaBacking::File { file, offset, .. } if vma.shared() => WordIdentity::Shared {
                file: file.identity,
                offset: offset + (addr - vma.start),
            },
            _ => WordIdentity::Private(addr),
        })
    }

    /// Whether a shared mapping of the host file with this device and inode number is or may become writable. It counts from
    /// mmap(2) to munmap(2), also where the platform shows nothing of it yet.
    #[must_use]
    pub fn may_write_shared(&self, file: (u64, u64)) -> bool {
        let state = self.lock();
        state.tree.iter().any(|vma| {
            vma.shared()
                && vma.max_prot.contains(Protection::WRITE)
                && matches!(&vma.backing, VmaBacking::File { file: mapped, .. } if mapped.identity == file)
        })
    }
}
