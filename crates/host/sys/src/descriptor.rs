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
/// execve. Call it once per number, at the start of `main`. A standard descriptor is copied, and
/// `/dev/null` takes its place.
///
/// # Errors
/// `EBADF` when it is not open.
pub fn adopt(number: i32) -> io::Result<OwnedFd> {
    if number <= 2 {
        return adopt_standard(number);
    }
    // SAFETY: needed because fcntl(2) is a foreign function; any number may be asked about.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }.into())?;
    // SAFETY: the descriptor is open, and by this function's contract nobody else owns it: it came through
    // execve and no code of this program opened it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes this file the descriptor 2 of the process.
///
/// # Errors
/// What the host said.
pub fn become_standard_error(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: needed because dup2(2) is a foreign function. Standard error is owned by nobody; who
    // writes to it next writes to the new file.
    check(unsafe { libc::dup2(fd.as_raw_fd(), 2) }.into()).map(drop)
}

fn adopt_standard(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: needed because fcntl(2) is a foreign function; any number may be asked about.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    check(copy.into())?;
    // SAFETY: the descriptor was just made and nobody else knows it.
    let copy = unsafe { OwnedFd::from_raw_fd(copy) };
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    // SAFETY: needed because dup2(2) is a foreign function; both are open, and the standard library does not own
    // the standard descriptors but uses them by number, which stays valid.
    check(unsafe { libc::dup2(null.as_raw_fd(), number) }.into())?;
    Ok(copy)
}
