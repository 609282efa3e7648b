//! Memory files: host memory without a name, for tmpfs contents and shared mappings (memfd_create(2)).

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

/// Makes a memory file of `len` zero bytes that no guest can execute a set-uid program from.
///
/// # Errors
/// Whatever memfd_create(2) or ftruncate(2) says; `InvalidInput` for a name with a zero byte.
pub fn create(name: &str, len: u64) -> io::Result<File> {
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: needed for a call std does not have; `name` is a C string that outlives it.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: needed to own the descriptor; the kernel just made it and nobody else knows it.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(len)?;
    Ok(file)
}

/// Frees the pages of a range, which reads as zero afterwards; the length stays (fallocate(2), `FALLOC_FL_PUNCH_HOLE`).
///
/// # Errors
/// Whatever fallocate(2) says; `InvalidInput` for a range beyond `i64::MAX`.
pub fn punch_hole(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let len = i64::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: needed for a call std does not have; it takes no pointers and the descriptor is open.
    if unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
