//! A file or directory of a host directory tree.

use std::fs::File as HostFile;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use host_sys::dir::{Dir, HostEntry, HostStat};
use kernel_vfs::{Errno, FileType, Result};
use parking_lot::Mutex;

use super::handles::{self, HoldsHandle};
use super::{Exposure, Filter, Shared};

/// Longest path, below the root of the tree, that is opened on the host.
const PATH_MAX: usize = 4096;

enum Handle {
    Closed,
    Dir(Arc<Dir>),
    File(Arc<HostFile>),
}

/// A file or directory of a host tree: where it is, what it was like when it was looked up.
pub(super) struct HostNode {
    pub(super) shared: Arc<Shared>,
    pub(super) me: Weak<HostNode>,
    pub(super) parent: Option<Arc<HostNode>>,
    pub(super) name: Vec<u8>,
    pub(super) stat: HostStat,
    pub(super) filter: Filter,
    handle: Mutex<Handle>,
    used: AtomicBool,
}

impl HostNode {
    pub(super) fn root(shared: &Arc<Shared>, stat: HostStat, filter: Filter) -> Arc<HostNode> {
        Arc::new_cyclic(|me| HostNode {
            handle: Mutex::new(Handle::Dir(Arc::clone(&shared.root))),
            shared: Arc::clone(shared),
            me: Weak::clone(me),
            parent: None,
            name: Vec::new(),
            stat,
            filter,
            used: AtomicBool::new(true),
        })
    }

    pub(super) fn child(
        &self,
        name: &[u8],
        stat: HostStat,
        filter: Filter,
    ) -> Result<Arc<HostNode>> {
        let parent = self.me.upgrade().ok_or(Errno::ESTALE)?;
        Ok(Arc::new_cyclic(|me| HostNode {
            shared: Arc::clone(&self.shared),
            me: Weak::clone(me),
            parent: Some(parent),
            name: name.to_vec(),
            stat,
            filter,
            handle: Mutex::new(Handle::Closed),
            used: AtomicBool::new(false),
        }))
    }

    pub(super) fn ino(&self) -> u64 {
        let device = (self.stat.dev_major, self.stat.dev_minor);
        self.shared.ino(device, self.stat.ino)
    }

    pub(super) fn parent_ino(&self) -> u64 {
        self.parent.as_ref().map_or(self.ino(), |p| p.ino())
    }

    pub(super) fn size(&self) -> u64 {
        self.stat.size
    }

    pub(super) fn file_type(&self) -> FileType {
        FileType::from_mode(self.stat.mode).unwrap_or(FileType::Regular)
    }

    /// The path below the tree's root.
    fn path(&self) -> Result<Vec<u8>> {
        let mut names: Vec<&[u8]> = vec![&self.name];
        let mut at = self.parent.as_deref();
        while let Some(inode) = at {
            if inode.parent.is_some() {
                names.push(&inode.name);
            }
            at = inode.parent.as_deref();
        }
        names.reverse();
        let path = names.join(&b'/');
        if path.len() < PATH_MAX {
            Ok(path)
        } else {
            Err(Errno::ENAMETOOLONG)
        }
    }

    fn exposed(&self, bit: u32) -> Result<()> {
        let hidden = self.shared.exposure == Exposure::WorldReadable && self.stat.mode & bit == 0;
        if hidden { Err(Errno::EACCES) } else { Ok(()) }
    }

    pub(super) fn dir(&self) -> Result<Arc<Dir>> {
        const OTHERS_SEARCH: u32 = 0o001;
        if self.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        self.exposed(OTHERS_SEARCH)?;
        self.used.store(true, Ordering::Relaxed);
        let mut handle = self.handle.lock();
        if let Handle::Dir(dir) = &*handle {
            return Ok(Arc::clone(dir));
        }
        let dir = Arc::new(self.shared.root.open_dir(&self.path()?)?);
        let now = dir.stat()?;
        if (now.ino, now.dev_major, now.dev_minor)
            != (self.stat.ino, self.stat.dev_major, self.stat.dev_minor)
        {
            return Err(Errno::ESTALE);
        }
        *handle = Handle::Dir(Arc::clone(&dir));
        drop(handle);
        handles::opened(Weak::clone(&self.me) as Weak<dyn HoldsHandle>);
        Ok(dir)
    }

    /// The host file behind a regular file.
    pub(super) fn host_file(&self) -> Result<Arc<HostFile>> {
        const OTHERS_READ: u32 = 0o004;
        if self.file_type() != FileType::Regular {
            return Err(Errno::EINVAL);
        }
        self.exposed(OTHERS_READ)?;
        self.used.store(true, Ordering::Relaxed);
        let mut handle = self.handle.lock();
        if let Handle::File(file) = &*handle {
            return Ok(Arc::clone(file));
        }
        let parent = self.parent.as_ref().ok_or(Errno::EISDIR)?;
        let file = Arc::new(parent.dir()?.open_file(&self.name)?);
        *handle = Handle::File(Arc::clone(&file));
        drop(handle);
        handles::opened(Weak::clone(&self.me) as Weak<dyn HoldsHandle>);
        Ok(file)
    }

    /// The shown names of a directory, each with its number and type.
    pub(super) fn list(&self) -> Result<Vec<(Vec<u8>, u64, FileType)>> {
        if let (true, Some(kept)) = (self.parent.is_none(), self.shared.root_listing.get()) {
            return Ok(kept.clone());
        }
        let dir = self.dir()?;
        let device = (self.stat.dev_major, self.stat.dev_minor);
        let shown = |entry: HostEntry| {
            self.filter.child(&entry.name)?;
            let kind = match FileType::from_mode(u32::from(entry.kind) << 12) {
                Some(kind) => kind,
                None => FileType::from_mode(dir.stat_entry(&entry.name).ok()?.mode)?,
            };
            Some((entry.name, self.shared.ino(device, entry.ino), kind))
        };
        Ok(dir.list()?.into_iter().filter_map(shown).collect())
    }
}

impl HoldsHandle for HostNode {
    fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    fn close_handle(&self) {
        if self.parent.is_some() {
            // A caller that is just opening it keeps it instead.
            if let Some(mut handle) = self.handle.try_lock() {
                *handle = Handle::Closed;
            }
        }
    }
}
