//! Bounded reads of a program file.

use base_abi::Errno;
use kernel_vfs::{File, Result};

/// Reads at most `len` bytes at `offset`; fewer at the end of the file.
pub(crate) fn up_to(file: &dyn File, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut data = vec![0; len];
    let mut have = 0;
    while have < len {
        let at = offset.checked_add(have as u64).ok_or(Errno::ENOEXEC)?;
        match file.read_at(at, &mut data[have..])? {
            0 => break,
            n => have += n.min(len - have),
        }
    }
    data.truncate(have);
    Ok(data)
}

/// Reads exactly `len` bytes.
///
/// # Errors
/// `ENOEXEC` when the file is shorter.
pub(crate) fn exactly(file: &dyn File, offset: u64, len: usize) -> Result<Vec<u8>> {
    let data = up_to(file, offset, len)?;
    if data.len() < len {
        return Err(Errno::ENOEXEC);
    }
    Ok(data)
}
