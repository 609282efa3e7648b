//! The whole kernel's state as bytes, and a kernel from them.
//!
//! ```text
//!   capture: freeze ─▶ ask every task where it stands ─▶ write down ─▶ thaw
//!   load:    parse ─▶ mounts, files, memory, processes ─▶ tasks, frozen ─▶ thaw
//! ```
//!
//! A task that sleeps in a call is saved with the call, which is made again after loading. What is in
//! memory is saved by others: address spaces are numbered here and handed over.

mod capture;
mod files;
mod load;
mod memory;
mod requests;

use std::sync::Arc;

use base_abi::structs::SigAction;
use kernel_core::freeze::NotFrozen;
use kernel_core::task::saved::{ProcessState, TaskState};
use kernel_mm::Mm;
use kernel_vfs::SavedLock;
use kernel_vfs::save::{LoadError, Loader, ObjectId, ObjectsState, PlaceState, Saver, Unsavable};
use serde::{Deserialize, Serialize};

pub use capture::{Captured, capture};
pub use load::SavedKernel;
pub use memory::load_space;
pub use requests::{SnapshotRequests, Taker};

use crate::timer::SavedTimer;

/// Changes whenever the meaning of a saved byte does.
pub const VERSION: u32 = 8;

/// Bytes of kernel state that are parsed at all.
pub const MAX_STATE: usize = 512 << 20;

/// Number of an address space in order of first use.
pub type MmId = u32;

/// Saves the contents of all address spaces while nothing runs; may mention open files to the [`Saver`].
pub type SaveMemory<'a> = dyn FnMut(&[Arc<Mm>], &mut Saver) -> Result<(), Unsavable> + 'a;

/// Builds an address space; the files that it maps are found in the [`Loader`].
pub type LoadMemory<'a> = dyn FnMut(MmId, &Loader) -> Result<Arc<Mm>, LoadError> + 'a;

/// Why a kernel could not be captured; it goes on either way.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// A task runs on or waits in the middle of a call; trying again soon may work.
    #[error("not at rest: {0}")]
    Busy(#[from] NotFrozen),
    /// Something in it has no saved form.
    #[error(transparent)]
    Unsavable(#[from] Unsavable),
    /// A processor could not be read.
    #[error("the registers of thread {tid} cannot be read")]
    Registers {
        /// Whose.
        tid: i32,
    },
}

/// A mounted file system: must be there again, and what the guest changed in it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct MountState {
    fs: String,
    point: Option<Vec<u8>>,
    changes: Option<Vec<u8>>,
}

/// A task's view of the tree.
#[derive(Debug, Serialize, Deserialize)]
struct ViewState {
    root: PlaceState,
    cwd: PlaceState,
    umask: u32,
}

/// A descriptor.
#[derive(Debug, Serialize, Deserialize)]
struct FdState {
    fd: i32,
    flags: u32,
    description: ObjectId,
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    /// `CLOCK_MONOTONIC` at capture.
    monotonic: u64,
    last_pid: i32,
    last_inode: u64,
    mounts: Vec<MountState>,
    objects: ObjectsState,
    actions: Vec<Vec<SigAction>>,
    views: Vec<ViewState>,
    tables: Vec<Vec<FdState>>,
    processes: Vec<ProcessState>,
    tasks: Vec<TaskState>,
    timers: Vec<SavedTimer>,
    requests: requests::RequestsState,
    locks: Vec<SavedLock>,
    mms: u32,
}

fn malformed<T>(what: &'static str) -> Result<T, LoadError> {
    Err(LoadError::Malformed(what))
}
