//! What the file tree of the guest asks of a file or directory of a host tree.

use std::sync::Arc;

use base_abi::structs::Timespec;
use kernel_vfs::{Attr, Errno, File, FileSystem, FileType, Inode, InodeId, Result};

use super::node::HostNode;
use super::open_file::HostDirFile;
use super::{HostTree, Ownership};

impl Inode for HostNode {
    fn fs(&self) -> Arc<dyn FileSystem> {
        match (self.shared.me.upgrade(), self.me.upgrade()) {
            (Some(fs), _) => fs,
            // Unmounted: this inode stands for the rest.
            (None, root) => Arc::new(HostTree {
                shared: Arc::clone(&self.shared),
                root: root.unwrap_or_else(|| {
                    HostNode::root(&self.shared, self.stat, self.filter.clone())
                }),
            }),
        }
    }

    fn kind(&self) -> Result<FileType> {
        Ok(self.file_type())
    }

    fn id(&self) -> Result<InodeId> {
        Ok(InodeId {
            dev: self.shared.dev,
            ino: self.ino(),
        })
    }

    fn attr(&self) -> Result<Attr> {
        let stat = &self.stat;
        let (uid, gid) = match self.shared.ownership {
            Ownership::AsOnHost => (stat.uid, stat.gid),
            Ownership::All { uid, gid } => (uid, gid),
        };
        let time = |(sec, nsec): (i64, u32)| Timespec {
            sec,
            nsec: i64::from(nsec),
        };
        Ok(Attr {
            dev: self.shared.dev,
            ino: self.ino(),
            mode: stat.mode,
            nlink: u64::from(stat.nlink),
            uid,
            gid,
            rdev: base_abi::device::make(stat.rdev_major, stat.rdev_minor),
            size: stat.size,
            blocks: stat.blocks,
            atime: time(stat.atime),
            mtime: time(stat.mtime),
            ctime: time(stat.ctime),
            btime: time(stat.btime),
        })
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        if self.file_type() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let filter = self.filter.child(name).ok_or(Errno::ENOENT)?;
        let stat = self.dir()?.stat_entry(name)?;
        Ok(self.child(name, stat, filter)?)
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        match (&self.parent, self.file_type()) {
            (Some(parent), FileType::Symlink) => Ok(parent.dir()?.read_link(&self.name)?),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn File>> {
        match self.file_type() {
            FileType::Regular | FileType::Directory => Ok(HostDirFile::open(self)),
            FileType::Symlink => Err(Errno::ELOOP),
            _ => Err(Errno::ENXIO),
        }
    }

    fn xattr(&self, _name: &[u8]) -> Result<Vec<u8>> {
        Err(Errno::ENODATA)
    }
}
