//! A place in the tree: a name and the mount it is seen through.

use std::sync::Arc;

use crate::{Dentry, Inode, Mount, Result};

/// A place in the tree: a dentry, seen through a mount.
#[derive(Clone, Debug)]
pub struct Path {
    mount: Arc<Mount>,
    dentry: Arc<Dentry>,
}

impl Path {
    /// A place.
    #[must_use]
    pub fn new(mount: Arc<Mount>, dentry: Arc<Dentry>) -> Path {
        Path { mount, dentry }
    }

    /// A place for an inode outside every tree; `name` is what `/proc/<pid>/fd` shows.
    ///
    /// # Errors
    /// What the inode's attributes fail with.
    pub fn detached(inode: Arc<dyn Inode>, name: &[u8]) -> Result<Path> {
        let fs = inode.fs();
        let dentry = Dentry::detached(inode, name)?;
        let mount = Mount::detached(fs, Arc::clone(&dentry));
        Ok(Path { mount, dentry })
    }

    /// The mount.
    #[must_use]
    pub fn mount(&self) -> &Arc<Mount> {
        &self.mount
    }

    /// The name.
    #[must_use]
    pub fn dentry(&self) -> &Arc<Dentry> {
        &self.dentry
    }

    /// The inode.
    #[must_use]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        self.dentry.inode()
    }

    /// Whether it is this very place.
    #[must_use]
    pub fn same(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }

    /// Another name in the same mount.
    #[must_use]
    pub(crate) fn with(&self, dentry: Arc<Dentry>) -> Path {
        Path {
            mount: Arc::clone(&self.mount),
            dentry,
        }
    }

    /// The absolute path as a task with this root sees it, or `None` where the root does not contain it.
    #[must_use]
    pub fn reachable_from(&self, root: &Path) -> Option<Vec<u8>> {
        let (text, reached) = self.climb(root);
        reached.then_some(text)
    }

    /// What `/proc/<pid>/fd/<n>` and friends show: the path, ` (deleted)` after it when the name is gone,
    /// `(unreachable)` before it when outside of the root.
    #[must_use]
    pub fn text(&self, root: &Path) -> Vec<u8> {
        if self.mount.id() == 0 {
            return self.dentry.name().to_vec();
        }
        let (mut text, reached) = self.climb(root);
        if !reached {
            text.splice(0..0, b"(unreachable)".iter().copied());
        }
        if self.dentry.is_deleted() {
            text.extend_from_slice(b" (deleted)");
        }
        text
    }

    /// The path of a dentry inside its own file system.
    #[must_use]
    pub(crate) fn inside(dentry: &Arc<Dentry>) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = Arc::clone(dentry);
        while let Some(parent) = at.parent() {
            names.push(at.name());
            at = parent;
        }
        join(&names)
    }

    fn climb(&self, root: &Path) -> (Vec<u8>, bool) {
        let mut names = Vec::new();
        let mut at = self.clone();
        let reached = loop {
            if at.same(root) {
                break true;
            }
            if Arc::ptr_eq(&at.dentry, at.mount.root()) {
                match at.mount.point() {
                    Some(point) => at = point,
                    None => break false,
                }
                continue;
            }
            let Some(parent) = at.dentry.parent() else {
                break false;
            };
            names.push(at.dentry.name());
            at = at.with(parent);
        };
        (join(&names), reached)
    }
}

fn join(names: &[Arc<[u8]>]) -> Vec<u8> {
    if names.is_empty() {
        return b"/".to_vec();
    }
    let mut text = Vec::new();
    for name in names.iter().rev() {
        text.push(b'/');
        text.extend_from_slice(name);
    }
    text
}
