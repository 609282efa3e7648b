//! Who is told about changes in the tree: the hooks below inotify(7).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

pub use base_abi::general::{
    IN_ACCESS, IN_ATTRIB, IN_CLOSE_NOWRITE, IN_CLOSE_WRITE, IN_CREATE, IN_DELETE, IN_DELETE_SELF,
    IN_ISDIR, IN_MODIFY, IN_MOVE_SELF, IN_MOVED_FROM, IN_MOVED_TO, IN_OPEN, IN_UNMOUNT,
};

use crate::attr::InodeId;

/// One change, in the words of inotify(7).
#[derive(Clone, Copy, Debug)]
pub struct FsEvent<'a> {
    /// `IN_*`, with `IN_ISDIR` where the subject is a directory.
    pub mask: u32,
    /// Joins the two halves of a rename; 0 otherwise.
    pub cookie: u32,
    /// The entry of the watched directory that this is about; `None` when it is the watched inode itself.
    pub name: Option<&'a [u8]>,
}

/// Told about events on inodes it subscribed to. Must be quick and must not walk the tree.
pub trait Watcher: Send + Sync {
    /// Something happened; every kind of event is sent, the watcher chooses.
    fn event(&self, event: &FsEvent<'_>);
}

struct Watch {
    id: u64,
    watcher: Weak<dyn Watcher>,
}

#[derive(Default)]
struct Table {
    watches: RwLock<HashMap<InodeId, Vec<Watch>>>,
    count: AtomicUsize,
    next_id: AtomicU64,
    next_cookie: AtomicU32,
}

/// All watches of a kernel; costs one atomic load per operation while there are none.
#[derive(Clone, Default)]
pub struct Notifications(Arc<Table>);

impl Notifications {
    /// Watches an inode until the subscription is dropped.
    #[must_use]
    pub fn subscribe(&self, inode: InodeId, watcher: &Arc<dyn Watcher>) -> Subscription {
        let table = &self.0;
        let id = table.next_id.fetch_add(1, Ordering::Relaxed);
        let watch = Watch {
            id,
            watcher: Arc::downgrade(watcher),
        };
        table.watches.write().entry(inode).or_default().push(watch);
        table.count.fetch_add(1, Ordering::Release);
        Subscription {
            table: Arc::downgrade(table),
            inode,
            id,
        }
    }

    /// Whether anybody watches anything.
    #[must_use]
    pub fn active(&self) -> bool {
        self.0.count.load(Ordering::Acquire) != 0
    }

    /// A number for the two halves of a rename.
    #[must_use]
    pub fn next_cookie(&self) -> u32 {
        self.0.next_cookie.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Tells those who watch this inode.
    pub fn send(&self, inode: InodeId, event: &FsEvent<'_>) {
        if !self.active() {
            return;
        }
        let told: Vec<_> = match self.0.watches.read().get(&inode) {
            Some(watches) => watches.iter().filter_map(|w| w.watcher.upgrade()).collect(),
            None => return,
        };
        for watcher in told {
            watcher.event(event);
        }
    }
}

/// A watch of one inode; dropping it ends it.
pub struct Subscription {
    table: Weak<Table>,
    inode: InodeId,
    id: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(table) = self.table.upgrade() else {
            return;
        };
        let mut watches = table.watches.write();
        if let Some(list) = watches.get_mut(&self.inode) {
            list.retain(|w| w.id != self.id);
            if list.is_empty() {
                watches.remove(&self.inode);
            }
        }
        table.count.fetch_sub(1, Ordering::Release);
    }
}
