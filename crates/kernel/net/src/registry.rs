//! All sockets of one sort in a namespace, by inode number: what `/proc/net` lists.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// Sockets by inode number. Lock order: a leaf.
pub(crate) struct Registry<T: ?Sized>(Mutex<BTreeMap<u64, Weak<T>>>);

/// A socket's place in it, given up when dropped.
pub(crate) struct Registration<T: ?Sized> {
    registry: Arc<Registry<T>>,
    ino: u64,
}

impl<T: ?Sized> Default for Registry<T> {
    fn default() -> Registry<T> {
        Registry(Mutex::default())
    }
}

impl<T: ?Sized> Registry<T> {
    /// Lists a socket from now on.
    pub(crate) fn register(self: &Arc<Registry<T>>, ino: u64, socket: Weak<T>) -> Registration<T> {
        self.0.lock().insert(ino, socket);
        Registration {
            registry: Arc::clone(self),
            ino,
        }
    }

    /// The socket of this number.
    pub(crate) fn get(&self, ino: u64) -> Option<Arc<T>> {
        self.0.lock().get(&ino)?.upgrade()
    }

    /// All of them, in the order of their numbers.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.0.lock().values().filter_map(Weak::upgrade).collect()
    }
}

impl<T: ?Sized> Drop for Registration<T> {
    fn drop(&mut self) {
        self.registry.0.lock().remove(&self.ino);
    }
}
