//! An open file or directory of the tree.

use std::fs::File as HostFile;
use std::ops::Range;
use std::sync::Arc;

use base_abi::general::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE};
use kernel_vfs::{AccessMode, DirEntry, Errno, Events, File, Inode, PollTable, Result, Whence};

use super::content::{Content, Grow, MapUse};
use super::node::Node;

pub(super) struct OpenFile {
    inode: Arc<dyn Inode>,
    node: Arc<Node>,
    access: AccessMode,
}

impl OpenFile {
    pub(super) fn open(node: Arc<Node>, flags: u32) -> Arc<dyn File> {
        Arc::new(OpenFile {
            inode: Arc::clone(&node) as Arc<dyn Inode>,
            node,
            access: AccessMode::from_flags(flags),
        })
    }

    /// The file of a lower layer that still holds the contents, if they come when they are asked for.
    fn lazy_lower(&self) -> Option<Arc<dyn File>> {
        let content = self.node.content().ok()?.read();
        let lower = content.lower_file()?;
        lower.lazy().then(|| Arc::clone(lower))
    }

    /// Changes contents and stamps the times.
    fn change<T>(&self, change: impl FnOnce(&mut Content) -> Result<T>) -> Result<T> {
        let content = self.node.content()?;
        self.node.changing()?;
        let done = change(&mut content.write())?;
        self.node.meta.lock().modified();
        Ok(done)
    }
}

impl File for OpenFile {
    fn inode(&self) -> Option<&Arc<dyn Inode>> {
        Some(&self.inode)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn pollable(&self) -> bool {
        false
    }

    fn size(&self) -> Result<u64> {
        match self.node.content() {
            Ok(content) => Ok(content.read().size()),
            Err(_) => Ok(0),
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.node.content()?.read().read(offset, buf)
    }

    fn lazy(&self) -> bool {
        self.lazy_lower().is_some()
    }

    fn fetch(&self, range: Range<u64>) -> Result<()> {
        self.lazy_lower().map_or(Ok(()), |lower| lower.fetch(range))
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        let always = Events::READABLE | Events::WRITABLE;
        self.lazy_lower().map_or(always, |lower| lower.poll(table))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<usize> {
        self.change(|content| content.write(offset, data))
    }

    fn append(&self, data: &[u8]) -> Result<(usize, u64)> {
        self.change(|content| {
            let end = content.size();
            let n = content.write(end, data)?;
            Ok((n, end + n as u64))
        })
    }

    fn seek_data_or_hole(&self, offset: u64, whence: Whence) -> Result<u64> {
        let content = self.node.content().map_err(|_| Errno::EINVAL)?;
        content.read().seek(offset, whence)
    }

    fn read_dir(&self, from: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        let entries = self.node.entries()?;
        self.node.alive()?;
        entries.lock().read(self.node.ino(), from, emit)
    }

    fn memory_file(&self) -> Result<Arc<HostFile>> {
        let content = self.node.content().map_err(|_| Errno::ENODEV)?;
        if self.access.writable() {
            self.node.changing()?;
            return content.write().memory_file(MapUse::Write);
        }
        let mut content = content.write();
        let file = content.memory_file(MapUse::Read)?;
        if content.is_own() {
            self.node.changing()?;
        }
        Ok(file)
    }

    fn truncate(&self, len: u64) -> Result<()> {
        self.change(|content| content.truncate(len))
    }

    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        self.node.content().map_err(|_| Errno::ENODEV)?;
        const PUNCH: u32 = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        match mode {
            0 => self.change(|content| content.reserve(offset, len, Grow::Size)),
            FALLOC_FL_KEEP_SIZE => {
                self.change(|content| content.reserve(offset, len, Grow::Nothing))
            }
            PUNCH => self.change(|content| content.punch(offset, len)),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn sync(&self) -> Result<()> {
        if let Ok(content) = self.node.content() {
            content.write().refresh();
        }
        Ok(())
    }
}
