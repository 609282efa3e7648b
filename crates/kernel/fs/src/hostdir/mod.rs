//! A directory tree of the host, seen read only and never followed out of.
//!
//! Links are given out as text and walked by our own walk; the host only ever looks up single plain
//! names in directories we hold (see `host_sys::dir`). The tree is taken to be unchanging: attributes
//! are read once per look-up and remembered, absent names are remembered by the walk above.

mod filter;
mod handles;
mod inode;
mod node;
mod open_file;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use host_sys::dir::Dir;
use kernel_vfs::{FileSystem, FileType, FsStat, Inode};
use parking_lot::Mutex;

pub use filter::Filter;
use node::HostNode;

/// `EXT4_SUPER_MAGIC`: what programs expect of a plain disk.
const MAGIC: u64 = 0xef53;

/// Whom the guest sees as the owner of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The host's own numbers.
    AsOnHost,
    /// These, whoever owns them on the host (a tree unpacked by an ordinary user).
    All {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// What may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Whatever this process may.
    All,
    /// Only what every user of the host may.
    WorldReadable,
}

/// The directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open host directory {path}")]
pub struct HostTreeError {
    path: PathBuf,
    source: io::Error,
}

/// A read-only tree of the host.
pub struct HostTree {
    shared: Arc<Shared>,
    root: Arc<HostNode>,
}

/// What all inodes of one tree share.
struct Shared {
    root: Arc<Dir>,
    dev: u64,
    ownership: Ownership,
    exposure: Exposure,
    /// Host devices met, whose index keeps inode numbers of different ones apart.
    devices: Mutex<Vec<(u32, u32)>>,
    /// The root's own listing where only some names are shown: a jail need not let the root be read.
    root_listing: OnceLock<Vec<(Vec<u8>, u64, FileType)>>,
    me: Weak<HostTree>,
}

impl Shared {
    /// The number of an inode in this file system.
    fn ino(&self, device: (u32, u32), ino: u64) -> u64 {
        const SHIFT: u32 = 40;
        let mut devices = self.devices.lock();
        let known = devices.iter().position(|d| *d == device);
        let index = known.unwrap_or_else(|| {
            devices.push(device);
            devices.len() - 1
        });
        ((index as u64 & 0xff) << SHIFT) | (ino & ((1 << SHIFT) - 1))
    }
}

impl HostTree {
    /// Opens the tree below a host directory.
    ///
    /// # Errors
    /// [`HostTreeError`] with the host's reason.
    pub fn open(
        path: &Path,
        filter: Filter,
        ownership: Ownership,
        exposure: Exposure,
    ) -> Result<Arc<HostTree>, HostTreeError> {
        let failed = |source| HostTreeError {
            path: path.to_owned(),
            source,
        };
        let dir = Dir::open(path).map_err(failed)?;
        let stat = dir.stat().map_err(failed)?;
        let some = matches!(filter, Filter::Only(_));
        let fs = Arc::new_cyclic(|me| {
            let shared = Arc::new(Shared {
                root: Arc::new(dir),
                dev: crate::next_dev(),
                ownership,
                exposure,
                devices: Mutex::default(),
                root_listing: OnceLock::new(),
                me: Weak::clone(me),
            });
            let root = HostNode::root(&shared, stat, filter);
            HostTree { shared, root }
        });
        if some && let Ok(listing) = fs.root.list() {
            let _ = fs.shared.root_listing.set(listing);
        }
        Ok(fs)
    }

    /// The whole tree below a host directory, as the host has it.
    ///
    /// # Errors
    /// [`HostTreeError`] with the host's reason.
    pub fn whole(path: &Path) -> Result<Arc<HostTree>, HostTreeError> {
        HostTree::open(path, Filter::All, Ownership::AsOnHost, Exposure::All)
    }
}

impl FileSystem for HostTree {
    fn name(&self) -> &'static str {
        "hostdir"
    }

    fn root(&self) -> Arc<dyn Inode> {
        Arc::clone(&self.root) as Arc<dyn Inode>
    }

    fn dev(&self) -> u64 {
        self.shared.dev
    }

    fn stat(&self) -> FsStat {
        FsStat {
            magic: MAGIC,
            block_size: 4096,
            ..FsStat::default()
        }
    }
}
