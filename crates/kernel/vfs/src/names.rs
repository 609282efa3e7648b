//! Making, removing and moving names: mkdir(2), mknod(2), link(2), symlink(2), unlink(2), rmdir(2), rename(2).

use std::sync::Arc;

use crate::notify::{
    IN_ATTRIB, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_ISDIR, IN_MOVE_SELF, IN_MOVED_FROM,
    IN_MOVED_TO,
};
use crate::permission::{may_add, may_link, may_remove};
use crate::walk::{Last, LastLink, PATH_MAX, Resolve, Walk};
use crate::{At, Dentry, Errno, FileType, NewNode, Path, RenameMode, Result};

/// A directory and a name in it that need not exist.
struct Slot {
    dir: Path,
    name: Vec<u8>,
    slashes: bool,
}

/// A directory, and what of the path is left: a name, and whether slashes follow it.
type Ending = (Path, Option<(Vec<u8>, bool)>);

impl At<'_> {
    /// mkdir(2); the umask was applied.
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT`, `ENOTDIR`, `EACCES`, `EROFS`, `ENOSPC`.
    pub fn mkdir(&self, path: &[u8], mode: u32) -> Result<()> {
        let slot = self.slot(path, Errno::EEXIST)?;
        self.make(&slot, NewNode::Directory, mode & 0o1777)
    }

    /// mknod(2); the umask was applied. Devices need privilege.
    ///
    /// # Errors
    /// As [`mkdir`](At::mkdir); `EPERM`.
    pub fn mknod(&self, path: &[u8], kind: FileType, mode: u32, rdev: u64) -> Result<()> {
        let node = match kind {
            FileType::Regular => NewNode::Regular,
            FileType::Fifo | FileType::Socket => NewNode::Special(kind, 0),
            FileType::CharDevice | FileType::BlockDevice if self.who().privileged => {
                NewNode::Special(kind, rdev)
            }
            FileType::Directory => return Err(Errno::EPERM),
            FileType::Symlink => return Err(Errno::EINVAL),
            _ => return Err(Errno::EPERM),
        };
        let slot = self.slot(path, Errno::EEXIST)?;
        slot.refuse_slashes()?;
        self.make(&slot, node, mode & 0o7777)
    }

    /// mknod(2) for the socket of bind(2); gives the place, whose inode the socket layer remembers.
    ///
    /// # Errors
    /// As [`mknod`](At::mknod); an existing name is `EEXIST`.
    pub fn bind_socket(&self, path: &[u8], mode: u32) -> Result<Path> {
        self.mknod(path, FileType::Socket, mode, 0)?;
        self.find(path, LastLink::Keep)
    }

    /// symlink(2).
    ///
    /// # Errors
    /// As [`mkdir`](At::mkdir); `ENOENT` for an empty target.
    pub fn symlink(&self, target: &[u8], path: &[u8]) -> Result<()> {
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        if target.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let slot = self.slot(path, Errno::EEXIST)?;
        slot.refuse_slashes()?;
        self.make(&slot, NewNode::Symlink(target), 0o777)
    }

    /// link(2): another name for a place found before.
    ///
    /// # Errors
    /// `EXDEV` across mounts, `EPERM` for directories, and as [`mkdir`](At::mkdir).
    pub fn link(&self, from: &Path, path: &[u8]) -> Result<()> {
        let slot = self.slot(path, Errno::EEXIST)?;
        slot.refuse_slashes()?;
        let dir = &slot.dir;
        if self.exists(&slot)? {
            return Err(Errno::EEXIST);
        }
        if !Arc::ptr_eq(from.mount(), dir.mount()) {
            return Err(Errno::EXDEV);
        }
        may_link(&from.attr()?, self.who())?;
        dir.mount().writable()?;
        may_add(dir.dentry(), self.who())?;
        if from.dentry().is_dir() {
            return Err(Errno::EPERM);
        }
        let parent = dir.dentry();
        {
            let _changing = parent.changing.lock();
            refuse_deleted(parent)?;
            parent.inode().link(&slot.name, from.inode())?;
            parent.adopt(&slot.name, Arc::clone(from.inode()))?;
        }
        from.notify(IN_ATTRIB);
        dir.notify_child(IN_CREATE, &slot.name);
        Ok(())
    }

    /// unlink(2).
    ///
    /// # Errors
    /// `EISDIR`, `ENOENT`, `EACCES`, `EPERM`, `EBUSY`, `EROFS`.
    pub fn unlink(&self, path: &[u8]) -> Result<()> {
        let slot = self.slot(path, Errno::EISDIR)?;
        let dir = slot.dir.dentry();
        let child = {
            let _changing = dir.changing.lock();
            let child = dir.lookup_changing(&slot.name)?;
            if slot.slashes {
                return Err(if child.is_dir() {
                    Errno::EISDIR
                } else {
                    Errno::ENOTDIR
                });
            }
            slot.dir.mount().writable()?;
            may_remove(dir, &child, self.who())?;
            if child.is_dir() {
                return Err(Errno::EISDIR);
            }
            refuse_mounted(&child)?;
            dir.inode().unlink(&slot.name)?;
            dir.removed(&slot.name, &child);
            child
        };
        self.report_removal(&slot, &child);
        Ok(())
    }

    /// rmdir(2).
    ///
    /// # Errors
    /// `ENOTDIR`, `ENOTEMPTY`, `EINVAL` for `.`, `EBUSY` for roots and mount points, and as [`unlink`](At::unlink).
    pub fn rmdir(&self, path: &[u8]) -> Result<()> {
        let slot = match self.last_of(path)? {
            (_, None) => return Err(Errno::EBUSY),
            (_, Some((name, _))) if name == b"." => return Err(Errno::EINVAL),
            (_, Some((name, _))) if name == b".." => return Err(Errno::ENOTEMPTY),
            (dir, Some((name, slashes))) => Slot { dir, name, slashes },
        };
        let dir = slot.dir.dentry();
        let child = {
            let _changing = dir.changing.lock();
            let child = dir.lookup_changing(&slot.name)?;
            slot.dir.mount().writable()?;
            may_remove(dir, &child, self.who())?;
            if !child.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            refuse_mounted(&child)?;
            dir.inode().rmdir(&slot.name)?;
            dir.removed(&slot.name, &child);
            child
        };
        self.report_removal(&slot, &child);
        Ok(())
    }

    /// rename(2), renameat2(2) from this view's start to another's.
    ///
    /// # Errors
    /// Those of rename(2).
    pub fn rename(&self, path: &[u8], to: &At<'_>, to_path: &[u8], mode: RenameMode) -> Result<()> {
        let (from, to) = (self.last_of(path)?, to.last_of(to_path)?);
        if !Arc::ptr_eq(from.0.mount(), to.0.mount()) {
            return Err(Errno::EXDEV);
        }
        let from = Slot::plain(from).ok_or(Errno::EBUSY)?;
        let to = Slot::plain(to).ok_or(match mode {
            RenameMode::NoReplace => Errno::EEXIST,
            _ => Errno::EBUSY,
        })?;
        let moved = self.rename_slots(&from, &to, mode)?;
        if let Some(moved) = moved {
            report_move(&from, &to, &moved);
        }
        Ok(())
    }

    /// What moved and what was replaced; `None` when both names were one file already.
    fn rename_slots(&self, from: &Slot, to: &Slot, mode: RenameMode) -> Result<Option<Moved>> {
        let (old, new) = (from.dir.dentry(), to.dir.dentry());
        let _renaming = old.tree().renaming.lock();
        let _first = old.changing.lock();
        let _second = (!Arc::ptr_eq(old, new)).then(|| new.changing.lock());
        let source = old.lookup_changing(&from.name)?;
        let target = match new.lookup_changing(&to.name) {
            Ok(target) => Some(target),
            Err(Errno::ENOENT) => None,
            Err(error) => return Err(error),
        };
        self.check_rename(from, to, &source, target.as_ref(), mode)?;
        if let Some(target) = &target
            && Arc::ptr_eq(target.inode(), source.inode())
        {
            return Ok(None);
        }
        old.inode()
            .rename(&from.name, new.inode(), &to.name, mode)?;
        match (&target, mode) {
            (Some(target), RenameMode::Exchange) => {
                old.place(&from.name, target);
                new.place(&to.name, &source);
            }
            _ => old.moved(&from.name, &source, new, &to.name),
        }
        Ok(Some(Moved {
            source,
            target,
            mode,
        }))
    }

    fn check_rename(
        &self,
        from: &Slot,
        to: &Slot,
        source: &Arc<Dentry>,
        target: Option<&Arc<Dentry>>,
        mode: RenameMode,
    ) -> Result<()> {
        let (old, new) = (from.dir.dentry(), to.dir.dentry());
        // The order of the errors is Linux's.
        let exchange = mode == RenameMode::Exchange;
        match (target, mode) {
            (Some(_), RenameMode::NoReplace) => return Err(Errno::EEXIST),
            (None, RenameMode::Exchange) => return Err(Errno::ENOENT),
            (Some(target), RenameMode::Exchange) if to.slashes && !target.is_dir() => {
                return Err(Errno::ENOTDIR);
            }
            _ => {}
        }
        if !source.is_dir() && (from.slashes || (!exchange && to.slashes)) {
            return Err(Errno::ENOTDIR);
        }
        if source.contains(new) {
            return Err(Errno::EINVAL);
        }
        if let Some(target) = target
            && target.contains(old)
        {
            return Err(if exchange {
                Errno::EINVAL
            } else {
                Errno::ENOTEMPTY
            });
        }
        from.dir.mount().writable()?;
        may_remove(old, source, self.who())?;
        match target {
            Some(target) => may_remove(new, target, self.who())?,
            None => may_add(new, self.who())?,
        }
        refuse_deleted(new)?;
        if let Some(target) = target
            && mode != RenameMode::Exchange
        {
            match (source.is_dir(), target.is_dir()) {
                (true, false) => return Err(Errno::ENOTDIR),
                (false, true) => return Err(Errno::EISDIR),
                _ => {}
            }
        }
        refuse_mounted(source)?;
        target.map_or(Ok(()), |t| refuse_mounted(t))
    }

    /// The directory of the last component, and that with whether slashes follow it.
    fn last_of(&self, path: &[u8]) -> Result<Ending> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let mut walk = Walk::new(self, path, Resolve::empty())?;
        let last = walk.last()?;
        crate::permission::search(walk.at.dentry(), self.who())?;
        let last = match last {
            Last::Here => None,
            Last::Name { name, slashes } => Some((walk.name(&name).to_vec(), slashes)),
        };
        Ok((walk.at, last))
    }

    /// A directory and a plain name; `otherwise` for `/`, `.` and `..`.
    fn slot(&self, path: &[u8], otherwise: Errno) -> Result<Slot> {
        Slot::plain(self.last_of(path)?).ok_or(otherwise)
    }

    fn exists(&self, slot: &Slot) -> Result<bool> {
        match slot.dir.dentry().lookup(&slot.name) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn make(&self, slot: &Slot, node: NewNode<'_>, mode: u32) -> Result<()> {
        if self.exists(slot)? {
            return Err(Errno::EEXIST);
        }
        slot.dir.mount().writable()?;
        may_add(slot.dir.dentry(), self.who())?;
        let isdir = matches!(node, NewNode::Directory);
        self.make_child(&slot.dir, &slot.name, node, mode)?;
        let mask = if isdir {
            IN_CREATE | IN_ISDIR
        } else {
            IN_CREATE
        };
        slot.dir.notify_child(mask, &slot.name);
        Ok(())
    }

    /// Creates without asking for permission.
    pub(crate) fn make_child(
        &self,
        dir: &Path,
        name: &[u8],
        node: NewNode<'_>,
        mode: u32,
    ) -> Result<Path> {
        let parent = dir.dentry();
        let _changing = parent.changing.lock();
        refuse_deleted(parent)?;
        if parent.lookup_changing(name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let inode = parent.inode().create(name, node, mode, self.who())?;
        Ok(dir.with(parent.adopt(name, inode)?))
    }

    fn report_removal(&self, slot: &Slot, child: &Arc<Dentry>) {
        if !slot.dir.watched() {
            return;
        }
        let isdir = if child.is_dir() { IN_ISDIR } else { 0 };
        let gone = slot.dir.with(Arc::clone(child));
        if child.inode().attr().is_ok_and(|a| a.nlink > 0) && !child.is_dir() {
            gone.notify_self(IN_ATTRIB);
        } else {
            gone.notify_self(IN_ATTRIB);
            gone.notify_self(IN_DELETE_SELF);
        }
        slot.dir.notify_child(IN_DELETE | isdir, &slot.name);
    }
}

struct Moved {
    source: Arc<Dentry>,
    target: Option<Arc<Dentry>>,
    mode: RenameMode,
}

fn report_move(from: &Slot, to: &Slot, moved: &Moved) {
    if !from.dir.watched() {
        return;
    }
    let one_way = |from: &Slot, to: &Slot, dentry: &Arc<Dentry>| {
        let isdir = if dentry.is_dir() { IN_ISDIR } else { 0 };
        let cookie = from.dir.mount().vfs().notify.next_cookie();
        from.dir
            .notify_moved(IN_MOVED_FROM | isdir, &from.name, cookie);
        to.dir.notify_moved(IN_MOVED_TO | isdir, &to.name, cookie);
        to.dir.with(Arc::clone(dentry)).notify_self(IN_MOVE_SELF);
    };
    one_way(from, to, &moved.source);
    match (&moved.target, moved.mode) {
        (Some(target), RenameMode::Exchange) => one_way(to, from, target),
        (Some(target), _) => {
            let gone = to.dir.with(Arc::clone(target));
            gone.notify_self(IN_ATTRIB);
            if target.inode().attr().is_ok_and(|a| a.nlink == 0) || target.is_dir() {
                gone.notify_self(IN_DELETE_SELF);
            }
        }
        (None, _) => {}
    }
}

fn refuse_deleted(dir: &Dentry) -> Result<()> {
    if dir.is_deleted() {
        Err(Errno::ENOENT)
    } else {
        Ok(())
    }
}

fn refuse_mounted(dentry: &Dentry) -> Result<()> {
    if dentry.is_mount_point() {
        Err(Errno::EBUSY)
    } else {
        Ok(())
    }
}

impl Slot {
    /// A last component that is a plain name, not `/`, `.` or `..`.
    fn plain((dir, last): Ending) -> Option<Slot> {
        let (name, slashes) = last?;
        (name != b"." && name != b"..").then_some(Slot { dir, name, slashes })
    }

    /// `name/` of something that is not to be a directory.
    fn refuse_slashes(&self) -> Result<()> {
        if !self.slashes {
            return Ok(());
        }
        match self.dir.dentry().lookup(&self.name) {
            Ok(_) => Err(Errno::EEXIST),
            Err(_) => Err(Errno::ENOENT),
        }
    }
}
