//! Entries of a directory, in an order that listings can resume in.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use kernel_vfs::{DirEntry, Errno, FileType, Result};

use super::layers::{self, LowerDir, LowerEntry};

/// What a listing tells of a node.
pub(super) trait Listed {
    fn ino(&self) -> u64;
    fn file_type(&self) -> FileType;
}

/// What a name leads to.
pub(super) enum Slot<N> {
    /// A node of this file system.
    Own(Arc<N>),
    /// Nothing, though a lower layer has the name.
    Whiteout,
    /// An entry of a lower layer that a listing found; looked up there.
    Lower { ino: u64, kind: FileType },
}

struct Entry<N> {
    slot: Slot<N>,
    cookie: u64,
}

/// What looking for a name gave.
pub(super) enum Found<N> {
    Own(Arc<N>),
    Lower(Box<LowerEntry>),
}

/// Cookies of `.` and `..`; entries follow.
const DOT: u64 = 1;
const DOT_DOT: u64 = 2;

/// A name and what it leads to.
pub(super) type Named<N> = (Arc<[u8]>, Arc<N>);

/// A directory's entries, own ones over those of lower layers.
pub(super) struct Directory<N> {
    entries: HashMap<Arc<[u8]>, Entry<N>>,
    order: BTreeMap<u64, Arc<[u8]>>,
    next_cookie: u64,
    lowers: Vec<LowerDir>,
    listed: bool,
    pub(super) parent: Weak<N>,
}

impl<N: Listed> Directory<N> {
    pub(super) fn new(parent: Weak<N>, lowers: Vec<LowerDir>) -> Directory<N> {
        Directory {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            next_cookie: DOT_DOT + 1,
            listed: lowers.is_empty(),
            lowers,
            parent,
        }
    }

    pub(super) fn find(&self, name: &[u8]) -> Result<Found<N>> {
        match self.entries.get(name).map(|e| &e.slot) {
            Some(Slot::Own(node)) => return Ok(Found::Own(Arc::clone(node))),
            Some(Slot::Whiteout) => return Err(Errno::ENOENT),
            Some(Slot::Lower { .. }) => {}
            None if self.listed => return Err(Errno::ENOENT),
            None => {}
        }
        let found = layers::find(&self.lowers, name)?;
        found
            .map(|entry| Found::Lower(Box::new(entry)))
            .ok_or(Errno::ENOENT)
    }

    /// Puts a node under a name, replacing what is there.
    pub(super) fn insert(&mut self, name: &[u8], node: Arc<N>) {
        self.put(Arc::from(name), Slot::Own(node));
    }

    /// Takes a name away; what a lower layer has of it stays hidden.
    pub(super) fn remove(&mut self, name: &[u8]) -> Result<()> {
        if let Some(entry) = self.entries.remove(name) {
            self.order.remove(&entry.cookie);
        }
        if layers::find(&self.lowers, name)?.is_some() {
            let whiteout = Entry {
                slot: Slot::Whiteout,
                cookie: 0,
            };
            self.entries.insert(Arc::from(name), whiteout);
        }
        Ok(())
    }

    /// Names of the tree's own in order of listing, and names of the layers that are hidden.
    pub(super) fn own(&self) -> (Vec<Named<N>>, Vec<Arc<[u8]>>) {
        let listed = self.order.values().filter_map(|name| {
            let entry = self.entries.get(name)?;
            match &entry.slot {
                Slot::Own(node) => Some((Arc::clone(name), Arc::clone(node))),
                Slot::Whiteout | Slot::Lower { .. } => None,
            }
        });
        let hidden = self.entries.iter();
        let hidden = hidden.filter(|(_, entry)| matches!(entry.slot, Slot::Whiteout));
        let mut hidden: Vec<_> = hidden.map(|(name, _)| Arc::clone(name)).collect();
        hidden.sort();
        (listed.collect(), hidden)
    }

    /// Hides a name of the layers.
    pub(super) fn hide(&mut self, name: &[u8]) {
        self.take_out(name);
        let whiteout = Entry {
            slot: Slot::Whiteout,
            cookie: 0,
        };
        self.entries.insert(Arc::from(name), whiteout);
    }

    /// Takes an entry out as if it had never been; gives what was there.
    pub(super) fn take_out(&mut self, name: &[u8]) -> Option<Arc<N>> {
        let entry = self.entries.remove(name)?;
        self.order.remove(&entry.cookie);
        match entry.slot {
            Slot::Own(node) => Some(node),
            Slot::Whiteout | Slot::Lower { .. } => None,
        }
    }

    fn put(&mut self, name: Arc<[u8]>, slot: Slot<N>) {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        self.order.insert(cookie, Arc::clone(&name));
        if let Some(old) = self.entries.insert(name, Entry { slot, cookie }) {
            self.order.remove(&old.cookie);
        }
    }

    /// Reads the lower layers' names once, so that they have their places in the listing.
    fn list_lowers(&mut self) -> Result<()> {
        if self.listed {
            return Ok(());
        }
        let lowers = self.lowers.clone();
        layers::list(&lowers, &mut |name, ino, kind| {
            if !self.entries.contains_key(name) {
                self.put(Arc::from(name), Slot::Lower { ino, kind });
            }
        })?;
        self.listed = true;
        Ok(())
    }

    pub(super) fn is_empty(&mut self) -> Result<bool> {
        self.list_lowers()?;
        Ok(self.order.is_empty())
    }

    pub(super) fn read(
        &mut self,
        own_ino: u64,
        from: u64,
        emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        self.list_lowers()?;
        let parent_ino = self.parent.upgrade().map_or(own_ino, |parent| parent.ino());
        let dots: [(&[u8], u64, u64); 2] = [(b".", own_ino, DOT), (b"..", parent_ino, DOT_DOT)];
        for (name, ino, next) in dots {
            let entry = DirEntry {
                name,
                ino,
                file_type: FileType::Directory,
                next,
            };
            if from < next && !emit(entry) {
                return Ok(());
            }
        }
        for (cookie, name) in self.order.range(from.saturating_add(1)..) {
            let Some(entry) = self.entries.get(name) else {
                continue;
            };
            let (ino, file_type) = match &entry.slot {
                Slot::Own(node) => (node.ino(), node.file_type()),
                Slot::Lower { ino, kind } => (*ino, *kind),
                Slot::Whiteout => continue,
            };
            let more = emit(DirEntry {
                name,
                ino,
                file_type,
                next: *cookie,
            });
            if !more {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes the own nodes out, for dropping a deep tree without recursion.
    pub(super) fn take_nodes(&mut self) -> Vec<Arc<N>> {
        let entries = std::mem::take(&mut self.entries);
        let nodes = entries.into_values().filter_map(|entry| match entry.slot {
            Slot::Own(node) => Some(node),
            Slot::Whiteout | Slot::Lower { .. } => None,
        });
        nodes.collect()
    }
}
