//! Holes and reserved space of host files (fallocate(2), lseek(2) with `SEEK_DATA` and `SEEK_HOLE`).

use std::fs::File;
use std::io;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};

/// Reserves space for a range and grows the file to hold it.
///
/// # Errors
/// What fallocate(2) says.
pub fn allocate(file: &File, offset: u64, len: u64) -> io::Result<()> {
    Ok(fallocate(file, FallocateFlags::empty(), offset, len)?)
}

/// Reserves space for a range without changing the length.
///
/// # Errors
/// What fallocate(2) says.
pub fn reserve(file: &File, offset: u64, len: u64) -> io::Result<()> {
    Ok(fallocate(file, FallocateFlags::KEEP_SIZE, offset, len)?)
}

/// The first byte of data at or after `offset`. Moves the file's own offset.
///
/// # Errors
/// `ENXIO` when there is none.
pub fn next_data(file: &File, offset: u64) -> io::Result<u64> {
    Ok(seek(file, SeekFrom::Data(offset))?)
}

/// The first hole at or after `offset`; the end counts as one. Moves the file's own offset.
///
/// # Errors
/// `ENXIO` beyond the end.
pub fn next_hole(file: &File, offset: u64) -> io::Result<u64> {
    Ok(seek(file, SeekFrom::Hole(offset))?)
}
