//! The interest list of one epoll file.

use std::collections::HashMap;
use std::sync::Arc;

use kernel_vfs::{Description, Errno, Result};

use super::item::Item;

/// A descriptor number and the description it stood for.
type Key = (i32, usize);

/// Items by descriptor and description.
#[derive(Debug, Default)]
pub(super) struct Interests {
    items: HashMap<Key, Arc<Item>>,
    /// Sweep out the dead when the list has grown to this, which keeps insertion cheap on average.
    sweep_at: usize,
}

const FIRST_SWEEP: usize = 32;

fn key(fd: i32, target: &Arc<Description>) -> Key {
    (fd, Arc::as_ptr(target) as usize)
}

impl Interests {
    /// # Errors
    /// `EEXIST`.
    pub(super) fn insert(&mut self, item: Arc<Item>) -> Result<()> {
        let key = (item.fd(), item.address());
        if self.items.contains_key(&key) {
            return Err(Errno::EEXIST);
        }
        if self.items.len() >= self.sweep_at.max(FIRST_SWEEP) {
            self.items.retain(|_, item| !item.is_dead());
            self.sweep_at = self.items.len().saturating_mul(2);
        }
        self.items.insert(key, item);
        Ok(())
    }

    /// # Errors
    /// `ENOENT`.
    pub(super) fn find(&self, fd: i32, target: &Arc<Description>) -> Result<Arc<Item>> {
        let found = self.items.get(&key(fd, target));
        found.map(Arc::clone).ok_or(Errno::ENOENT)
    }

    /// # Errors
    /// `ENOENT`.
    pub(super) fn remove(&mut self, fd: i32, target: &Arc<Description>) -> Result<Arc<Item>> {
        self.items.remove(&key(fd, target)).ok_or(Errno::ENOENT)
    }

    /// Removes an item whose description is gone.
    pub(super) fn forget(&mut self, item: &Arc<Item>) {
        let key = (item.fd(), item.address());
        if self.items.get(&key).is_some_and(|i| Arc::ptr_eq(i, item)) {
            self.items.remove(&key);
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Item>> {
        self.items.values().map(Arc::clone).collect()
    }

    /// Empties the list.
    pub(super) fn take(&mut self) -> Vec<Arc<Item>> {
        self.items.drain().map(|(_, item)| item).collect()
    }
}
