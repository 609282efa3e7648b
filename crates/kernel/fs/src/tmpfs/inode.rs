//! A node as the walk sees it.

use std::sync::Arc;

use base_abi::general::{XATTR_CREATE, XATTR_REPLACE};
use kernel_vfs::{
    Attr, Credentials, Errno, File, FileSystem, FileType, Inode, InodeId, NewNode, RenameMode,
    Result, SetAttr, SetTime,
};

use super::TmpFs;
use super::node::{Body, Node};
use super::open_file::OpenFile;
use super::rename::rename;
use crate::clock::now;

/// Bytes of attributes of one inode, names and values.
const XATTRS_MAX: usize = 128 * 1024;

impl Inode for Node {
    fn fs(&self) -> Arc<dyn FileSystem> {
        match self.shared.me.upgrade() {
            Some(fs) => fs,
            // Unmounted: what is left of it is a file system with nothing in it.
            None => TmpFs::emptied(&self.shared),
        }
    }

    fn kind(&self) -> Result<FileType> {
        Ok(self.file_type())
    }

    fn id(&self) -> Result<InodeId> {
        Ok(InodeId {
            dev: self.shared.dev(),
            ino: self.ino(),
        })
    }

    fn attr(&self) -> Result<Attr> {
        let meta = self.meta.lock();
        let (size, blocks, rdev) = match &self.body {
            Body::Regular(content) => {
                let content = content.read();
                (content.size(), content.blocks(), 0)
            }
            Body::Directory(_) => (4096, 0, 0),
            Body::Symlink(target) => (target.len() as u64, 0, 0),
            Body::Special(_, rdev) => (0, 0, *rdev),
        };
        Ok(Attr {
            dev: self.shared.dev(),
            ino: self.ino(),
            mode: self.file_type().mode_bits() | meta.mode,
            nlink: meta.nlink,
            uid: meta.uid,
            gid: meta.gid,
            rdev,
            size,
            blocks,
            atime: meta.atime,
            mtime: meta.mtime,
            ctime: meta.ctime,
            btime: meta.btime,
        })
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        self.changing()?;
        if let Some(size) = change.size {
            self.content()?.write().truncate(size)?;
        }
        let mut meta = self.meta.lock();
        let now = now();
        let time = |t: SetTime| match t {
            SetTime::Now => now,
            SetTime::At(at) => at,
        };
        if change.size.is_some() {
            meta.mtime = now;
        }
        if let Some(mode) = change.mode {
            meta.mode = mode & 0o7777;
        }
        meta.uid = change.uid.unwrap_or(meta.uid);
        meta.gid = change.gid.unwrap_or(meta.gid);
        meta.atime = change.atime.map_or(meta.atime, time);
        meta.mtime = change.mtime.map_or(meta.mtime, time);
        meta.ctime = now;
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let entries = self.entries()?.lock();
        Ok(self.child(&entries, name)?)
    }

    fn create(
        &self,
        name: &[u8],
        node: NewNode<'_>,
        mode: u32,
        who: &Credentials,
    ) -> Result<Arc<dyn Inode>> {
        let mut entries = self.entries()?.lock();
        self.alive()?;
        if entries.find(name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.changing()?;
        let made = Node::create(&self.shared, self, &node, mode, who)?;
        entries.insert(name, Arc::clone(&made));
        let mut meta = self.meta.lock();
        meta.modified();
        if made.is_dir() {
            meta.nlink += 1;
        }
        Ok(made)
    }

    fn temporary(&self, mode: u32, who: &Credentials) -> Result<Arc<dyn Inode>> {
        let made = Node::create(&self.shared, self, &NewNode::Regular, mode, who)?;
        made.meta.lock().nlink = 0;
        Ok(made)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let target = self.same_fs(target)?;
        if target.is_dir() {
            return Err(Errno::EPERM);
        }
        let mut entries = self.entries()?.lock();
        self.alive()?;
        if entries.find(name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.changing()?;
        target.changing()?;
        {
            let mut meta = target.meta.lock();
            if meta.nlink > 0 {
                self.shared.budget.take_inode()?;
                meta.extra_names += 1;
            }
            meta.nlink += 1;
            meta.ctime = now();
        }
        entries.insert(name, target);
        self.meta.lock().modified();
        Ok(())
    }

    fn unlink(&self, name: &[u8]) -> Result<()> {
        let mut entries = self.entries()?.lock();
        let child = self.child(&entries, name)?;
        if child.is_dir() {
            return Err(Errno::EISDIR);
        }
        self.changing()?;
        child.changing()?;
        entries.remove(name)?;
        child.unlinked();
        self.meta.lock().modified();
        Ok(())
    }

    fn rmdir(&self, name: &[u8]) -> Result<()> {
        let mut entries = self.entries()?.lock();
        let child = self.child(&entries, name)?;
        if !child.entries()?.lock().is_empty()? {
            return Err(Errno::ENOTEMPTY);
        }
        self.changing()?;
        child.changing()?;
        entries.remove(name)?;
        child.unlinked();
        let mut meta = self.meta.lock();
        meta.modified();
        meta.nlink = meta.nlink.saturating_sub(1);
        Ok(())
    }

    fn rename(
        &self,
        name: &[u8],
        to: &Arc<dyn Inode>,
        to_name: &[u8],
        mode: RenameMode,
    ) -> Result<()> {
        let to = self.same_fs(to)?;
        rename(&self.arc()?, name, &to, to_name, mode)
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        match &self.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn File>> {
        match &self.body {
            Body::Regular(_) | Body::Directory(_) => Ok(OpenFile::open(self, flags)),
            Body::Symlink(_) => Err(Errno::ELOOP),
            Body::Special(..) => Err(Errno::ENXIO),
        }
    }

    fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        supported(name)?;
        let meta = self.meta.lock();
        meta.xattrs.get(name).cloned().ok_or(Errno::ENODATA)
    }

    fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.meta.lock().xattrs.keys().cloned().collect())
    }

    fn set_xattr(&self, name: &[u8], value: Option<&[u8]>, flags: u32) -> Result<()> {
        supported(name)?;
        self.changing()?;
        let mut meta = self.meta.lock();
        let old = meta.xattrs.get(name).map(|v| v.len() + name.len());
        match (old, value) {
            (Some(_), Some(_)) if flags & XATTR_CREATE != 0 => return Err(Errno::EEXIST),
            (None, Some(_)) if flags & XATTR_REPLACE != 0 => return Err(Errno::ENODATA),
            (None, None) => return Err(Errno::ENODATA),
            _ => {}
        }
        let all: usize = meta.xattrs.iter().map(|(n, v)| n.len() + v.len()).sum();
        let old = old.unwrap_or(0);
        match value {
            Some(value) => {
                let new = name.len() + value.len();
                if all - old + new > XATTRS_MAX {
                    return Err(Errno::ENOSPC);
                }
                self.take_bytes(new as u64)?;
                meta.xattrs.insert(name.to_vec(), value.to_vec());
            }
            None => {
                meta.xattrs.remove(name);
            }
        }
        self.give_bytes(old as u64);
        meta.ctime = now();
        Ok(())
    }
}

impl Node {
    /// A removed directory takes no new names.
    pub(super) fn alive(&self) -> Result<()> {
        if self.meta.lock().nlink == 0 {
            return Err(Errno::ENOENT);
        }
        Ok(())
    }

    pub(super) fn same_fs(&self, other: &Arc<dyn Inode>) -> Result<Arc<Node>> {
        let any: &dyn std::any::Any = other.as_ref();
        let node = any.downcast_ref::<Node>().ok_or(Errno::EXDEV)?;
        if !Arc::ptr_eq(&node.shared, &self.shared) {
            return Err(Errno::EXDEV);
        }
        node.arc()
    }
}

/// POSIX access control lists are not kept; everything else is a plain attribute.
fn supported(name: &[u8]) -> Result<()> {
    let kept = [&b"user."[..], b"trusted.", b"security."];
    if kept.iter().any(|prefix| name.starts_with(prefix)) {
        Ok(())
    } else {
        Err(Errno::EOPNOTSUPP)
    }
}
