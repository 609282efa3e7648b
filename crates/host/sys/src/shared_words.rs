//! Words that this process writes and another one reads: a sealed memory file and our mapping of it.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::NonNull;

use crate::check;

/// A shared, writable mapping of a whole file, for words that another process reads.
///
/// There are no references into it: everything goes through volatile copies, so that what
/// the other side does can never break an assumption of the compiler.
#[derive(Debug)]
pub struct SharedWords {
    base: NonNull<u64>,
    words: usize,
}

// SAFETY: needed to share the mapping between threads; the pointer is only used for volatile accesses of
// whole words, which cannot tear, and the mapping lives as long as the value.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Creates a file of `bytes` bytes and maps it. Nobody else can ever write to the file or resize it
    /// (`F_SEAL_FUTURE_WRITE`, Linux 5.1). `name` shows in `/proc/<pid>/maps`.
    ///
    /// # Errors
    /// What memfd_create(2), mmap(2) and fcntl(2) say.
    pub fn create(name: &CStr, bytes: usize) -> io::Result<(File, SharedWords)> {
        // SAFETY: needed because the function takes a C string; `name` is one and outlives the call.
        let fd = unsafe {
            libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
        };
        check(fd.into())?;
        // SAFETY: needed to take ownership of a raw descriptor; it was just returned and nobody else has it.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(bytes as u64)?;
        let words = SharedWords::map(&file, bytes)?;
        let seals =
            libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_FUTURE_WRITE | libc::F_SEAL_SEAL;
        // SAFETY: needed because fcntl is variadic; F_ADD_SEALS takes an int and no pointer.
        check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }.into())?;
        Ok((file, words))
    }

    fn map(file: &File, bytes: usize) -> io::Result<SharedWords> {
        // SAFETY: needed to map memory; a fresh mapping at an address of the kernel's choice disturbs nothing.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(at.cast::<u64>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(SharedWords {
            base,
            words: bytes / 8,
        })
    }

    /// Stores a word.
    ///
    /// # Panics
    /// When `index` is out of range: callers compute it from constants.
    pub fn store(&self, index: usize, value: u64) {
        assert!(index < self.words);
        // SAFETY: needed for memory shared with another process; the index was just checked against the mapping.
        unsafe { self.base.as_ptr().add(index).write_volatile(value) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: needed to give the mapping back; base and length are those that mmap returned.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.words * 8) };
    }
}
