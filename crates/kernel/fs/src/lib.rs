//! File systems of the guest.
//!
//! * [`TmpFs`]: in memory, bounded by a [`Budget`], alone or over read-only layers
//!   (what other kernels call an overlay);
//! * [`HostTree`]: a directory tree of the host, read only, never followed out of;
//! * [`synthetic`]: files made by closures, for `/proc` and `/sys`;
//! * [`dev`]: the nodes of `/dev` and the drivers of its plain devices;
//! * [`host_view`]: which part of the machine's own files a guest may see.
//!
//! Lock order: rename lock, directory by inode number, child of a directory, attributes,
//! contents, the node table. Nothing is dropped under the node table's lock.
#![forbid(unsafe_code)]

mod budget;
mod clock;
pub mod dev;
pub mod host_view;
mod hostdir;
pub mod synthetic;
mod tmpfs;

pub use budget::{Budget, BudgetLimits, BudgetPages};
pub use hostdir::{Exposure, Filter, HostTree, HostTreeError, Ownership};
pub use tmpfs::{RootAttr, TmpFs};

use std::sync::atomic::{AtomicU32, Ordering};

/// A device number for a file system without a device.
pub(crate) fn next_dev() -> u64 {
    static NEXT: AtomicU32 = AtomicU32::new(64);
    base_abi::device::make(0, NEXT.fetch_add(1, Ordering::Relaxed))
}
