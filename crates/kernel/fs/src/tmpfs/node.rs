//! A node of the tree: attributes, and a body by type.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use base_abi::structs::Timespec;
use kernel_vfs::{Attr, Credentials, Errno, FileType, NewNode, Result};
use parking_lot::{Mutex, RwLock};

use super::Shared;
use super::content::Content;
use super::directory::{self, Found, Listed};
use super::layers::{LowerDir, LowerEntry};
use crate::clock::now;

const SET_GID: u32 = 0o2000;

/// Attributes that change.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) nlink: u64,
    pub(super) atime: Timespec,
    pub(super) mtime: Timespec,
    pub(super) ctime: Timespec,
    pub(super) btime: Timespec,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Names beyond the first that link(2) made; each takes an inode of the budget, or names would be free.
    pub(super) extra_names: u64,
}

impl Meta {
    pub(super) fn new(mode: u32, who: &Credentials, nlink: u64) -> Meta {
        let now = now();
        Meta {
            mode: mode & 0o7777,
            uid: who.uid,
            gid: who.gid,
            nlink,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            xattrs: BTreeMap::new(),
            extra_names: 0,
        }
    }

    /// As a layer has them.
    pub(super) fn of(attr: &Attr) -> Meta {
        Meta {
            mode: attr.mode & 0o7777,
            uid: attr.uid,
            gid: attr.gid,
            nlink: attr.nlink,
            atime: attr.atime,
            mtime: attr.mtime,
            ctime: attr.ctime,
            btime: attr.btime,
            xattrs: BTreeMap::new(),
            extra_names: 0,
        }
    }

    /// Contents changed.
    pub(super) fn modified(&mut self) {
        let now = now();
        (self.mtime, self.ctime) = (now, now);
    }
}

/// A directory of such nodes.
pub(super) type Directory = directory::Directory<Node>;

pub(super) enum Body {
    Directory(Mutex<Directory>),
    Regular(RwLock<Content>),
    Symlink(Vec<u8>),
    Special(FileType, u64),
}

/// Where a node began.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Tree,
    Layer,
}

/// A node: what others call an in-memory inode.
pub(super) struct Node {
    pub(super) shared: Arc<Shared>,
    pub(super) me: Weak<Node>,
    ino: u64,
    pub(super) meta: Mutex<Meta>,
    pub(super) body: Body,
    /// Whether it began in a layer, and so is in the node table.
    pub(super) layered: bool,
    /// Where in the layers, from their root; its children there are below.
    pub(super) lower_path: Vec<u8>,
    /// Whether an inode of the budget is taken for it.
    counted: AtomicBool,
    /// Bytes of the budget taken for a link target and attributes.
    pub(super) small_bytes: Mutex<u64>,
}

impl Node {
    fn make(shared: &Arc<Shared>, ino: u64, meta: Meta, body: Body, origin: Origin) -> Arc<Node> {
        Node::make_at(shared, ino, meta, body, origin, Vec::new())
    }

    fn make_at(
        shared: &Arc<Shared>,
        ino: u64,
        meta: Meta,
        body: Body,
        origin: Origin,
        lower_path: Vec<u8>,
    ) -> Arc<Node> {
        Arc::new_cyclic(|me| Node {
            shared: Arc::clone(shared),
            me: Weak::clone(me),
            ino,
            meta: Mutex::new(meta),
            body,
            layered: origin == Origin::Layer,
            lower_path,
            counted: AtomicBool::new(origin == Origin::Tree),
            small_bytes: Mutex::new(0),
        })
    }

    /// A directory of the tree's own; its inode was taken from the budget.
    pub(super) fn directory(
        shared: &Arc<Shared>,
        ino: u64,
        meta: Meta,
        parent: Weak<Node>,
        lowers: Vec<LowerDir>,
    ) -> Arc<Node> {
        let body = Body::Directory(Mutex::new(Directory::new(parent, lowers)));
        Node::make(shared, ino, meta, body, Origin::Tree)
    }

    /// An empty root for a file system that is no longer mounted; costs nothing.
    pub(super) fn placeholder(shared: &Arc<Shared>, meta: Meta) -> Arc<Node> {
        let body = Body::Directory(Mutex::new(Directory::new(Weak::new(), Vec::new())));
        let node = Node::make(shared, 1, meta, body, Origin::Tree);
        node.counted.store(false, Ordering::Relaxed);
        node
    }

    /// The node of something in a layer.
    pub(super) fn from_layer(
        shared: &Arc<Shared>,
        entry: LowerEntry,
        parent: &Arc<Node>,
        name: &[u8],
    ) -> Result<Arc<Node>> {
        let meta = Meta::of(&entry.attr);
        let body = match entry.attr.file_type() {
            FileType::Directory => {
                let directory = Directory::new(Arc::downgrade(parent), entry.dirs);
                Body::Directory(Mutex::new(directory))
            }
            FileType::Regular => {
                let file = entry.inode.open(base_abi::general::O_RDONLY)?;
                let size = entry.attr.size;
                Body::Regular(RwLock::new(Content::lower(
                    shared.budget.clone(),
                    file,
                    size,
                )))
            }
            FileType::Symlink => Body::Symlink(entry.inode.read_link()?),
            special => Body::Special(special, entry.attr.rdev),
        };
        let path = [&parent.lower_path[..], b"/", name].concat();
        Ok(Node::make_at(
            shared,
            entry.ino,
            meta,
            body,
            Origin::Layer,
            path,
        ))
    }

    /// A new node of the tree's own, in a directory with these attributes.
    pub(super) fn create(
        shared: &Arc<Shared>,
        parent: &Node,
        node: &NewNode<'_>,
        mode: u32,
        who: &Credentials,
    ) -> Result<Arc<Node>> {
        let mut meta = Meta::new(mode, who, 1);
        {
            let above = parent.meta.lock();
            if above.mode & SET_GID != 0 {
                meta.gid = above.gid;
                if matches!(node, NewNode::Directory) {
                    meta.mode |= SET_GID;
                }
            }
        }
        let mut bytes = 0;
        let body = match node {
            NewNode::Regular => Body::Regular(RwLock::new(Content::empty(shared.budget.clone()))),
            NewNode::Directory => {
                meta.nlink = 2;
                let directory = Directory::new(Weak::clone(&parent.me), Vec::new());
                Body::Directory(Mutex::new(directory))
            }
            NewNode::Symlink(target) => {
                bytes = target.len() as u64;
                meta.mode = 0o777;
                Body::Symlink(target.to_vec())
            }
            NewNode::Special(kind, rdev) => Body::Special(*kind, *rdev),
        };
        shared.budget.take_inode()?;
        let made = Node::make(shared, shared.new_ino(), meta, body, Origin::Tree);
        made.take_bytes(bytes)?;
        Ok(made)
    }

    /// A node of the tree's own as it was saved; takes an inode of the budget.
    pub(super) fn restored(
        shared: &Arc<Shared>,
        ino: u64,
        meta: Meta,
        body: Body,
    ) -> Result<Arc<Node>> {
        shared.budget.take_inode()?;
        let small = match &body {
            Body::Symlink(target) => target.len() as u64,
            _ => 0,
        };
        let attributes: usize = meta.xattrs.iter().map(|(n, v)| n.len() + v.len()).sum();
        let made = Node::make(shared, ino, meta, body, Origin::Tree);
        made.take_bytes(small + attributes as u64)?;
        Ok(made)
    }

    pub(super) fn ino(&self) -> u64 {
        self.ino
    }

    pub(super) fn file_type(&self) -> FileType {
        match &self.body {
            Body::Directory(_) => FileType::Directory,
            Body::Regular(_) => FileType::Regular,
            Body::Symlink(_) => FileType::Symlink,
            Body::Special(kind, _) => *kind,
        }
    }

    pub(super) fn is_dir(&self) -> bool {
        matches!(self.body, Body::Directory(_))
    }

    pub(super) fn entries(&self) -> Result<&Mutex<Directory>> {
        match &self.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn content(&self) -> Result<&RwLock<Content>> {
        match &self.body {
            Body::Regular(content) => Ok(content),
            Body::Directory(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn arc(&self) -> Result<Arc<Node>> {
        self.me.upgrade().ok_or(Errno::ESTALE)
    }

    /// Must be called before a node of a layer is changed: from then on the tree keeps it.
    pub(super) fn changing(&self) -> Result<()> {
        if self.layered && !self.counted.swap(true, Ordering::AcqRel) {
            if let Err(error) = self.shared.budget.take_inode() {
                self.counted.store(false, Ordering::Release);
                return Err(error);
            }
            self.shared.keep(self.arc()?);
        }
        Ok(())
    }

    /// One name less; at none the tree no longer keeps the node.
    pub(super) fn unlinked(self: &Arc<Self>) {
        let left = {
            let mut meta = self.meta.lock();
            meta.nlink = if self.is_dir() {
                0
            } else {
                meta.nlink.saturating_sub(1)
            };
            meta.ctime = now();
            if meta.extra_names > 0 {
                meta.extra_names -= 1;
                self.shared.budget.give_inode();
            }
            meta.nlink
        };
        if left == 0 && self.layered {
            self.shared.release(self);
        }
    }

    /// Finds a child, making the node of a layer's entry.
    pub(super) fn child(&self, entries: &Directory, name: &[u8]) -> Result<Arc<Node>> {
        match entries.find(name)? {
            Found::Own(node) => Ok(node),
            Found::Lower(entry) => self.shared.node_of(*entry, &self.arc()?, name),
        }
    }

    /// Takes bytes for a link target or attributes.
    pub(super) fn take_bytes(&self, bytes: u64) -> Result<()> {
        self.shared.budget.take_bytes(bytes)?;
        *self.small_bytes.lock() += bytes;
        Ok(())
    }

    pub(super) fn give_bytes(&self, bytes: u64) {
        self.shared.budget.give_bytes(bytes);
        let mut held = self.small_bytes.lock();
        *held = held.saturating_sub(bytes);
    }

    fn take_children(&mut self) -> Vec<Arc<Node>> {
        match &mut self.body {
            Body::Directory(directory) => directory.get_mut().take_nodes(),
            _ => Vec::new(),
        }
    }
}

impl Listed for Node {
    fn ino(&self) -> u64 {
        self.ino
    }

    fn file_type(&self) -> FileType {
        Node::file_type(self)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A guest may nest directories deeper than a stack is: drop them in a loop.
        let mut doomed = self.take_children();
        while let Some(child) = doomed.pop() {
            if let Some(mut last) = Arc::into_inner(child) {
                doomed.extend(last.take_children());
            }
        }
        let counted = u64::from(*self.counted.get_mut());
        for _ in 0..counted + self.meta.get_mut().extra_names {
            self.shared.budget.give_inode();
        }
        self.shared.budget.give_bytes(*self.small_bytes.get_mut());
        if self.layered {
            self.shared.forget(self.ino);
        }
    }
}
