//! The ready list: items to look at, each at most once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::item::Item;

/// First in, first looked at.
#[derive(Debug, Default)]
pub(super) struct ReadyList(VecDeque<Arc<Item>>);

impl ReadyList {
    /// False when it was on the list already.
    pub(super) fn push(&mut self, item: Arc<Item>) -> bool {
        let fresh = !item.queued.swap(true, Ordering::Relaxed);
        if fresh {
            self.0.push_back(item);
        }
        fresh
    }

    pub(super) fn push_front(&mut self, item: Arc<Item>) {
        if !item.queued.swap(true, Ordering::Relaxed) {
            self.0.push_front(item);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Arc<Item>> {
        let item = self.0.pop_front()?;
        item.queued.store(false, Ordering::Relaxed);
        Some(item)
    }

    pub(super) fn forget(&mut self, item: &Arc<Item>) {
        if item.queued.swap(false, Ordering::Relaxed) {
            self.0.retain(|other| !Arc::ptr_eq(other, item));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        for item in self.0.drain(..) {
            item.queued.store(false, Ordering::Relaxed);
        }
    }
}
