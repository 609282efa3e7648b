//! One guest address space: mappings, heap, limits and typed access to guest memory.
//!
//! [`Mm`] holds what Linux calls `mm_struct`: an ordered set of mappings, where the heap
//! ends, what `execve` left, and the limits. The platform's address space follows it: every
//! change is one batch to [`AddressSpace::apply`](platform_api::AddressSpace::apply), and the
//! set changes only when the platform took the batch. Where the platform refuses in the
//! middle, the range in question becomes unmapped on both sides.
//!
//! Lock order: the one lock of an [`Mm`] is taken before any lock of the platform or of a file
//! system (`File::memory_file`, `File::sync` are called outside it). Nobody holds two `Mm` locks.
//! Reading and writing guest memory takes no lock.
#![forbid(unsafe_code)]

mod access;
mod advise;
mod count;
mod fault;
mod heap;
mod hot;
mod layout;
mod limits;
mod load;
mod lock;
mod map;
mod mm;
mod pages;
mod protect;
mod remap;
mod resident;
mod save;
mod saved;
mod shared;
mod snapshot_pages;
mod text;
mod tree;
mod vma;
mod writer;

pub use access::{IOV_MAX, MAX_RW_BYTES};
pub use advise::Advice;
pub use fault::{Access, FaultAnswer, missing, take_missed};
pub use layout::{ExecLayout, Layout, PlacementRng};
pub use limits::{CommitBudget, MmLimits, UNLIMITED};
pub use load::{MAX_SAVED, SavedMemory, SpecialPages, Surroundings};
pub use lock::LockAll;
pub use map::{MapRequest, Source};
pub use mm::{Mm, MmStats};
pub use resident::{FromSnapshot, Resident};
pub use save::MemorySaver;
pub use shared::WordIdentity;
pub use tree::Totals;
pub use vma::{KeptDescription, MappedFile, Vma, VmaBacking, VmaFlags};
pub use writer::{SaveError, SnapshotWriter};
