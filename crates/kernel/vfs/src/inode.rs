//! Inodes and the file systems that hold them.

use std::any::Any;
use std::sync::Arc;

use crate::attr::{Attr, Credentials, FileType, FsStat, InodeId, NewNode, RenameMode, SetAttr};
use crate::{Errno, File, Path, Result};

/// An inode. Names are single components, never `.`, `..` or empty, at most 255 bytes: the walk sees to that.
///
/// Directory operations default to `ENOTDIR`, changes to `EROFS`, so a read-only or
/// simple file system implements only what it has.
pub trait Inode: Any + Send + Sync {
    /// The file system it belongs to.
    fn fs(&self) -> Arc<dyn FileSystem>;

    /// Its attributes now.
    ///
    /// # Errors
    /// `EIO` when the backing store is gone.
    fn attr(&self) -> Result<Attr>;

    /// Its type, which never changes.
    ///
    /// # Errors
    /// As [`attr`](Inode::attr).
    fn kind(&self) -> Result<FileType> {
        self.attr().map(|attr| attr.file_type())
    }

    /// What makes it the same file for locks and watches, however it was reached.
    ///
    /// # Errors
    /// As [`attr`](Inode::attr).
    fn id(&self) -> Result<InodeId> {
        self.attr().map(|attr| InodeId {
            dev: attr.dev,
            ino: attr.ino,
        })
    }

    /// Changes attributes; also bumps ctime.
    ///
    /// # Errors
    /// `EROFS`, `EPERM`, `ENOSPC`.
    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        let _ = change;
        Err(Errno::EROFS)
    }

    /// Finds a child.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`.
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let _ = name;
        Err(Errno::ENOTDIR)
    }

    /// Of a directory: whether look-ups of one name may give another answer later without a change
    /// through this kernel (`/proc`), so that the walk must not cache them.
    fn volatile(&self) -> bool {
        false
    }

    /// Creates a child owned by `who` with these permission bits (umask was applied).
    ///
    /// # Errors
    /// `EEXIST`, `ENOSPC`, `EROFS`, `ENOTDIR`.
    fn create(
        &self,
        name: &[u8],
        node: NewNode<'_>,
        mode: u32,
        who: &Credentials,
    ) -> Result<Arc<dyn Inode>> {
        let _ = (name, node, mode, who);
        Err(Errno::EROFS)
    }

    /// Creates a regular file without a name (`O_TMPFILE`) that [`link`](Inode::link) may give one.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `ENOSPC`, `EROFS`.
    fn temporary(&self, mode: u32, who: &Credentials) -> Result<Arc<dyn Inode>> {
        let _ = (mode, who);
        Err(Errno::EOPNOTSUPP)
    }

    /// Makes another name for `target`, an inode of the same file system.
    ///
    /// # Errors
    /// `EEXIST`, `EPERM`, `EXDEV`, `EROFS`.
    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let _ = (name, target);
        Err(Errno::EROFS)
    }

    /// Removes a name that is not a directory.
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`, `EROFS`.
    fn unlink(&self, name: &[u8]) -> Result<()> {
        let _ = name;
        Err(Errno::EROFS)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ENOTEMPTY`, `EROFS`.
    fn rmdir(&self, name: &[u8]) -> Result<()> {
        let _ = name;
        Err(Errno::EROFS)
    }

    /// Moves a child to a directory of the same file system.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTEMPTY`, `EEXIST`, `EISDIR`, `ENOTDIR`, `EROFS`, `EXDEV`.
    fn rename(
        &self,
        name: &[u8],
        to: &Arc<dyn Inode>,
        to_name: &[u8],
        mode: RenameMode,
    ) -> Result<()> {
        let _ = (name, to, to_name, mode);
        Err(Errno::EROFS)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// `EINVAL` for what is none.
    fn read_link(&self) -> Result<Vec<u8>> {
        Err(Errno::EINVAL)
    }

    /// For magic links of `/proc`: following gives this place itself, not a path.
    ///
    /// # Errors
    /// `ENOENT` when the descriptor behind the link is closed, `EACCES`.
    fn magic_link(&self) -> Result<Option<Path>> {
        Ok(None)
    }

    /// Opens it with the flags of open(2) (permission, type and `O_TRUNC` were dealt with by the walk).
    ///
    /// # Errors
    /// `ENXIO` for sockets and devices without a driver, `EROFS`.
    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn File>>;

    /// An extended attribute (xattr(7)).
    ///
    /// # Errors
    /// `ENODATA`, `EOPNOTSUPP`.
    fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        let _ = name;
        Err(Errno::EOPNOTSUPP)
    }

    /// Names of the extended attributes.
    ///
    /// # Errors
    /// `EOPNOTSUPP`.
    fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    /// Sets (`Some`) or removes (`None`) an extended attribute; `flags` are `XATTR_CREATE`/`XATTR_REPLACE`.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EEXIST`, `ENODATA`, `ENOSPC`.
    fn set_xattr(&self, name: &[u8], value: Option<&[u8]>, flags: u32) -> Result<()> {
        let _ = (name, value, flags);
        Err(Errno::EOPNOTSUPP)
    }
}

/// A mounted or mountable file system.
pub trait FileSystem: Any + Send + Sync {
    /// Its name in `/proc/mounts`.
    fn name(&self) -> &'static str;

    /// The root inode.
    fn root(&self) -> Arc<dyn Inode>;

    /// Its device number (`st_dev`).
    fn dev(&self) -> u64;

    /// Capacity.
    fn stat(&self) -> FsStat;

    /// What a snapshot keeps of it; `None` when it is made anew with every kernel.
    ///
    /// # Errors
    /// When its contents cannot be saved.
    fn save(&self) -> std::result::Result<Option<Vec<u8>>, crate::save::Unsavable> {
        Ok(None)
    }

    /// Puts into a fresh file system what was saved of another one mounted in the same way.
    ///
    /// # Errors
    /// What does not fit.
    fn load(&self, saved: &[u8]) -> std::result::Result<(), crate::save::LoadError> {
        let _ = saved;
        Err(crate::save::LoadError::Malformed(
            "contents of a file system",
        ))
    }
}
