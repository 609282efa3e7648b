//! Inodes made for open files that have none, so that `/proc/<pid>/fd/<n>` leads somewhere.

use std::sync::Arc;

use base_abi::structs::Stat;

use crate::{Attr, Description, File, FileSystem, FsStat, Inode, Path, Result, SetAttr};

impl Path {
    /// The place of an open file: where it was opened, or one made for a file without a place,
    /// which is what following `/proc/<pid>/fd/<n>` leads to.
    ///
    /// # Errors
    /// What the file's status fails with.
    pub fn of(description: &Description) -> Result<Path> {
        if let Some(path) = description.location() {
            return Ok(path.clone());
        }
        let file = description.file();
        let name = file.anonymous_name();
        let inode = match file.inode() {
            Some(inode) => Arc::clone(inode),
            None => AnonymousInode::wrap(Arc::clone(file)),
        };
        Path::detached(inode, name.as_bytes())
    }
}

/// Stands for a pipe, a socket or an event file where a walk needs an inode.
struct AnonymousInode {
    file: Arc<dyn File>,
}

impl AnonymousInode {
    fn wrap(file: Arc<dyn File>) -> Arc<dyn Inode> {
        Arc::new(AnonymousInode { file })
    }
}

impl Inode for AnonymousInode {
    fn fs(&self) -> Arc<dyn FileSystem> {
        Arc::new(AnonymousFs {
            file: Arc::clone(&self.file),
        })
    }

    fn attr(&self) -> Result<Attr> {
        self.file.stat().map(|stat| attr(&stat))
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        self.file.set_attr(change)
    }

    fn open(self: Arc<Self>, flags: u32) -> Result<Arc<dyn File>> {
        self.file.reopen(flags)
    }
}

fn attr(stat: &Stat) -> Attr {
    Attr {
        dev: stat.dev,
        ino: stat.ino,
        mode: stat.mode,
        nlink: stat.nlink,
        uid: stat.uid,
        gid: stat.gid,
        rdev: stat.rdev,
        size: stat.size.max(0).cast_unsigned(),
        blocks: stat.blocks.max(0).cast_unsigned(),
        atime: stat.atime,
        mtime: stat.mtime,
        ctime: stat.ctime,
        btime: stat.ctime,
    }
}

struct AnonymousFs {
    file: Arc<dyn File>,
}

impl FileSystem for AnonymousFs {
    fn name(&self) -> &'static str {
        "anon_inodefs"
    }

    fn root(&self) -> Arc<dyn Inode> {
        AnonymousInode::wrap(Arc::clone(&self.file))
    }

    fn dev(&self) -> u64 {
        self.file.stat().map_or(0, |stat| stat.dev)
    }

    fn stat(&self) -> FsStat {
        FsStat {
            magic: u64::from(base_abi::general::ANON_INODE_FS_MAGIC),
            block_size: 4096,
            ..FsStat::default()
        }
    }
}
