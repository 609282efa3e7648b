//! What places and open files tell those who watch them.

use crate::notify::{FsEvent, IN_ISDIR};
use crate::{Description, Path};

impl Path {
    /// Whether anybody watches anything in this kernel.
    pub(crate) fn watched(&self) -> bool {
        self.mount().vfs().notify.active()
    }

    /// Tells watchers of this inode, and of its directory with its name.
    pub fn notify(&self, mask: u32) {
        if !self.watched() {
            return;
        }
        let isdir = if self.dentry().is_dir() { IN_ISDIR } else { 0 };
        if let Some(parent) = self.dentry().parent() {
            let name = self.dentry().name();
            self.with(parent).send(mask | isdir, Some(&name), 0);
        }
        self.send(mask | isdir, None, 0);
    }

    /// Tells watchers of this inode only.
    pub(crate) fn notify_self(&self, mask: u32) {
        if self.watched() {
            self.send(mask, None, 0);
        }
    }

    /// Tells watchers of this directory about one of its names.
    pub(crate) fn notify_child(&self, mask: u32, name: &[u8]) {
        self.notify_moved(mask, name, 0);
    }

    pub(crate) fn notify_moved(&self, mask: u32, name: &[u8], cookie: u32) {
        if self.watched() {
            self.send(mask, Some(name), cookie);
        }
    }

    fn send(&self, mask: u32, name: Option<&[u8]>, cookie: u32) {
        let Ok(id) = self.inode().id() else {
            return;
        };
        let event = FsEvent { mask, cookie, name };
        self.mount().vfs().notify.send(id, &event);
    }
}

impl Description {
    /// Tells watchers about an operation on the open file.
    pub(crate) fn notify(&self, mask: u32) {
        if let Some(path) = self.location() {
            path.notify(mask);
        }
    }
}
