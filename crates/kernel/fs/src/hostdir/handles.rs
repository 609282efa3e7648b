//! How many host descriptors host trees keep open together: the oldest unused are closed first.

use std::collections::VecDeque;
use std::sync::{LazyLock, Weak};

use parking_lot::Mutex;

/// Host descriptors that host trees of this process keep without being asked to.
const LIMIT: usize = 256;

/// What keeps a host descriptor that it can open again.
pub(super) trait HoldsHandle: Send + Sync {
    /// Whether the handle was used since the last question.
    fn take_used(&self) -> bool;

    /// Closes the handle, unless a caller is just opening it.
    fn close_handle(&self);
}

/// Nodes that hold a handle, oldest first.
static OPEN: LazyLock<Mutex<VecDeque<Weak<dyn HoldsHandle>>>> = LazyLock::new(Mutex::default);

/// An inode opened a handle; closes one of another inode when there are too many.
pub(super) fn opened(inode: Weak<dyn HoldsHandle>) {
    let mut open = OPEN.lock();
    open.push_back(inode);
    // Inodes that were used since get another round, but no more than one each.
    for _ in 0..open.len() {
        if open.len() <= LIMIT {
            return;
        }
        let Some(oldest) = open.pop_front() else {
            return;
        };
        match oldest.upgrade() {
            Some(inode) if inode.take_used() => open.push_back(oldest),
            Some(inode) => inode.close_handle(),
            None => {}
        }
    }
}
