//! How many host descriptors images keep open together: the oldest unused are closed first.

use std::collections::VecDeque;
use std::sync::{LazyLock, Weak};

use parking_lot::Mutex;

use super::inode::ImageInode;

/// Host descriptors that images of this process keep without being asked to.
const LIMIT: usize = 256;

/// Inodes that hold a handle, oldest first.
static OPEN: LazyLock<Mutex<VecDeque<Weak<ImageInode>>>> = LazyLock::new(Mutex::default);

/// An inode opened a handle; closes one of another inode when there are too many.
pub(super) fn opened(inode: Weak<ImageInode>) {
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
