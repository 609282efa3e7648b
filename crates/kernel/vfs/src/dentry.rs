//! Names in memory: one [`Dentry`] per name in use, shared by everyone who walks there.
//!
//! Failed look-ups are remembered too, so that a program probing hundreds of
//! paths that do not exist costs one hash look-up each. What nobody holds is
//! forgotten, oldest first, once a tree has more than [`Limits::entries`] names.
//!
//! Lock order: rename lock of the tree, `changing` of a directory (two of them
//! only under the rename lock), `children`, `link`. The queue of the tree is a leaf.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use crate::{Errno, FileType, Inode, Result};

/// How much one tree of names may remember.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names, present and absent ones, before the oldest unused are forgotten.
    pub entries: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { entries: 16_384 }
    }
}

/// A name that may be forgotten, and the directory it is in.
type Remembered = (Weak<Dentry>, Arc<[u8]>);

/// What all names of one file system share.
#[derive(Debug)]
pub(crate) struct Tree {
    limits: Limits,
    queue: Mutex<VecDeque<Remembered>>,
    pub(crate) renaming: Mutex<()>,
}

enum Child {
    Present(Arc<Dentry>),
    Absent,
}

struct Link {
    parent: Option<Arc<Dentry>>,
    name: Arc<[u8]>,
    deleted: bool,
}

/// A name in the tree and the inode it leads to. Two walks to one name give the same `Arc`
/// as long as somebody holds it; a rename moves it.
pub struct Dentry {
    inode: Arc<dyn Inode>,
    kind: FileType,
    link: RwLock<Link>,
    children: RwLock<HashMap<Arc<[u8]>, Child>>,
    pub(crate) changing: Mutex<()>,
    mounts: AtomicU32,
    tree: Arc<Tree>,
}

impl Dentry {
    /// The root of a new tree of names.
    ///
    /// # Errors
    /// What the inode's attributes fail with.
    pub fn root(inode: Arc<dyn Inode>, limits: Limits) -> Result<Arc<Dentry>> {
        let tree = Tree {
            limits,
            queue: Mutex::default(),
            renaming: Mutex::default(),
        };
        Dentry::make(inode, None, Arc::from(&b"/"[..]), Arc::new(tree))
    }

    /// A name outside every tree, for files that have none: `pipe:[7]`, `/memfd:x (deleted)`.
    ///
    /// # Errors
    /// What the inode's attributes fail with.
    pub fn detached(inode: Arc<dyn Inode>, name: &[u8]) -> Result<Arc<Dentry>> {
        let tree = Tree {
            limits: Limits { entries: 0 },
            queue: Mutex::default(),
            renaming: Mutex::default(),
        };
        Dentry::make(inode, None, Arc::from(name), Arc::new(tree))
    }

    fn make(
        inode: Arc<dyn Inode>,
        parent: Option<Arc<Dentry>>,
        name: Arc<[u8]>,
        tree: Arc<Tree>,
    ) -> Result<Arc<Dentry>> {
        let kind = inode.kind()?;
        let link = Link {
            parent,
            name,
            deleted: false,
        };
        Ok(Arc::new(Dentry {
            inode,
            kind,
            link: RwLock::new(link),
            children: RwLock::default(),
            changing: Mutex::default(),
            mounts: AtomicU32::new(0),
            tree,
        }))
    }

    /// The inode.
    #[must_use]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    /// Its type, which never changes.
    #[must_use]
    pub fn kind(&self) -> FileType {
        self.kind
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// The directory it is in; `None` for a root.
    #[must_use]
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.link.read().parent.clone()
    }

    /// Its name in that directory.
    #[must_use]
    pub fn name(&self) -> Arc<[u8]> {
        Arc::clone(&self.link.read().name)
    }

    /// Whether the name was removed.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.link.read().deleted
    }

    /// Whether something is mounted here in some mount of the file system.
    #[must_use]
    pub fn is_mount_point(&self) -> bool {
        self.mounts.load(Ordering::Acquire) != 0
    }

    pub(crate) fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// Pins the name for a mount, so that walks find it even where look-ups are not cached.
    pub(crate) fn begin_mount(self: &Arc<Self>) {
        self.mounts.fetch_add(1, Ordering::AcqRel);
        if let Some(parent) = self.parent() {
            let child = Child::Present(Arc::clone(self));
            parent.children.write().insert(self.name(), child);
        }
    }

    pub(crate) fn end_mount(&self) {
        self.mounts.fetch_sub(1, Ordering::AcqRel);
    }

    /// Finds a child by one plain name.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, what the file system says.
    pub fn lookup(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Dentry>> {
        if let Some(known) = self.cached(name) {
            return known;
        }
        let _changing = self.changing.lock();
        self.lookup_changing(name)
    }

    fn cached(&self, name: &[u8]) -> Option<Result<Arc<Dentry>>> {
        match self.children.read().get(name)? {
            Child::Present(child) => Some(Ok(Arc::clone(child))),
            Child::Absent => Some(Err(Errno::ENOENT)),
        }
    }

    /// As [`lookup`](Dentry::lookup), for a caller that holds `changing`.
    pub(crate) fn lookup_changing(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Dentry>> {
        if let Some(known) = self.cached(name) {
            return known;
        }
        match self.inode.lookup(name) {
            Ok(inode) => self.adopt(name, inode),
            Err(Errno::ENOENT) => {
                self.remember(name, None);
                Err(Errno::ENOENT)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the dentry of an inode that just appeared (or was found) under `name`.
    pub(crate) fn adopt(
        self: &Arc<Self>,
        name: &[u8],
        inode: Arc<dyn Inode>,
    ) -> Result<Arc<Dentry>> {
        let name: Arc<[u8]> = Arc::from(name);
        let tree = Arc::clone(&self.tree);
        let child = Dentry::make(inode, Some(Arc::clone(self)), Arc::clone(&name), tree)?;
        self.remember_shared(name, Some(Arc::clone(&child)));
        Ok(child)
    }

    /// A name in this directory that no walk finds (`O_TMPFILE`).
    pub(crate) fn unnamed(
        self: &Arc<Self>,
        name: &[u8],
        inode: Arc<dyn Inode>,
    ) -> Result<Arc<Dentry>> {
        let tree = Arc::clone(&self.tree);
        let child = Dentry::make(inode, Some(Arc::clone(self)), Arc::from(name), tree)?;
        child.link.write().deleted = true;
        Ok(child)
    }

    fn remember(self: &Arc<Self>, name: &[u8], child: Option<Arc<Dentry>>) {
        self.remember_shared(Arc::from(name), child);
    }

    fn remember_shared(self: &Arc<Self>, name: Arc<[u8]>, child: Option<Arc<Dentry>>) {
        if self.inode.volatile() || self.tree.limits.entries == 0 {
            self.children.write().remove(&name);
            return;
        }
        let child = child.map_or(Child::Absent, Child::Present);
        let fresh = match self.children.write().entry(Arc::clone(&name)) {
            Entry::Occupied(mut slot) => {
                slot.insert(child);
                false
            }
            Entry::Vacant(slot) => {
                slot.insert(child);
                true
            }
        };
        if fresh {
            self.tree.note(self, name);
        }
    }

    /// The name is gone: its dentry is marked, the absence remembered.
    pub(crate) fn removed(self: &Arc<Self>, name: &[u8], child: &Dentry) {
        child.link.write().deleted = true;
        self.remember(name, None);
    }

    /// The child moved to another name; what was there is marked as removed.
    pub(crate) fn moved(
        self: &Arc<Self>,
        name: &[u8],
        child: &Arc<Dentry>,
        to: &Arc<Dentry>,
        to_name: &[u8],
    ) {
        if let Some(Ok(replaced)) = to.cached(to_name)
            && !Arc::ptr_eq(&replaced, child)
        {
            replaced.link.write().deleted = true;
        }
        self.remember(name, None);
        to.place(to_name, child);
    }

    /// Puts a moved child under its new name.
    pub(crate) fn place(self: &Arc<Self>, name: &[u8], child: &Arc<Dentry>) {
        let name: Arc<[u8]> = Arc::from(name);
        {
            let mut link = child.link.write();
            link.parent = Some(Arc::clone(self));
            link.name = Arc::clone(&name);
        }
        self.remember_shared(name, Some(Arc::clone(child)));
    }

    /// Whether `self` is `other` or lies above it.
    pub(crate) fn contains(self: &Arc<Self>, other: &Arc<Dentry>) -> bool {
        let mut at = Some(Arc::clone(other));
        while let Some(dentry) = at {
            if Arc::ptr_eq(&dentry, self) {
                return true;
            }
            at = dentry.parent();
        }
        false
    }

    /// Forgets everything below that nobody holds, so that a dropped tree frees its memory.
    pub(crate) fn forget_children(&self) {
        let mut stack: Vec<Arc<Dentry>> = self.take_children();
        while let Some(dentry) = stack.pop() {
            stack.extend(dentry.take_children());
        }
    }

    /// Forgets the names below that were looked up in vain.
    pub(crate) fn forget_absent(&self) {
        let mut stack = self.present_children();
        while let Some(dentry) = stack.pop() {
            stack.extend(dentry.present_children());
        }
    }

    fn present_children(&self) -> Vec<Arc<Dentry>> {
        let mut children = self.children.write();
        children.retain(|_, child| matches!(child, Child::Present(_)));
        let present = children.values().filter_map(|child| match child {
            Child::Present(dentry) => Some(Arc::clone(dentry)),
            Child::Absent => None,
        });
        present.collect()
    }

    fn take_children(&self) -> Vec<Arc<Dentry>> {
        let children = std::mem::take(&mut *self.children.write());
        let present = children.into_values().filter_map(|child| match child {
            Child::Present(dentry) => Some(dentry),
            Child::Absent => None,
        });
        present.collect()
    }

    /// Drops the cached entry unless it is in use; says whether it is gone.
    fn forget(&self, name: &[u8]) -> bool {
        let mut children = self.children.write();
        let unused = match children.get(name) {
            None | Some(Child::Absent) => true,
            Some(Child::Present(child)) => {
                Arc::strong_count(child) == 1 && child.children.read().is_empty()
            }
        };
        // The value is dropped after the lock, since it may hold the last reference to an inode.
        let gone = if unused { children.remove(name) } else { None };
        drop(children);
        drop(gone);
        unused
    }
}

impl Tree {
    /// Counts a new name, forgetting old ones above the limit.
    fn note(&self, parent: &Arc<Dentry>, name: Arc<[u8]>) {
        /// Names looked at per new name: enough to shrink, few enough to stay quick when all are in use.
        const LOOKS: usize = 8;
        let mut queue = self.queue.lock();
        queue.push_back((Arc::downgrade(parent), name));
        let excess = queue.len() > self.limits.entries;
        let looks = if excess { LOOKS } else { 0 };
        let old: Vec<_> = (0..looks).filter_map(|_| queue.pop_front()).collect();
        drop(queue);
        let mut kept = Vec::new();
        for (parent, name) in old {
            let Some(directory) = parent.upgrade() else {
                continue;
            };
            if !directory.forget(&name) {
                kept.push((parent, name));
            }
        }
        if !kept.is_empty() {
            self.queue.lock().extend(kept);
        }
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        // The innermost of many removed directories may hold the last reference to each of them:
        // let go one by one, since a guest may nest them deeper than a stack is.
        let mut parent = self.link.get_mut().parent.take();
        while let Some(mut last) = parent.and_then(Arc::into_inner) {
            parent = last.link.get_mut().parent.take();
        }
    }
}

impl std::fmt::Debug for Dentry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.name();
        write!(
            f,
            "Dentry({:?}, {:?})",
            String::from_utf8_lossy(&name),
            self.kind
        )
    }
}
