//! Descriptors that cross execve(2), by number.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::check;

/// Leaves a descriptor open in the program that a child executes. Do it just before the child is
/// made, in a process that makes no others meanwhile.
///
/// # Errors
/// What the host said.
pub fn inherit(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: needed because fcntl(2) is a foreign function; the descriptor is valid while borrowed
    // and F_SETFD takes a number.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) }.into()).map(drop)
}

/// Takes over the descriptor with this number, which the parent left open, and closes it at the next
/// execve. Call it once per number, at the start of `main`.
///
/// # Errors
/// `EBADF` when it is not open, or is one of the standard descriptors.
pub fn adopt(number: i32) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: needed because fcntl(2) is a foreign function; any number may be asked about.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }.into())?;
    // SAFETY: the descriptor is open, and by this function's contract nobody else owns it: it came through
    // execve and no code of this program opened it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
