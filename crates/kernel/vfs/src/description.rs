//! Open file descriptions (open(2), "Open file descriptions").

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::attr::InodeId;
use crate::notify::{IN_ACCESS, IN_CLOSE_NOWRITE, IN_CLOSE_WRITE, IN_MODIFY};
use crate::signal_driven::{SharedSettings, SignalDriven, Signals};
use crate::status::{AccessMode, StatusFlags};
use crate::{Errno, File, FileLocks, Inode, Notify, Path, Registration, Result, Whence};

/// Numbers descriptions, which own locks by it.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// An open file description: a file, an offset and status flags, shared by duplicated descriptors.
pub struct Description {
    id: u64,
    file: Arc<dyn File>,
    access: AccessMode,
    flags: AtomicU32,
    offset: Mutex<u64>,
    location: Option<Path>,
    /// The lock table that may hold locks of this description.
    locks: OnceLock<Arc<FileLocks>>,
    /// Whom it tells that it is ready.
    signals: Signals,
}

impl Description {
    /// A description without a place in the file tree (pipes, sockets, `anon_inode`s).
    #[must_use]
    pub fn anonymous(
        file: Arc<dyn File>,
        access: AccessMode,
        flags: StatusFlags,
    ) -> Arc<Description> {
        Arc::new(Description::new(file, access, flags, None))
    }

    /// A description with its place.
    #[must_use]
    pub fn new(
        file: Arc<dyn File>,
        access: AccessMode,
        flags: StatusFlags,
        location: Option<Path>,
    ) -> Description {
        file.flags_changed(flags);
        Description {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            file,
            access,
            flags: AtomicU32::new(flags.bits()),
            offset: Mutex::new(0),
            location,
            locks: OnceLock::new(),
            signals: Signals::default(),
        }
    }

    /// As [`new`](Description::new), shared.
    #[must_use]
    pub fn shared(
        file: Arc<dyn File>,
        access: AccessMode,
        flags: StatusFlags,
        location: Option<Path>,
    ) -> Arc<Description> {
        Arc::new(Description::new(file, access, flags, location))
    }

    /// Unique among all descriptions of this process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The inode: of the file, or of the place it was opened at.
    #[must_use]
    pub fn inode(&self) -> Option<&Arc<dyn Inode>> {
        self.file
            .inode()
            .or_else(|| self.location.as_ref().map(Path::inode))
    }

    /// What makes it the same file as another, for locks.
    ///
    /// # Errors
    /// What the file's status fails with.
    pub fn inode_id(&self) -> Result<InodeId> {
        match self.inode() {
            Some(inode) => inode.id(),
            None => self.file.stat().map(|stat| InodeId {
                dev: stat.dev,
                ino: stat.ino,
            }),
        }
    }

    /// From now on the end of the description releases its locks in this table.
    pub(crate) fn owns_locks_in(&self, locks: &Arc<FileLocks>) {
        self.locks.get_or_init(|| Arc::clone(locks));
    }

    /// The operations.
    #[must_use]
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// The file as a concrete type.
    #[must_use]
    pub fn downcast<T: File>(&self) -> Option<&T> {
        let any: &dyn std::any::Any = self.file.as_ref();
        any.downcast_ref::<T>()
    }

    /// What it was opened for.
    #[must_use]
    pub fn access(&self) -> AccessMode {
        self.access
    }

    /// Current status flags.
    #[must_use]
    pub fn flags(&self) -> StatusFlags {
        StatusFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Replaces the status flags (`F_SETFL`, `FIONBIO`).
    pub fn set_flags(&self, flags: StatusFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
        self.file.flags_changed(flags);
    }

    /// Who is sent signals about it, if anybody ever was to be (fcntl(2), `F_SETOWN`).
    #[must_use]
    pub fn signals(&self) -> Option<SignalDriven> {
        self.signals.settings()
    }

    /// The same to change, and to read by who sends them.
    #[must_use]
    pub fn signal_settings(&self) -> SharedSettings {
        self.signals.shared()
    }

    /// From now on this target is told by these queues, and no other.
    pub fn set_signal_watch(&self, watch: Option<(Arc<dyn Notify>, Vec<Registration>)>) {
        self.signals.set_watch(watch);
    }

    /// Whether calls on it must not wait.
    #[must_use]
    pub fn nonblocking(&self) -> bool {
        self.flags().contains(StatusFlags::NONBLOCK)
    }

    /// Where it was opened, for `/proc/<pid>/fd`, `*at` calls and fchdir(2); see also [`Path::of`].
    #[must_use]
    pub fn location(&self) -> Option<&Path> {
        self.location.as_ref()
    }

    pub(crate) fn set_offset(&self, offset: u64) {
        *self.offset.lock() = offset;
    }

    /// Current offset.
    #[must_use]
    pub fn offset(&self) -> u64 {
        *self.offset.lock()
    }

    /// Reads at the offset and moves it.
    ///
    /// # Errors
    /// `EBADF` unless opened for reading; the file's own errors.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize> {
        self.need(self.access.readable())?;
        if !self.file.seekable() {
            return self.file.read_at(0, buf);
        }
        let mut offset = self.offset.lock();
        let n = self.file.read_at(*offset, buf)?;
        *offset += n as u64;
        drop(offset);
        self.notify(IN_ACCESS);
        Ok(n)
    }

    /// Takes back the end of what the last [`read`](Description::read) gave: its reader's memory was not there.
    pub fn put_back(&self, rest: &[u8]) {
        if self.file.seekable() {
            let mut offset = self.offset.lock();
            *offset = offset.saturating_sub(rest.len() as u64);
        } else {
            self.file.put_back(rest);
        }
    }

    /// Goes back to where a directory's listing was, or on to the position of an entry.
    pub fn list_from(&self, position: u64) {
        self.set_offset(position);
    }

    /// Writes at the offset, or at the end with `O_APPEND`, and moves it.
    ///
    /// # Errors
    /// `EBADF` unless opened for writing; the file's own errors.
    pub fn write(&self, data: &[u8]) -> Result<usize> {
        self.need(self.access.writable())?;
        if !self.file.seekable() {
            return self.file.write_at(0, data);
        }
        let mut offset = self.offset.lock();
        if self.flags().contains(StatusFlags::APPEND) {
            let (n, end) = self.file.append(data)?;
            *offset = end;
            drop(offset);
            self.notify(IN_MODIFY);
            return Ok(n);
        }
        let n = self.file.write_at(*offset, data)?;
        *offset += n as u64;
        drop(offset);
        self.notify(IN_MODIFY);
        Ok(n)
    }

    /// pread(2).
    ///
    /// # Errors
    /// `ESPIPE` for streams, `EBADF`.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.need_seekable()?;
        self.need(self.access.readable())?;
        let n = self.file.read_at(offset, buf)?;
        self.notify(IN_ACCESS);
        Ok(n)
    }

    /// pwrite(2); Linux appends on an `O_APPEND` description whatever the offset.
    ///
    /// # Errors
    /// `ESPIPE` for streams, `EBADF`.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<usize> {
        self.need_seekable()?;
        self.need(self.access.writable())?;
        let n = if self.flags().contains(StatusFlags::APPEND) {
            self.file.append(data)?.0
        } else {
            self.file.write_at(offset, data)?
        };
        self.notify(IN_MODIFY);
        Ok(n)
    }

    /// Writes at the end whatever the offset, which stays (pwritev2(2), `RWF_APPEND`).
    ///
    /// # Errors
    /// As [`write`](Description::write).
    pub fn write_end(&self, data: &[u8]) -> Result<usize> {
        self.need(self.access.writable())?;
        if !self.file.seekable() {
            return self.file.write_at(0, data);
        }
        let n = self.file.append(data)?.0;
        self.notify(IN_MODIFY);
        Ok(n)
    }

    /// lseek(2).
    ///
    /// # Errors
    /// `ESPIPE`, `EINVAL` for a negative result, `ENXIO`.
    pub fn seek(&self, distance: i64, whence: Whence) -> Result<u64> {
        self.need(self.access != AccessMode::Path)?;
        self.need_seekable()?;
        let mut offset = self.offset.lock();
        let target = match whence {
            Whence::Set => 0u64.checked_add_signed(distance),
            Whence::Current => offset.checked_add_signed(distance),
            Whence::End => self.file.size()?.checked_add_signed(distance),
            Whence::Data | Whence::Hole => {
                let at = u64::try_from(distance).map_err(|_| Errno::ENXIO)?;
                Some(self.file.seek_data_or_hole(at, whence)?)
            }
        };
        let target = target
            .filter(|t| i64::try_from(*t).is_ok())
            .ok_or(Errno::EINVAL)?;
        *offset = target;
        Ok(target)
    }

    /// ftruncate(2).
    ///
    /// # Errors
    /// `EINVAL` unless opened for writing; the file's own errors.
    pub fn truncate(&self, len: u64) -> Result<()> {
        if !self.access.writable() {
            return Err(Errno::EINVAL);
        }
        self.file.truncate(len)?;
        self.notify(IN_MODIFY);
        Ok(())
    }

    /// fallocate(2) with its mode bits.
    ///
    /// # Errors
    /// `EBADF` unless opened for writing; the file's own errors.
    pub fn allocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        self.need(self.access.writable())?;
        self.file.allocate(mode, offset, len)?;
        self.notify(IN_MODIFY);
        Ok(())
    }

    /// Lists a directory from the offset; `emit` returning false stops before that entry is consumed.
    ///
    /// # Errors
    /// `ENOTDIR`, `ENOENT` for a removed directory.
    pub fn read_dir(&self, emit: &mut dyn FnMut(crate::DirEntry<'_>) -> bool) -> Result<()> {
        self.need(self.access != AccessMode::Path)?;
        let mut offset = self.offset.lock();
        let mut at = *offset;
        let result = self.file.read_dir(at, &mut |entry| {
            let next = entry.next;
            let more = emit(entry);
            if more {
                at = next;
            }
            more
        });
        *offset = at;
        result
    }

    fn need(&self, allowed: bool) -> Result<()> {
        if allowed { Ok(()) } else { Err(Errno::EBADF) }
    }

    fn need_seekable(&self) -> Result<()> {
        if self.file.seekable() {
            Ok(())
        } else {
            Err(Errno::ESPIPE)
        }
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        if let Some(locks) = self.locks.get() {
            locks.release_description(self.id);
        }
        if self.access != AccessMode::Path {
            self.notify(if self.access.writable() {
                IN_CLOSE_WRITE
            } else {
                IN_CLOSE_NOWRITE
            });
        }
        // Its own end is nothing to be told of.
        self.signals.end();
        let file = Arc::clone(&self.file);
        file.release();
    }
}
