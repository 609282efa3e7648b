//! Pages on their way into the file of a snapshot.

use std::fs::File as HostFile;
use std::io;
use std::os::unix::fs::FileExt;

use kernel_vfs::save::Unsavable;

/// Bytes written at once.
const CHUNK: u64 = 256 << 10;

/// Why memory could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// It has no saved form.
    #[error(transparent)]
    Unsavable(#[from] Unsavable),
    /// The snapshot would be larger than allowed.
    #[error("larger than {limit} bytes")]
    TooLarge {
        /// What is allowed.
        limit: u64,
    },
    /// The snapshot could not be written.
    #[error("the snapshot cannot be written: {0}")]
    Io(#[from] io::Error),
    /// Memory could not be read.
    #[error("guest memory cannot be read: {0}")]
    Memory(String),
}

/// Pages on their way into a snapshot file, one after the other.
pub struct SnapshotWriter<'a> {
    file: &'a HostFile,
    /// Offset of the first byte in `buffer`.
    at: u64,
    buffer: Vec<u8>,
    limit: u64,
    /// Bytes that take room, holes not counted.
    stored: u64,
}

impl<'a> SnapshotWriter<'a> {
    /// Writes from `at`, a page boundary, and stores at most `limit` bytes. What is skipped must be empty.
    #[must_use]
    pub fn new(file: &'a HostFile, at: u64, limit: u64) -> SnapshotWriter<'a> {
        SnapshotWriter {
            file,
            at,
            buffer: Vec::with_capacity(CHUNK as usize),
            limit,
            stored: 0,
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    pub(crate) fn page(&mut self, bytes: &[u8]) -> Result<(), SaveError> {
        self.stored += bytes.len() as u64;
        if self.stored > self.limit {
            return Err(SaveError::TooLarge { limit: self.limit });
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() as u64 >= CHUNK {
            self.flush()?;
        }
        Ok(())
    }

    pub(crate) fn skip(&mut self, len: u64) -> io::Result<()> {
        self.flush()?;
        self.at += len;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left; the end of the pages.
    ///
    /// # Errors
    /// What pwrite(2) or ftruncate(2) says.
    pub fn finish(mut self) -> io::Result<u64> {
        self.flush()?;
        self.file.set_len(self.at)?;
        Ok(self.at)
    }
}
