//! From a path to a place (path_resolution(7), openat2(2)).

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::permission::search;
use crate::{At, Dentry, Errno, FileType, Path, Result};

/// Longest path given by a program, with its terminating zero.
pub const PATH_MAX: usize = 4096;
/// Longest single name.
pub const NAME_MAX: usize = 255;
/// Symbolic links followed in one walk.
const MAX_LINKS: u32 = 40;

bitflags::bitflags! {
    /// `RESOLVE_*` of openat2(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Resolve: u64 {
        /// Do not cross mounts.
        const NO_XDEV = 1;
        /// Do not follow the links of `/proc`.
        const NO_MAGICLINKS = 2;
        /// Do not follow any link.
        const NO_SYMLINKS = 4;
        /// Stay below the starting directory.
        const BENEATH = 8;
        /// Treat the starting directory as the root.
        const IN_ROOT = 16;
        /// Only if nothing must be looked up anew; here a hint.
        const CACHED = 32;
    }
}

/// Whether a link in the last place is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLink {
    /// Yes.
    Follow,
    /// No: the link itself is meant (`AT_SYMLINK_NOFOLLOW`, `O_NOFOLLOW`).
    Keep,
}

/// The last component of a path, with the walk standing in its directory.
pub(crate) enum Last {
    /// There is none: `/`, or nothing but slashes and dots.
    Here,
    /// A name, and whether slashes follow it, so that it must be a directory.
    Name { name: Name, slashes: bool },
}

/// Where in the walk's text a name stands.
pub(crate) type Name = Range<usize>;

/// A walk in progress.
pub(crate) struct Walk<'a> {
    view: &'a At<'a>,
    resolve: Resolve,
    root: &'a Path,
    start: &'a Path,
    pub(crate) at: Path,
    text: Cow<'a, [u8]>,
    pos: usize,
    links: u32,
}

impl<'a> Walk<'a> {
    /// Begins a walk; `path` is not empty.
    pub(crate) fn new(view: &'a At<'a>, path: &'a [u8], resolve: Resolve) -> Result<Walk<'a>> {
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let start = view.start();
        let root = if resolve.contains(Resolve::IN_ROOT) {
            start
        } else {
            view.fs().root()
        };
        let mut walk = Walk {
            view,
            resolve,
            root,
            at: start.clone(),
            start,
            text: Cow::Borrowed(path),
            pos: 0,
            links: 0,
        };
        if path.first() == Some(&b'/') {
            walk.jump_to_root()?;
        } else if !walk.at.dentry().is_dir() && !path.is_empty() {
            return Err(Errno::ENOTDIR);
        }
        Ok(walk)
    }

    /// Walks to the directory of the last component.
    pub(crate) fn last(&mut self) -> Result<Last> {
        loop {
            let rest = &self.text[self.pos..];
            let lead = rest.iter().take_while(|b| **b == b'/').count();
            let rest = &rest[lead..];
            let len = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            if len == 0 {
                return Ok(Last::Here);
            }
            if len > NAME_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            let begin = self.pos + lead;
            let end = begin + len;
            self.pos = end;
            if self.text[end..].iter().all(|b| *b == b'/') {
                let slashes = end < self.text.len();
                return Ok(Last::Name {
                    name: begin..end,
                    slashes,
                });
            }
            self.enter(begin, end)?;
        }
    }

    /// Walks to the end.
    pub(crate) fn finish(&mut self, last: LastLink) -> Result<Path> {
        loop {
            let Last::Name { name, slashes } = self.last()? else {
                return Ok(self.at.clone());
            };
            let found = self.step(self.name(&name))?;
            let follow = last == LastLink::Follow || slashes;
            if follow && found.dentry().kind() == FileType::Symlink {
                if self.follow(&found)? {
                    return Ok(self.at.clone());
                }
                continue;
            }
            if slashes && !found.dentry().is_dir() {
                return Err(Errno::ENOTDIR);
            }
            return Ok(found);
        }
    }

    /// The bytes of a name.
    pub(crate) fn name(&self, name: &Name) -> &[u8] {
        &self.text[name.clone()]
    }

    fn enter(&mut self, begin: usize, end: usize) -> Result<()> {
        let found = self.step(&self.text[begin..end])?;
        if found.dentry().kind() == FileType::Symlink {
            self.follow(&found)?;
        } else {
            self.at = found;
        }
        if self.at.dentry().is_dir() {
            Ok(())
        } else {
            Err(Errno::ENOTDIR)
        }
    }

    /// The place one name further; a link is not followed.
    pub(crate) fn step(&self, name: &[u8]) -> Result<Path> {
        search(self.at.dentry(), self.view.who())?;
        match name {
            b"." => Ok(self.at.clone()),
            b".." => self.parent(),
            _ => {
                let child = self.at.dentry().lookup(name)?;
                self.arrive(child)
            }
        }
    }

    /// The place of a child that was found, which may be covered by a mount.
    pub(crate) fn arrive(&self, child: Arc<Dentry>) -> Result<Path> {
        let path = self.at.with(child);
        if !path.dentry().is_mount_point() {
            return Ok(path);
        }
        let top = self.view.fs().table().topmost(path);
        self.same_mount(&top)?;
        Ok(top)
    }

    fn parent(&self) -> Result<Path> {
        if self.resolve.contains(Resolve::BENEATH) && self.at.same(self.start) {
            return Err(Errno::EXDEV);
        }
        let mut at = self.at.clone();
        loop {
            if at.same(self.root) {
                return Ok(at);
            }
            if !Arc::ptr_eq(at.dentry(), at.mount().root()) {
                break;
            }
            let Some(point) = at.mount().point() else {
                return Ok(at);
            };
            if self.resolve.contains(Resolve::NO_XDEV) {
                return Err(Errno::EXDEV);
            }
            at = point;
        }
        let Some(parent) = at.dentry().parent() else {
            return Ok(at);
        };
        Ok(self.view.fs().table().topmost(at.with(parent)))
    }

    /// Follows a link found at `self.at`. True when it led to a place at once (a magic link)
    /// and nothing of the path is left.
    pub(crate) fn follow(&mut self, link: &Path) -> Result<bool> {
        self.links += 1;
        if self.links > MAX_LINKS || self.resolve.contains(Resolve::NO_SYMLINKS) {
            return Err(Errno::ELOOP);
        }
        if let Some(place) = link.inode().magic_link()? {
            if self.resolve.contains(Resolve::NO_MAGICLINKS) {
                return Err(Errno::ELOOP);
            }
            if self.resolve.intersects(Resolve::BENEATH | Resolve::IN_ROOT) {
                return Err(Errno::EXDEV);
            }
            self.same_mount(&place)?;
            self.at = place;
            let rest = &self.text[self.pos..];
            let done = rest.iter().all(|b| *b == b'/');
            if done && !rest.is_empty() && !self.at.dentry().is_dir() {
                return Err(Errno::ENOTDIR);
            }
            return Ok(done);
        }
        let mut text = link.inode().read_link()?;
        if text.is_empty() {
            return Err(Errno::ENOENT);
        }
        if text[0] == b'/' {
            self.jump_to_root()?;
        }
        text.extend_from_slice(&self.text[self.pos..]);
        self.text = Cow::Owned(text);
        self.pos = 0;
        // What follows an intermediate link is walked by the caller's loop, from `self.at`.
        Ok(false)
    }

    fn jump_to_root(&mut self) -> Result<()> {
        if self.resolve.contains(Resolve::BENEATH) {
            return Err(Errno::EXDEV);
        }
        let root = self.root.clone();
        self.same_mount(&root)?;
        self.at = root;
        Ok(())
    }

    fn same_mount(&self, to: &Path) -> Result<()> {
        let crossed = !Arc::ptr_eq(self.at.mount(), to.mount());
        if crossed && self.resolve.contains(Resolve::NO_XDEV) {
            return Err(Errno::EXDEV);
        }
        Ok(())
    }
}

impl At<'_> {
    /// Finds a place.
    ///
    /// # Errors
    /// `ENOENT` (also for an empty path), `ENOTDIR`, `EACCES`, `ELOOP`, `ENAMETOOLONG`.
    pub fn find(&self, path: &[u8], last: LastLink) -> Result<Path> {
        self.find_with(path, last, Resolve::empty())
    }

    /// Finds a place under the restrictions of openat2(2).
    ///
    /// # Errors
    /// As [`find`](At::find); `EXDEV` for what leaves the bounds.
    pub fn find_with(&self, path: &[u8], last: LastLink, resolve: Resolve) -> Result<Path> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        Walk::new(self, path, resolve)?.finish(last)
    }

    /// As [`find`](At::find); an empty path is the starting place itself (`AT_EMPTY_PATH`).
    ///
    /// # Errors
    /// As [`find`](At::find).
    pub fn find_or_start(&self, path: &[u8], last: LastLink) -> Result<Path> {
        if path.is_empty() {
            return Ok(self.start().clone());
        }
        self.find(path, last)
    }
}
