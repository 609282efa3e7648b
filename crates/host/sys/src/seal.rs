//! Memory files that may be sealed (memfd_create(2), fcntl(2), "File Sealing").

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

/// Makes an empty memory file that accepts seals.
///
/// # Errors
/// Whatever memfd_create(2) says; `InvalidInput` for a name with a zero byte.
pub fn create_sealable(name: &str) -> io::Result<File> {
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: needed for a call std does not have; `name` is a C string that outlives it.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: needed to own the descriptor; the kernel just made it and nobody else knows it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Adds `F_SEAL_*` bits. The host refuses whatever they forbid from then on, shared mappings included.
///
/// # Errors
/// `EPERM` when sealed against seals, `EBUSY` for `F_SEAL_WRITE` with a writable shared mapping, `EINVAL`.
pub fn add_seals(file: &File, seals: i32) -> io::Result<()> {
    // SAFETY: needed because fcntl is variadic; F_ADD_SEALS takes an int and no pointer.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The seals in force.
///
/// # Errors
/// `EINVAL` for a file that knows none.
pub fn seals(file: &File) -> io::Result<i32> {
    // SAFETY: needed because fcntl is variadic; F_GET_SEALS takes no argument.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    if seals < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(seals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_are_enforced_by_the_host() {
        let file = create_sealable("test").unwrap();
        file.set_len(4096).unwrap();
        add_seals(&file, libc::F_SEAL_SHRINK).unwrap();
        assert_eq!(seals(&file).unwrap(), libc::F_SEAL_SHRINK);
        let error = file.set_len(0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }
}
