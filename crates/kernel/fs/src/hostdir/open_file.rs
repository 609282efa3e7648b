//! An open file or directory of a host tree. The host's file is opened when it is first needed.

use std::fs::File as HostFile;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use host_sys::sparse;
use kernel_vfs::{DirEntry, Errno, File, FileType, Inode, Result, Whence};

use super::node::HostNode;

/// Positions of `.` and `..`; entries follow.
const DOT: u64 = 1;
const DOT_DOT: u64 = 2;

type Listing = Vec<(Vec<u8>, u64, FileType)>;

pub(super) struct HostDirFile {
    inode: Arc<dyn Inode>,
    node: Arc<HostNode>,
    listing: OnceLock<Listing>,
}

impl HostDirFile {
    pub(super) fn open(node: Arc<HostNode>) -> Arc<dyn File> {
        Arc::new(HostDirFile {
            inode: Arc::clone(&node) as Arc<dyn Inode>,
            node,
            listing: OnceLock::new(),
        })
    }

    fn listing(&self) -> Result<&Listing> {
        if let Some(listing) = self.listing.get() {
            return Ok(listing);
        }
        let listing = self.node.list()?;
        Ok(self.listing.get_or_init(|| listing))
    }

    fn is_dir(&self) -> bool {
        self.node.file_type() == FileType::Directory
    }
}

impl File for HostDirFile {
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
        Ok(self.node.size())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if self.is_dir() {
            return Err(Errno::EISDIR);
        }
        Ok(self.node.host_file()?.read_at(buf, offset)?)
    }

    fn write_at(&self, _offset: u64, _data: &[u8]) -> Result<usize> {
        Err(Errno::EROFS)
    }

    fn seek_data_or_hole(&self, offset: u64, whence: Whence) -> Result<u64> {
        let file = self.node.host_file()?;
        Ok(match whence {
            Whence::Hole => sparse::next_hole(&file, offset)?,
            _ => sparse::next_data(&file, offset)?,
        })
    }

    fn read_dir(&self, from: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        if !self.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let dots: [(&[u8], u64, u64); 2] = [
            (b".", self.node.ino(), DOT),
            (b"..", self.node.parent_ino(), DOT_DOT),
        ];
        let listing = self.listing()?;
        let entries = listing
            .iter()
            .zip(DOT_DOT + 1..)
            .map(|((name, ino, kind), next)| (name.as_slice(), *ino, *kind, next));
        let dots = dots.map(|(name, ino, next)| (name, ino, FileType::Directory, next));
        for (name, ino, file_type, next) in dots.into_iter().chain(entries) {
            let entry = DirEntry {
                name,
                ino,
                file_type,
                next,
            };
            if next > from && !emit(entry) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn memory_file(&self) -> Result<Arc<HostFile>> {
        self.node.host_file().map_err(|error| match error {
            Errno::EINVAL => Errno::ENODEV,
            other => other,
        })
    }
}
