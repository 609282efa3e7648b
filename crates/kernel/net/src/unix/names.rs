//! Which unix socket has which name.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use base_abi::Errno;
use kernel_vfs::Inode;
use parking_lot::Mutex;

use super::{UnixDatagram, UnixSocket};
use crate::{Caller, Result, UnixName};

/// Autobind tries this many names (unix(7), "Autobind feature").
const AUTO_NAMES: u32 = 1 << 20;

/// The socket behind a name.
#[derive(Clone)]
pub(crate) enum Target {
    Connection(Weak<UnixSocket>),
    Datagram(Weak<UnixDatagram>),
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
    key: Key,
    _inode: Option<Arc<dyn Inode>>,
}

impl Drop for NameLease {
    fn drop(&mut self) {
        self.table.0.lock().targets.remove(&self.key);
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
                let lease = self.insert(Key::Abstract(kind, bytes.clone()), None, target)?;
                Ok((name.clone(), lease))
            }
            UnixName::Path(path) => {
                let inode = caller.names.create(path)?;
                let attr = inode.attr()?;
                let lease = self.insert(Key::Inode(attr.dev, attr.ino), Some(inode), target)?;
                Ok((name.clone(), lease))
            }
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
        inode: Option<Arc<dyn Inode>>,
        target: Target,
    ) -> Result<NameLease> {
        let mut tables = self.0.lock();
        if tables.targets.contains_key(&key) {
            return Err(Errno::EADDRINUSE);
        }
        tables.targets.insert(key.clone(), target);
        Ok(NameLease {
            table: Arc::clone(self),
            key,
            _inode: inode,
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
