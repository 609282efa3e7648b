//! Guest memory as file operations see it (`ioctl`, socket options).

use crate::{Errno, Result};

/// Reads and writes the memory of the calling task.
pub trait UserMemory {
    /// Fills `buf` from `addr`, wholly or not at all.
    ///
    /// # Errors
    /// `EFAULT`.
    fn read_bytes(&self, addr: u64, buf: &mut [u8]) -> Result<()>;

    /// Writes `data` to `addr`.
    ///
    /// # Errors
    /// `EFAULT`; part may have been written.
    fn write_bytes(&self, addr: u64, data: &[u8]) -> Result<()>;
}

/// No memory at all: every access is `EFAULT`.
#[derive(Clone, Copy, Debug)]
pub struct NoMemory;

impl UserMemory for NoMemory {
    fn read_bytes(&self, _addr: u64, _buf: &mut [u8]) -> Result<()> {
        Err(Errno::EFAULT)
    }

    fn write_bytes(&self, _addr: u64, _data: &[u8]) -> Result<()> {
        Err(Errno::EFAULT)
    }
}
