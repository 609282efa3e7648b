//! Who may do what: discretionary access control (path_resolution(7), "Permissions").

use crate::{Attr, Credentials, Dentry, Errno, FileType, Inode, Result};

bitflags::bitflags! {
    /// What is asked for, with the bits of access(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Access: u32 {
        /// `X_OK`: execute, or search a directory.
        const EXECUTE = 1;
        /// `W_OK`.
        const WRITE = 2;
        /// `R_OK`.
        const READ = 4;
    }
}

const STICKY: u32 = 0o1000;
const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;

impl Credentials {
    /// Whether the group is the file system group or a supplementary one.
    #[must_use]
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    /// Whether they may act as the owner of the file.
    #[must_use]
    pub fn owns(&self, attr: &Attr) -> bool {
        self.privileged || self.uid == attr.uid
    }
}

/// Checks access by owner, group and others.
///
/// # Errors
/// `EACCES`.
pub fn permitted(attr: &Attr, who: &Credentials, want: Access) -> Result<()> {
    if who.privileged {
        let runs = attr.file_type() == FileType::Directory || attr.mode & 0o111 != 0;
        let wants_to_run = want.contains(Access::EXECUTE);
        return if runs || !wants_to_run {
            Ok(())
        } else {
            Err(Errno::EACCES)
        };
    }
    let shift = if who.uid == attr.uid {
        6
    } else if who.in_group(attr.gid) {
        3
    } else {
        0
    };
    let granted = Access::from_bits_truncate((attr.mode >> shift) & 7);
    if granted.contains(want) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// As [`permitted`], asking the inode only when that matters.
pub(crate) fn check(inode: &dyn Inode, who: &Credentials, want: Access) -> Result<()> {
    if want.is_empty() || (who.privileged && !want.contains(Access::EXECUTE)) {
        return Ok(());
    }
    permitted(&inode.attr()?, who, want)
}

/// May names below this directory be looked up?
pub(crate) fn search(directory: &Dentry, who: &Credentials) -> Result<()> {
    if who.privileged {
        return Ok(());
    }
    permitted(&directory.inode().attr()?, who, Access::EXECUTE)
}

/// May entries of this directory be added?
pub(crate) fn may_add(directory: &Dentry, who: &Credentials) -> Result<()> {
    check(
        directory.inode().as_ref(),
        who,
        Access::WRITE | Access::EXECUTE,
    )
}

/// May this entry be removed or renamed? A sticky directory gives its entries to their owners only.
pub(crate) fn may_remove(directory: &Dentry, child: &Dentry, who: &Credentials) -> Result<()> {
    may_add(directory, who)?;
    if who.privileged {
        return Ok(());
    }
    let attr = directory.inode().attr()?;
    if attr.mode & STICKY == 0 || attr.uid == who.uid {
        return Ok(());
    }
    if child.inode().attr()?.uid == who.uid {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// May another name be given to this file? To one's own, and to plain files that one may read and write
/// (`fs.protected_hardlinks` in proc_sys_fs(5)).
pub(crate) fn may_link(attr: &Attr, who: &Credentials) -> Result<()> {
    const RUN_AS_GROUP: u32 = SET_GID | 0o010;
    let special = attr.mode & SET_UID != 0 || attr.mode & RUN_AS_GROUP == RUN_AS_GROUP;
    let plain = attr.file_type() == FileType::Regular && !special;
    let changed_anyway = permitted(attr, who, Access::READ | Access::WRITE).is_ok();
    if who.owns(attr) || (plain && changed_anyway) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// The mode a chmod(2) really sets: set-group-id needs membership.
pub(crate) fn chmod_mode(attr: &Attr, who: &Credentials, mode: u32) -> u32 {
    let mode = mode & 0o7777;
    if !who.privileged && attr.file_type() != FileType::Directory && !who.in_group(attr.gid) {
        mode & !SET_GID
    } else {
        mode
    }
}
