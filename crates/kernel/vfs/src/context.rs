//! A task's view of the tree: root, working directory, umask; and operations by path.

use std::sync::Arc;

use crate::{Credentials, Errno, MountTable, Path, Result};

/// What `CLONE_FS` shares: root, working directory, umask.
#[derive(Clone)]
pub struct FsContext {
    table: Arc<MountTable>,
    root: Path,
    cwd: Path,
    umask: u32,
}

impl FsContext {
    /// A view as it was saved.
    ///
    /// # Errors
    /// `ENOTDIR`.
    pub fn restored(
        table: Arc<MountTable>,
        root: Path,
        cwd: Path,
        umask: u32,
    ) -> Result<FsContext> {
        if !root.dentry().is_dir() || !cwd.dentry().is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(FsContext {
            table,
            root,
            cwd,
            umask: umask & 0o777,
        })
    }

    /// A view of the whole tree, standing at its root, with umask 022.
    #[must_use]
    pub fn new(table: Arc<MountTable>) -> FsContext {
        let root = table.topmost(table.root().clone());
        FsContext {
            cwd: root.clone(),
            root,
            table,
            umask: 0o022,
        }
    }

    /// The mounts it sees.
    #[must_use]
    pub fn table(&self) -> &Arc<MountTable> {
        &self.table
    }

    /// Where absolute paths begin.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where relative paths begin.
    #[must_use]
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// Permission bits withheld from new files.
    #[must_use]
    pub fn umask(&self) -> u32 {
        self.umask
    }

    /// Sets the umask; returns the one before (umask(2)).
    pub fn set_umask(&mut self, mask: u32) -> u32 {
        std::mem::replace(&mut self.umask, mask & 0o777)
    }

    /// chdir(2) to a place found before.
    ///
    /// # Errors
    /// `ENOTDIR`, `EACCES`.
    pub fn set_cwd(&mut self, to: Path, who: &Credentials) -> Result<()> {
        enterable(&to, who)?;
        self.cwd = to;
        Ok(())
    }

    /// chroot(2) to a place found before.
    ///
    /// # Errors
    /// `ENOTDIR`, `EACCES`, `EPERM` without privilege.
    pub fn set_root(&mut self, to: Path, who: &Credentials) -> Result<()> {
        enterable(&to, who)?;
        if !who.privileged {
            return Err(Errno::EPERM);
        }
        self.root = to;
        Ok(())
    }

    /// getcwd(2), without the terminating zero.
    ///
    /// # Errors
    /// `ENOENT` when the directory was removed.
    pub fn getcwd(&self) -> Result<Vec<u8>> {
        if self.cwd.dentry().is_deleted() {
            return Err(Errno::ENOENT);
        }
        Ok(self.cwd.text(&self.root))
    }
}

fn enterable(to: &Path, who: &Credentials) -> Result<()> {
    if !to.dentry().is_dir() {
        return Err(Errno::ENOTDIR);
    }
    crate::permission::search(to.dentry(), who)
}

/// Operations by path: who asks, in which view, from which directory.
pub struct At<'a> {
    fs: &'a FsContext,
    who: &'a Credentials,
    start: Path,
}

impl<'a> At<'a> {
    /// From the working directory (`AT_FDCWD`).
    #[must_use]
    pub fn cwd(fs: &'a FsContext, who: &'a Credentials) -> At<'a> {
        At {
            fs,
            who,
            start: fs.cwd.clone(),
        }
    }

    /// From a directory descriptor's place. Whether it is a directory is checked when a path is walked.
    #[must_use]
    pub fn dir(fs: &'a FsContext, who: &'a Credentials, start: Path) -> At<'a> {
        At { fs, who, start }
    }

    pub(crate) fn fs(&self) -> &FsContext {
        self.fs
    }

    pub(crate) fn who(&self) -> &Credentials {
        self.who
    }

    pub(crate) fn start(&self) -> &Path {
        &self.start
    }
}
