//! Memory files: host memory without a name, for tmpfs contents and shared mappings (memfd_create(2)).

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

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

/// Bytes of pages that a memory file has, those of mappings included; 0 when the host does not say.
#[must_use]
pub fn held_bytes(file: &File) -> u64 {
    const BLOCK: u64 = 512;
    file.metadata()
        .map_or(0, |meta| meta.blocks().saturating_mul(BLOCK))
}

/// Memory files that are counted together as long as somebody has them open.
#[derive(Debug, Default)]
pub struct Census(Mutex<Files>);

#[derive(Debug, Default)]
struct Files {
    known: Vec<Weak<File>>,
    /// So many are known before those that are gone are looked for.
    enough: usize,
}

impl Census {
    /// Counts a file from now on. Add it once.
    pub fn add(&self, file: &Arc<File>) {
        const FEW: usize = 32;
        let mut files = self.0.lock();
        if files.known.len() >= files.enough {
            files.known.retain(|file| file.strong_count() > 0);
            files.enough = FEW.max(2 * files.known.len());
        }
        files.known.push(Arc::downgrade(file));
    }

    /// Bytes of pages that they have now.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let files = self.0.lock();
        let living = files.known.iter().filter_map(Weak::upgrade);
        living.fold(0, |sum, file| sum.saturating_add(held_bytes(&file)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_census_counts_pages_of_files_that_are_open() {
        let census = Census::default();
        let files: Vec<_> = (0..100)
            .map(|_| Arc::new(create("test", 1 << 30).unwrap()))
            .collect();
        for file in &files {
            census.add(file);
            file.write_all_at(&[1; 5000], 1 << 20).unwrap();
        }
        assert_eq!(census.held_bytes(), 100 * 8192);
        drop(files);
        assert_eq!(census.held_bytes(), 0);
        let last = Arc::new(create("test", 1 << 30).unwrap());
        (0..100).for_each(|_| census.add(&Arc::new(create("test", 0).unwrap())));
        census.add(&last);
        assert!(census.0.lock().known.len() < 110);
    }
}
