//! What can be opened: the operations behind an open file description.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use base_abi::structs::Stat;

use crate::attr::{FileType, SetAttr};
use crate::save::{Saved, Saver, Unsavable};
use crate::status::StatusFlags;
use crate::{Errno, Events, Inode, PollTable, Result, UserMemory};

/// Origin of a seek (lseek(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// `SEEK_SET`.
    Set,
    /// `SEEK_CUR`.
    Current,
    /// `SEEK_END`.
    End,
    /// `SEEK_DATA`.
    Data,
    /// `SEEK_HOLE`.
    Hole,
}

/// One entry of a directory listing (getdents64(2)).
#[derive(Clone, Debug)]
pub struct DirEntry<'a> {
    /// Name without slashes.
    pub name: &'a [u8],
    /// Inode number.
    pub ino: u64,
    /// Type.
    pub file_type: FileType,
    /// Where reading continues after this entry (`d_off`).
    pub next: u64,
}

/// The operations of an open file. None blocks: `EAGAIN` means wait with [`poll`](File::poll).
///
/// Reads and writes carry the offset; files that are streams ignore it and
/// say so with [`seekable`](File::seekable).
pub trait File: Any + Send + Sync {
    /// The inode, for files that a file system holds.
    fn inode(&self) -> Option<&Arc<dyn Inode>> {
        None
    }

    /// Status for fstat(2); asked of the inode when there is one.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn stat(&self) -> Result<Stat> {
        self.inode()
            .map_or(Err(Errno::EBADF), |inode| inode.attr().map(|a| a.to_stat()))
    }

    /// Changes owner, permission and times of a file without an inode (fchmod(2), fchown(2)).
    ///
    /// # Errors
    /// `EOPNOTSUPP` for what has none of its own (eventfd, epoll).
    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        let _ = change;
        Err(Errno::EOPNOTSUPP)
    }

    /// Whether offsets mean something (`pread` on a stream is `ESPIPE`).
    fn seekable(&self) -> bool {
        false
    }

    /// Reads up to `buf.len()` bytes at `offset`; 0 is the end.
    ///
    /// # Errors
    /// `EAGAIN`, `EINVAL` if not readable, `EISDIR`, …
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let _ = (offset, buf);
        Err(Errno::EINVAL)
    }

    /// Takes back the end of what the last [`read_at`](File::read_at) gave: its reader's memory was not there. Files without
    /// it lose the bytes, as terminals and files of events do on Linux.
    fn put_back(&self, rest: &[u8]) {
        let _ = rest;
    }

    /// Writes up to `data.len()` bytes at `offset`.
    ///
    /// # Errors
    /// `EAGAIN`, `EPIPE` (the caller raises `SIGPIPE`), `ENOSPC`, …
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<usize> {
        let _ = (offset, data);
        Err(Errno::EINVAL)
    }

    /// Writes at the end in one step (`O_APPEND`); returns the count and the offset after it.
    ///
    /// # Errors
    /// As [`write_at`](File::write_at).
    fn append(&self, data: &[u8]) -> Result<(usize, u64)> {
        let end = self.size()?;
        let n = self.write_at(end, data)?;
        Ok((n, end + n as u64))
    }

    /// Bytes in a regular file.
    ///
    /// # Errors
    /// `ESPIPE` for streams.
    fn size(&self) -> Result<u64> {
        if !self.seekable() {
            return Err(Errno::ESPIPE);
        }
        Ok(self.stat()?.size.max(0).cast_unsigned())
    }

    /// `SEEK_DATA`/`SEEK_HOLE`: without knowledge of holes the whole file is data.
    ///
    /// # Errors
    /// `ENXIO` beyond the end.
    fn seek_data_or_hole(&self, offset: u64, whence: Whence) -> Result<u64> {
        let size = self.size()?;
        if offset >= size {
            return Err(Errno::ENXIO);
        }
        Ok(if whence == Whence::Data { offset } else { size })
    }

    /// Lists a directory from a position (`d_off` of an earlier entry, 0 first) until `emit` says false.
    ///
    /// # Errors
    /// `ENOTDIR`.
    fn read_dir(&self, from: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        let _ = (from, emit);
        Err(Errno::ENOTDIR)
    }

    /// Whether content may come later, as of a file that is fetched while it is read. `EAGAIN` of a read is "not yet" then:
    /// callers wait for it with [`poll`](File::poll) whatever `O_NONBLOCK` says, as they would for a disk.
    fn lazy(&self) -> bool {
        false
    }

    /// Asks for the bytes of a range, of which those beyond the end count as there. They stay in
    /// [`memory_file`](File::memory_file) once they are there.
    ///
    /// # Errors
    /// `EAGAIN` while some are missing; `EIO` when they cannot be had.
    fn fetch(&self, range: Range<u64>) -> Result<()> {
        let _ = range;
        Ok(())
    }

    /// Registers with the file's queues, then returns what is ready now. A [lazy](File::lazy) file is readable when all that
    /// was asked for is there.
    fn poll(&self, table: &mut PollTable) -> Events {
        let _ = table;
        Events::READABLE | Events::WRITABLE
    }

    /// Whether epoll(7) accepts it (`EPERM` for regular files and directories).
    fn pollable(&self) -> bool {
        true
    }

    /// Device control (ioctl(2)).
    ///
    /// # Errors
    /// `ENOTTY` for what the file does not know.
    fn ioctl(&self, memory: &dyn UserMemory, request: u32, arg: u64) -> Result<u64> {
        let _ = (memory, request, arg);
        Err(Errno::ENOTTY)
    }

    /// A host file whose contents are this file's, for mmap(2). Reads, writes and mappings stay
    /// coherent from then on.
    ///
    /// # Errors
    /// `ENODEV` for what cannot be mapped.
    fn memory_file(&self) -> Result<Arc<std::fs::File>> {
        Err(Errno::ENODEV)
    }

    /// Changes the length (ftruncate(2)).
    ///
    /// # Errors
    /// `EINVAL` for what has no length.
    fn truncate(&self, len: u64) -> Result<()> {
        let _ = len;
        Err(Errno::EINVAL)
    }

    /// fallocate(2) with its mode bits.
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `ENODEV` for what is not a regular file.
    fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let _ = (mode, offset, len);
        Err(Errno::ENODEV)
    }

    /// fsync(2).
    ///
    /// # Errors
    /// `EINVAL` for what cannot be synchronised.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// Called when a descriptor to it is closed by a task (flush(2) semantics: record locks are the table's matter).
    fn flush(&self) {}

    /// Called when the status flags of its description are set or changed (`O_DIRECT` of pipes,
    /// `O_NONBLOCK` of terminals with `VMIN` above one).
    fn flags_changed(&self, flags: StatusFlags) {
        let _ = flags;
    }

    /// Called after the last descriptor of the description is gone.
    fn release(&self) {}

    /// Opens the same object anew, for following `/proc/<pid>/fd/<n>` of a file without an inode (pipes).
    ///
    /// # Errors
    /// `ENXIO` for what cannot be opened twice.
    fn reopen(&self, flags: u32) -> Result<Arc<dyn File>> {
        let _ = flags;
        Err(Errno::ENXIO)
    }

    /// Extra lines for `/proc/<pid>/fdinfo/<fd>` (proc_pid_fdinfo(5)).
    fn fd_info(&self) -> String {
        String::new()
    }

    /// What a snapshot keeps of it. A file with an inode is opened again where it was.
    ///
    /// # Errors
    /// When it is of a kind that cannot be saved.
    fn save(&self, saver: &mut Saver) -> std::result::Result<Saved, Unsavable> {
        let _ = saver;
        match self.inode() {
            Some(_) => Ok(Saved::Reopen),
            None => Err(Unsavable::new(self.anonymous_name())),
        }
    }

    /// What `/proc/<pid>/fd/<fd>` shows for a file without a path: `pipe:[7]`, `anon_inode:[eventpoll]`.
    fn anonymous_name(&self) -> String {
        String::from("anon_inode:[file]")
    }
}
