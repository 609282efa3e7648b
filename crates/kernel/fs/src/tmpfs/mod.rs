//! A file system in memory, alone (tmpfs(5)) or over read-only layers (an overlay).
//!
//! One tree serves both: a node knows what lies below it and owns what was changed. A file of a
//! layer keeps its number and identity when it is changed, renamed or linked, and a directory of a
//! layer can be renamed; nothing is ever written to a layer.

mod content;
mod directory;
mod inode;
mod layers;
mod node;
mod open_file;
mod rename;
mod saved;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use kernel_vfs::{Credentials, FileSystem, FsStat, Inode, Result};
use parking_lot::Mutex;

use crate::Budget;
use layers::{LowerDir, LowerEntry};
use node::{Meta, Node};

/// `OVERLAYFS_SUPER_MAGIC`.
const OVERLAY_MAGIC: u64 = 0x794c_7630;

/// Owner and permission bits of a new root directory.
#[derive(Clone, Copy, Debug)]
pub struct RootAttr {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Default for RootAttr {
    fn default() -> RootAttr {
        RootAttr {
            mode: 0o755,
            uid: 0,
            gid: 0,
        }
    }
}

/// A file system in memory; see the module.
pub struct TmpFs {
    shared: Arc<Shared>,
    root: Arc<Node>,
}

/// How the node table holds a node.
enum Held {
    /// As it is in its layer: forgotten when nobody uses it.
    Clean(Weak<Node>),
    /// Changed: kept until its last name is gone.
    Changed(Arc<Node>),
}

/// What all nodes of one file system share.
struct Shared {
    name: &'static str,
    magic: u64,
    /// A tree from a snapshot has the number that it had: programs know their files by it.
    dev: AtomicU64,
    budget: Budget,
    next_ino: AtomicU64,
    renaming: Mutex<()>,
    /// Nodes that come from layers, by number.
    nodes: Mutex<HashMap<u64, Held>>,
    me: Weak<TmpFs>,
}

impl TmpFs {
    /// An empty file system.
    ///
    /// # Errors
    /// `ENOSPC` when the budget has no inode left.
    pub fn new(budget: Budget, root: RootAttr) -> Result<Arc<TmpFs>> {
        TmpFs::build("tmpfs", budget, root, &[])
    }

    /// A writable view of read-only layers, the lowest first, each given by its root directory.
    /// The root has the attributes of the topmost layer's.
    ///
    /// # Errors
    /// `ENOSPC` when the budget has no inode left; what the layers say.
    pub fn over(layers: &[Arc<dyn Inode>], budget: Budget) -> Result<Arc<TmpFs>> {
        TmpFs::build("overlay", budget, RootAttr::default(), layers)
    }

    fn build(
        name: &'static str,
        budget: Budget,
        root: RootAttr,
        layers: &[Arc<dyn Inode>],
    ) -> Result<Arc<TmpFs>> {
        let top = layers.last().map(|inode| inode.attr()).transpose()?;
        budget.take_inode()?;
        let mut lowers: Vec<_> = (0u16..)
            .zip(layers)
            .map(|(layer, inode)| LowerDir {
                layer,
                inode: Arc::clone(inode),
            })
            .collect();
        lowers.reverse();
        let fs = Arc::new_cyclic(|me| {
            let shared = Arc::new(Shared {
                name,
                magic: if lowers.is_empty() {
                    u64::from(base_abi::general::TMPFS_MAGIC)
                } else {
                    OVERLAY_MAGIC
                },
                dev: AtomicU64::new(crate::next_dev()),
                budget,
                next_ino: AtomicU64::new(2),
                renaming: Mutex::default(),
                nodes: Mutex::default(),
                me: Weak::clone(me),
            });
            let who = Credentials {
                uid: root.uid,
                gid: root.gid,
                ..Credentials::default()
            };
            let meta = match &top {
                Some(attr) => Meta::of(attr),
                None => Meta::new(root.mode, &who, 2),
            };
            let root = Node::directory(&shared, 1, meta, Weak::new(), lowers);
            TmpFs { shared, root }
        });
        Ok(fs)
    }

    /// The budget it takes from.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.shared.budget
    }

    /// A regular file without a name (memfd_create(2)).
    ///
    /// # Errors
    /// `ENOSPC`.
    pub fn nameless(&self, mode: u32, who: &Credentials) -> Result<Arc<dyn Inode>> {
        self.root.temporary(mode, who)
    }

    /// Stands for a file system whose nodes outlived it.
    fn emptied(shared: &Arc<Shared>) -> Arc<TmpFs> {
        let meta = Meta::new(0, &Credentials::default(), 0);
        Arc::new(TmpFs {
            shared: Arc::clone(shared),
            root: Node::placeholder(shared, meta),
        })
    }
}

impl FileSystem for TmpFs {
    fn name(&self) -> &'static str {
        self.shared.name
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::clone(&self.root) as Arc<dyn Inode>
    }

    fn dev(&self) -> u64 {
        self.shared.dev()
    }

    fn save(&self) -> std::result::Result<Option<Vec<u8>>, kernel_vfs::save::Unsavable> {
        saved::save(self).map(Some)
    }

    fn load(&self, saved: &[u8]) -> std::result::Result<(), kernel_vfs::save::LoadError> {
        saved::load(self, saved)
    }

    fn stat(&self) -> FsStat {
        const BLOCK: u64 = 4096;
        let budget = &self.shared.budget;
        let limits = budget.limits();
        FsStat {
            magic: self.shared.magic,
            block_size: BLOCK,
            blocks: limits.bytes / BLOCK,
            free: limits.bytes.saturating_sub(budget.bytes()) / BLOCK,
            files: limits.inodes,
            files_free: limits.inodes.saturating_sub(budget.inodes()),
        }
    }
}

impl Shared {
    fn dev(&self) -> u64 {
        self.dev.load(Ordering::Relaxed)
    }

    fn new_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Ordering::Relaxed)
    }

    /// The node of an entry of a layer: the one in use, or a new one.
    fn node_of(
        self: &Arc<Self>,
        entry: LowerEntry,
        parent: &Arc<Node>,
        name: &[u8],
    ) -> Result<Arc<Node>> {
        if let Some(node) = self.known(entry.ino) {
            return Ok(node);
        }
        // Made outside of the table's lock, since making one may open a host file.
        let made = Node::from_layer(self, entry, parent, name)?;
        let mut nodes = self.nodes.lock();
        let known = match nodes.get(&made.ino()) {
            Some(Held::Changed(node)) => Some(Arc::clone(node)),
            Some(Held::Clean(node)) => node.upgrade(),
            None => None,
        };
        if known.is_none() {
            nodes.insert(made.ino(), Held::Clean(Arc::downgrade(&made)));
        }
        drop(nodes);
        Ok(known.unwrap_or(made))
    }

    fn known(&self, ino: u64) -> Option<Arc<Node>> {
        match self.nodes.lock().get(&ino)? {
            Held::Changed(node) => Some(Arc::clone(node)),
            Held::Clean(node) => node.upgrade(),
        }
    }

    /// Keeps a changed node, whoever else uses it.
    /// What began in a layer and was changed.
    fn changed(&self) -> Vec<Arc<Node>> {
        let nodes = self.nodes.lock();
        let changed = nodes.values().filter_map(|held| match held {
            Held::Changed(node) => Some(Arc::clone(node)),
            Held::Clean(_) => None,
        });
        changed.collect()
    }

    fn keep(&self, node: Arc<Node>) {
        let old = self.nodes.lock().insert(node.ino(), Held::Changed(node));
        drop(old);
    }

    /// The last name of a node is gone: it lives as long as it is used.
    fn release(&self, node: &Arc<Node>) {
        let clean = Held::Clean(Arc::downgrade(node));
        let mut nodes = self.nodes.lock();
        let old = nodes
            .contains_key(&node.ino())
            .then(|| nodes.insert(node.ino(), clean));
        drop(nodes);
        drop(old);
    }

    /// A node is being dropped.
    fn forget(&self, ino: u64) {
        let mut nodes = self.nodes.lock();
        let gone = matches!(nodes.get(&ino), Some(Held::Clean(node)) if node.strong_count() == 0);
        let old = if gone { nodes.remove(&ino) } else { None };
        drop(nodes);
        drop(old);
    }
}
