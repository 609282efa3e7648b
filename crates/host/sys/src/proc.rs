//! What `/proc` says about other processes.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::check as check_libc;
use crate::process::Pid;

/// `/proc`, opened once so that later look-ups need no path from the root.
#[derive(Debug)]
pub struct ProcDir(File);

impl ProcDir {
    /// Opens `/proc`.
    ///
    /// # Errors
    /// What open(2) says.
    pub fn open() -> io::Result<ProcDir> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        Ok(ProcDir(
            File::options()
                .read(true)
                .custom_flags(flags)
                .open("/proc")?,
        ))
    }

    /// Bytes of resident memory that a process shares with no file (`/proc/<pid>/statm`).
    ///
    /// # Errors
    /// `ENOENT` when the process is gone; what openat(2) says.
    pub fn private_bytes(&self, pid: Pid) -> io::Result<u64> {
        let path = CString::new(format!("{pid}/statm"))?;
        // SAFETY: needed because openat is a C function; `path` is a C string that outlives the call.
        let fd = unsafe {
            libc::openat(
                self.0.as_raw_fd(),
                path.as_ptr(),
                libc::O_RDONLY | libc::O_CLOEXEC,
            )
        };
        check_libc(fd.into())?;
        // SAFETY: needed to take ownership of the descriptor just returned.
        let mut file = unsafe { File::from_raw_fd(fd) };
        let mut text = [0u8; 256];
        let n = file.read(&mut text)?;
        let text = String::from_utf8_lossy(text.get(..n).unwrap_or(&[])).into_owned();
        let mut fields = text
            .split_ascii_whitespace()
            .map(|f| f.parse::<u64>().unwrap_or(0));
        let (resident, shared) = (fields.nth(1).unwrap_or(0), fields.next().unwrap_or(0));
        Ok(resident.saturating_sub(shared).saturating_mul(4096))
    }
}
