//! The wait of a parent for its vfork(2) child.

use std::sync::atomic::AtomicBool;

use kernel_vfs::WaitQueue;

/// A parent sleeping in vfork(2).
#[derive(Default)]
pub struct VforkDone {
    /// Whether the child released the memory.
    pub done: AtomicBool,
    /// Where the parent waits.
    pub queue: WaitQueue,
}
