//! open(2), openat2(2): from a path to an open file description.

use std::sync::Arc;

use base_abi::general::{
    __O_TMPFILE, O_CREAT, O_DIRECTORY, O_EXCL, O_NOATIME, O_NOFOLLOW, O_PATH, O_TRUNC,
};

use crate::notify::{IN_CREATE, IN_MODIFY, IN_OPEN};
use crate::permission::{Access, check, may_add};
use crate::walk::{Last, LastLink, Resolve, Walk};
use crate::{
    AccessMode, At, Description, Errno, File, FileType, Inode, MountFlags, NewNode, Path, Result,
    SetAttr, StatusFlags,
};

/// How to open (openat2(2)).
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenHow {
    /// `O_*`.
    pub flags: u32,
    /// Permission bits of a new file; the umask was applied.
    pub mode: u32,
    /// Restrictions of the walk.
    pub resolve: Resolve,
}

/// Whether the file existed before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Found,
    Created,
}

impl At<'_> {
    /// Opens a path.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(&self, path: &[u8], how: OpenHow) -> Result<Arc<Description>> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let flags = how.flags;
        if flags & O_PATH != 0 {
            return self.open_path(path, how);
        }
        if flags & O_CREAT != 0 && flags & O_DIRECTORY != 0 {
            return Err(Errno::EINVAL);
        }
        if flags & __O_TMPFILE != 0 {
            return self.open_temporary(path, how);
        }
        let (place, origin) = if flags & O_CREAT != 0 {
            self.find_or_create(path, how)?
        } else {
            let last = if flags & O_NOFOLLOW != 0 {
                LastLink::Keep
            } else {
                LastLink::Follow
            };
            (self.find_with(path, last, how.resolve)?, Origin::Found)
        };
        self.open_place(place, flags, origin)
    }

    /// Opens a place that was found already (`/proc/<pid>/exe` for exec, open_by_handle).
    ///
    /// # Errors
    /// Those of open(2).
    pub fn reopen(&self, place: Path, flags: u32) -> Result<Arc<Description>> {
        self.open_place(place, flags, Origin::Found)
    }

    fn open_path(&self, path: &[u8], how: OpenHow) -> Result<Arc<Description>> {
        let last = if how.flags & O_NOFOLLOW != 0 {
            LastLink::Keep
        } else {
            LastLink::Follow
        };
        let place = self.find_with(path, last, how.resolve)?;
        if how.flags & O_DIRECTORY != 0 && !place.dentry().is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let shown = how.flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW);
        let file = Arc::new(PathFile {
            inode: Arc::clone(place.inode()),
        });
        let flags = StatusFlags::from_bits_truncate(shown);
        Ok(Description::shared(
            file,
            AccessMode::Path,
            flags,
            Some(place),
        ))
    }

    fn find_or_create(&self, path: &[u8], how: OpenHow) -> Result<(Path, Origin)> {
        let exclusive = how.flags & O_EXCL != 0;
        let mut walk = Walk::new(self, path, how.resolve)?;
        loop {
            let Last::Name { name, slashes } = walk.last()? else {
                return already(walk.at.clone(), exclusive);
            };
            if matches!(walk.name(&name), b"." | b"..") {
                return already(walk.step(walk.name(&name))?, exclusive);
            }
            if slashes {
                return Err(Errno::EISDIR);
            }
            match walk.step(walk.name(&name)) {
                Ok(found) => {
                    if exclusive {
                        return Err(Errno::EEXIST);
                    }
                    if found.dentry().kind() == FileType::Symlink && how.flags & O_NOFOLLOW == 0 {
                        if walk.follow(&found)? {
                            return Ok((walk.at.clone(), Origin::Found));
                        }
                        continue;
                    }
                    return Ok((found, Origin::Found));
                }
                Err(Errno::ENOENT) => {
                    if let Some(place) = self.create_at(&walk.at, walk.name(&name), how.mode)? {
                        return Ok((place, Origin::Created));
                    }
                    // Somebody else made it in between: take theirs.
                    if exclusive {
                        return Err(Errno::EEXIST);
                    }
                    let found = walk.step(walk.name(&name))?;
                    if found.dentry().kind() != FileType::Symlink {
                        return Ok((found, Origin::Found));
                    }
                    return Err(Errno::ELOOP);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn create_at(&self, dir: &Path, name: &[u8], mode: u32) -> Result<Option<Path>> {
        dir.mount().writable()?;
        may_add(dir.dentry(), self.who())?;
        match self.make_child(dir, name, NewNode::Regular, mode & 0o7777) {
            Ok(child) => {
                dir.notify_child(IN_CREATE, name);
                Ok(Some(child))
            }
            Err(Errno::EEXIST) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_temporary(&self, path: &[u8], how: OpenHow) -> Result<Arc<Description>> {
        let access = AccessMode::from_flags(how.flags);
        if !access.writable() || how.flags & O_DIRECTORY == 0 {
            return Err(Errno::EINVAL);
        }
        let dir = self.find_with(path, LastLink::Follow, how.resolve)?;
        if !dir.dentry().is_dir() {
            return Err(Errno::ENOTDIR);
        }
        dir.mount().writable()?;
        may_add(dir.dentry(), self.who())?;
        let inode = dir.inode().temporary(how.mode & 0o7777, self.who())?;
        let name = format!("#{}", inode.attr()?.ino);
        let dentry = dir.dentry().unnamed(name.as_bytes(), inode)?;
        self.open_place(
            dir.with(dentry),
            how.flags & !(__O_TMPFILE | O_DIRECTORY),
            Origin::Created,
        )
    }

    fn open_place(&self, place: Path, flags: u32, origin: Origin) -> Result<Arc<Description>> {
        let access = AccessMode::from_flags(flags);
        let kind = place.dentry().kind();
        check_kind(kind, access, flags)?;
        if place.mount().flags().contains(MountFlags::NODEV)
            && matches!(kind, FileType::CharDevice | FileType::BlockDevice)
        {
            return Err(Errno::EACCES);
        }
        let truncate = flags & O_TRUNC != 0 && kind == FileType::Regular;
        let stored = matches!(kind, FileType::Regular | FileType::Directory);
        if stored && (access.writable() || truncate) && origin == Origin::Found {
            check(place.inode().as_ref(), self.who(), wanted(access, truncate))?;
            place.mount().writable()?;
        } else if origin == Origin::Found {
            check(place.inode().as_ref(), self.who(), wanted(access, truncate))?;
        }
        if flags & O_NOATIME != 0 && !self.who().owns(&place.inode().attr()?) {
            return Err(Errno::EPERM);
        }
        let file = open_inode(&place, kind, flags)?;
        if truncate && origin == Origin::Found {
            let change = SetAttr {
                size: Some(0),
                ..SetAttr::default()
            };
            place.inode().set_attr(&change)?;
            place.notify(IN_MODIFY);
        }
        let status = StatusFlags::from_bits_truncate(flags) - StatusFlags::PATH;
        let description = Description::shared(file, access, status, Some(place));
        description.notify(IN_OPEN);
        Ok(description)
    }
}

fn already(place: Path, exclusive: bool) -> Result<(Path, Origin)> {
    if exclusive {
        return Err(Errno::EEXIST);
    }
    if place.dentry().is_dir() {
        return Err(Errno::EISDIR);
    }
    Ok((place, Origin::Found))
}

fn check_kind(kind: FileType, access: AccessMode, flags: u32) -> Result<()> {
    match kind {
        FileType::Symlink => Err(if flags & O_DIRECTORY != 0 {
            Errno::ENOTDIR
        } else {
            Errno::ELOOP
        }),
        FileType::Directory if access.writable() || flags & O_CREAT != 0 => Err(Errno::EISDIR),
        FileType::Directory => Ok(()),
        _ if flags & O_DIRECTORY != 0 => Err(Errno::ENOTDIR),
        _ => Ok(()),
    }
}

fn wanted(access: AccessMode, truncate: bool) -> Access {
    let mut want = Access::empty();
    want.set(Access::READ, access.readable());
    want.set(Access::WRITE, access.writable() || truncate);
    want
}

fn open_inode(place: &Path, kind: FileType, flags: u32) -> Result<Arc<dyn File>> {
    let inode = Arc::clone(place.inode());
    match kind {
        FileType::Fifo | FileType::CharDevice | FileType::BlockDevice => {
            place.mount().vfs().drivers.open(&inode, kind, flags)
        }
        _ => inode.open(flags),
    }
}

/// Opens the file behind a place once more, as a description that was open before had it: nothing
/// is checked, created or cut off.
pub(crate) fn again(place: &Path, access: AccessMode, flags: u32) -> Result<Arc<dyn File>> {
    if access == AccessMode::Path {
        return Ok(Arc::new(PathFile {
            inode: Arc::clone(place.inode()),
        }));
    }
    open_inode(place, place.dentry().kind(), flags & !O_TRUNC)
}

/// What an `O_PATH` descriptor has for a file: a status and nothing else.
struct PathFile {
    inode: Arc<dyn Inode>,
}

impl File for PathFile {
    fn inode(&self) -> Option<&Arc<dyn Inode>> {
        Some(&self.inode)
    }

    fn pollable(&self) -> bool {
        false
    }
}
