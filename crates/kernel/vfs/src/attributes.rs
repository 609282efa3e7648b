//! Attributes of a place: stat(2), access(2), chmod(2), chown(2), utimensat(2), truncate(2), statfs(2), xattr(7).

use std::sync::Arc;

use base_abi::structs::Stat;

use crate::notify::{IN_ATTRIB, IN_MODIFY};
use crate::permission::{Access, check, chmod_mode, permitted};
use crate::{
    Attr, Credentials, Errno, FileType, FsStat, MountFlags, Path, Result, SetAttr, SetTime,
};

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;
/// Longest name and value of an extended attribute (xattr(7)).
const XATTR_NAME_MAX: usize = 255;
/// See above.
const XATTR_VALUE_MAX: usize = 65_536;

impl Path {
    /// stat(2).
    ///
    /// # Errors
    /// What the file system says.
    pub fn stat(&self) -> Result<Stat> {
        self.attr().map(|attr| attr.to_stat())
    }

    /// All attributes, for statx(2).
    ///
    /// # Errors
    /// What the file system says.
    pub fn attr(&self) -> Result<Attr> {
        self.inode().attr()
    }

    /// access(2).
    ///
    /// # Errors
    /// `EACCES`, `EROFS`.
    pub fn access(&self, who: &Credentials, want: Access) -> Result<()> {
        let kind = self.dentry().kind();
        let stored = matches!(
            kind,
            FileType::Regular | FileType::Directory | FileType::Symlink
        );
        if want.contains(Access::WRITE) && stored {
            self.mount().writable()?;
        }
        let noexec = self.mount().flags().contains(MountFlags::NOEXEC);
        if want.contains(Access::EXECUTE) && kind == FileType::Regular && noexec {
            return Err(Errno::EACCES);
        }
        check(self.inode().as_ref(), who, want)
    }

    /// Whether execve(2) may run it: a regular file with an execute bit, not on a `noexec` mount.
    ///
    /// # Errors
    /// `EACCES`.
    pub fn executable(&self, who: &Credentials) -> Result<()> {
        if self.dentry().kind() != FileType::Regular {
            return Err(Errno::EACCES);
        }
        self.access(who, Access::EXECUTE)
    }

    /// Owner and group of a program with set-user-id and set-group-id bits, where the mount lets them count.
    ///
    /// # Errors
    /// What the inode's attributes fail with.
    pub fn set_ids(&self) -> Result<[Option<u32>; 2]> {
        const EXECUTED_BY_GROUP: u32 = SET_GID | GROUP_EXECUTE;
        if self.mount().id() == 0 || self.mount().flags().contains(MountFlags::NOSUID) {
            return Ok([None; 2]);
        }
        let attr = self.attr()?;
        let gid = attr.mode & EXECUTED_BY_GROUP == EXECUTED_BY_GROUP;
        Ok([
            (attr.mode & SET_UID != 0).then_some(attr.uid),
            gid.then_some(attr.gid),
        ])
    }

    /// chmod(2).
    ///
    /// # Errors
    /// `EPERM`, `EROFS`, `EOPNOTSUPP` for links.
    pub fn chmod(&self, who: &Credentials, mode: u32) -> Result<()> {
        self.mount().writable()?;
        if self.dentry().kind() == FileType::Symlink {
            return Err(Errno::EOPNOTSUPP);
        }
        let attr = self.attr()?;
        if !who.owns(&attr) {
            return Err(Errno::EPERM);
        }
        let mode = Some(chmod_mode(&attr, who, mode));
        self.change(&SetAttr {
            mode,
            ..SetAttr::default()
        })
    }

    /// chown(2); `None` leaves an id alone.
    ///
    /// # Errors
    /// `EPERM`, `EROFS`.
    pub fn chown(&self, who: &Credentials, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        self.mount().writable()?;
        let attr = self.attr()?;
        if !who.privileged {
            let uid_kept = uid.is_none_or(|u| u == attr.uid);
            let gid_fine = gid.is_none_or(|g| g == attr.gid || who.in_group(g));
            let owner = who.uid == attr.uid;
            if !(owner && uid_kept && gid_fine) && (uid.is_some() || gid.is_some()) {
                return Err(Errno::EPERM);
            }
        }
        let keeps_bits = attr.file_type() == FileType::Directory;
        let mode = (!keeps_bits && attr.mode & (SET_UID | SET_GID) != 0)
            .then(|| without_set_ids(attr.mode));
        self.change(&SetAttr {
            mode,
            uid,
            gid,
            ..SetAttr::default()
        })
    }

    /// utimensat(2); `None` leaves a time alone (`UTIME_OMIT`).
    ///
    /// # Errors
    /// `EPERM`, `EACCES`, `EROFS`.
    pub fn set_times(
        &self,
        who: &Credentials,
        atime: Option<SetTime>,
        mtime: Option<SetTime>,
    ) -> Result<()> {
        if atime.is_none() && mtime.is_none() {
            return Ok(());
        }
        self.mount().writable()?;
        let attr = self.attr()?;
        if !who.owns(&attr) {
            let now = atime == Some(SetTime::Now) && mtime == Some(SetTime::Now);
            if !now {
                return Err(Errno::EPERM);
            }
            permitted(&attr, who, Access::WRITE)?;
        }
        self.change(&SetAttr {
            atime,
            mtime,
            ..SetAttr::default()
        })
    }

    /// truncate(2).
    ///
    /// # Errors
    /// `EISDIR`, `EINVAL`, `EACCES`, `EROFS`, `EFBIG`.
    pub fn truncate(&self, who: &Credentials, len: u64) -> Result<()> {
        match self.dentry().kind() {
            FileType::Regular => {}
            FileType::Directory => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        }
        check(self.inode().as_ref(), who, Access::WRITE)?;
        self.mount().writable()?;
        let change = SetAttr {
            size: Some(len),
            ..SetAttr::default()
        };
        self.inode().set_attr(&change)?;
        self.notify(IN_MODIFY);
        Ok(())
    }

    /// readlink(2): the text of a link, or the path a link of `/proc` leads to.
    ///
    /// # Errors
    /// `EINVAL` for what is no link.
    pub fn read_link(&self) -> Result<Vec<u8>> {
        if self.dentry().kind() != FileType::Symlink {
            return Err(Errno::EINVAL);
        }
        self.inode().read_link()
    }

    /// statfs(2).
    #[must_use]
    pub fn statfs(&self) -> FsStat {
        self.mount().fs().stat()
    }

    /// getxattr(2).
    ///
    /// # Errors
    /// `ENODATA`, `EOPNOTSUPP`, `EACCES`, `ERANGE` for a bad name.
    pub fn xattr(&self, who: &Credentials, name: &[u8]) -> Result<Vec<u8>> {
        self.xattr_allowed(who, name, Access::READ)?;
        self.inode().xattr(name)
    }

    /// listxattr(2).
    ///
    /// # Errors
    /// What the file system says.
    pub fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        self.inode().list_xattr()
    }

    /// setxattr(2), removexattr(2) with `None`.
    ///
    /// # Errors
    /// `EEXIST`, `ENODATA`, `EOPNOTSUPP`, `EPERM`, `EACCES`, `EROFS`, `E2BIG`, `ENOSPC`.
    pub fn set_xattr(
        &self,
        who: &Credentials,
        name: &[u8],
        value: Option<&[u8]>,
        flags: u32,
    ) -> Result<()> {
        self.mount().writable()?;
        self.xattr_allowed(who, name, Access::WRITE)?;
        if value.is_some_and(|v| v.len() > XATTR_VALUE_MAX) {
            return Err(Errno::E2BIG);
        }
        self.inode().set_xattr(name, value, flags)?;
        self.notify(IN_ATTRIB);
        Ok(())
    }

    fn xattr_allowed(&self, who: &Credentials, name: &[u8], want: Access) -> Result<()> {
        if name.is_empty() || name.len() > XATTR_NAME_MAX {
            return Err(Errno::ERANGE);
        }
        if name.starts_with(b"user.") {
            let kind = self.dentry().kind();
            if !matches!(kind, FileType::Regular | FileType::Directory) {
                return Err(if want == Access::WRITE {
                    Errno::EPERM
                } else {
                    Errno::ENODATA
                });
            }
            return check(self.inode().as_ref(), who, want);
        }
        if name.starts_with(b"trusted.") && !who.privileged {
            return Err(if want == Access::WRITE {
                Errno::EPERM
            } else {
                Errno::ENODATA
            });
        }
        if want == Access::WRITE && !who.owns(&self.attr()?) {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    fn change(&self, change: &SetAttr) -> Result<()> {
        self.inode().set_attr(change)?;
        self.notify(IN_ATTRIB);
        Ok(())
    }

    /// Whether both are one file: what `st_dev` and `st_ino` tell.
    #[must_use]
    pub fn same_file(&self, other: &Path) -> bool {
        Arc::ptr_eq(self.inode(), other.inode())
            || matches!((self.inode().id(), other.inode().id()), (Ok(a), Ok(b)) if a == b)
    }
}

/// The mode after a change of owner or a write: set-user-id goes, set-group-id too where it means execution.
fn without_set_ids(mode: u32) -> u32 {
    let mode = mode & 0o7777 & !SET_UID;
    if mode & GROUP_EXECUTE != 0 {
        mode & !SET_GID
    } else {
        mode
    }
}
