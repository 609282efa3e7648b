//! Which unix socket has which name.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

use base_abi::Errno;
use kernel_vfs::Path;
use kernel_vfs::save::{PlaceState, Saver, Unsavable};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{Caller, Result, UnixName};

/// Autobind tries this many names (unix(7), "Autobind feature").
const AUTO_NAMES: u32 = 1 << 20;

/// The socket behind a name: of which type, who asks for it knows.
#[derive(Clone)]
pub(crate) struct Target(Weak<dyn Any + Send + Sync>);

impl Target {
    pub(crate) fn new<T: Any + Send + Sync>(socket: Weak<T>) -> Target {
        Target(socket)
    }

    /// The socket as one of this type.
    ///
    /// # Errors
    /// `ECONNREFUSED` when it is gone, `EPROTOTYPE` when it is of another type.
    pub(super) fn socket<T: Any + Send + Sync>(&self) -> Result<Arc<T>> {
        let socket = self.0.upgrade().ok_or(Errno::ECONNREFUSED)?;
        socket.downcast().map_err(|_| Errno::EPROTOTYPE)
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    /// Abstract names are apart for each socket type.
    Abstract(u32, Vec<u8>),
    /// Device and inode number; the lease keeps the inode, so that they stay unique.
    Inode(u64, u64),
}

#[derive(Default)]
struct Tables {
    targets: HashMap<Key, Target>,
    next_auto: u32,
}

/// All bound unix sockets of a namespace.
#[derive(Default)]
pub(crate) struct NameTable(Mutex<Tables>);

/// A bound name; dropping frees it (a path stays in the file system).
pub(crate) struct NameLease {
    table: Arc<NameTable>,
    /// None when the path was removed before a snapshot.
    key: Option<Key>,
    place: Option<Path>,
}

/// What a snapshot tells of a name besides the name.
#[derive(Serialize, Deserialize)]
pub(crate) enum SavedLease {
    Abstract,
    Place(PlaceState),
    /// The path leads here no more.
    Removed,
}

impl NameLease {
    pub(super) fn save(&self, saver: &mut Saver) -> std::result::Result<SavedLease, Unsavable> {
        Ok(match &self.place {
            Some(place) if place.dentry().is_deleted() => SavedLease::Removed,
            Some(place) => SavedLease::Place(saver.place(place)?),
            None if self.key.is_some() => SavedLease::Abstract,
            None => SavedLease::Removed,
        })
    }
}

impl Drop for NameLease {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.table.0.lock().targets.remove(key);
        }
    }
}

impl NameTable {
    /// Binds a socket of this kind to a name, an unnamed one to a free abstract name.
    pub(crate) fn bind(
        self: &Arc<NameTable>,
        caller: &Caller<'_>,
        kind: u32,
        name: &UnixName,
        target: Target,
    ) -> Result<(UnixName, NameLease)> {
        match name {
            UnixName::Unnamed => self.auto_bind(kind, target),
            UnixName::Abstract(bytes) => {
                let lease = self.lease_abstract(kind, bytes.clone(), target)?;
                Ok((name.clone(), lease))
            }
            UnixName::Path(path) => {
                let lease = self.lease_place(caller.names.create(path)?, target)?;
                Ok((name.clone(), lease))
            }
        }
    }

    pub(super) fn lease_abstract(
        self: &Arc<NameTable>,
        kind: u32,
        name: Vec<u8>,
        target: Target,
    ) -> Result<NameLease> {
        self.insert(Key::Abstract(kind, name), None, target)
    }

    pub(super) fn lease_place(
        self: &Arc<NameTable>,
        place: Path,
        target: Target,
    ) -> Result<NameLease> {
        let attr = place.inode().attr()?;
        self.insert(Key::Inode(attr.dev, attr.ino), Some(place), target)
    }

    /// Under this one nobody is found.
    pub(super) fn lease_nothing(self: &Arc<NameTable>) -> NameLease {
        NameLease {
            table: Arc::clone(self),
            key: None,
            place: None,
        }
    }

    /// Finds the socket of this kind behind a name.
    pub(crate) fn find(&self, caller: &Caller<'_>, kind: u32, name: &UnixName) -> Result<Target> {
        let key = match name {
            UnixName::Unnamed => return Err(Errno::EINVAL),
            UnixName::Abstract(bytes) => Key::Abstract(kind, bytes.clone()),
            UnixName::Path(path) => {
                let attr = caller.names.find(path)?.attr()?;
                Key::Inode(attr.dev, attr.ino)
            }
        };
        let found = self.0.lock().targets.get(&key).cloned();
        found.ok_or(Errno::ECONNREFUSED)
    }

    fn insert(
        self: &Arc<NameTable>,
        key: Key,
        place: Option<Path>,
        target: Target,
    ) -> Result<NameLease> {
        let mut tables = self.0.lock();
        if tables.targets.contains_key(&key) {
            return Err(Errno::EADDRINUSE);
        }
        tables.targets.insert(key.clone(), target);
        Ok(NameLease {
            table: Arc::clone(self),
            key: Some(key),
            place,
        })
    }

    fn auto_bind(
        self: &Arc<NameTable>,
        kind: u32,
        target: Target,
    ) -> Result<(UnixName, NameLease)> {
        for _ in 0..AUTO_NAMES {
            let number = {
                let mut tables = self.0.lock();
                tables.next_auto = (tables.next_auto + 1) % AUTO_NAMES;
                tables.next_auto
            };
            let name = format!("{number:05x}").into_bytes();
            let key = Key::Abstract(kind, name.clone());
            if let Ok(lease) = self.insert(key, None, target.clone()) {
                return Ok((UnixName::Abstract(name), lease));
            }
        }
        Err(Errno::ENOSPC)
    }
}
