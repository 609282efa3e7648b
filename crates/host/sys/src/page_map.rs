//! Which pages of a process are its own, and which it shares with files (`/proc/<pid>/pagemap`, proc_pid_pagemap(5)).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use crate::call::{check, syscall6};

const PAGE: u64 = 4096;

/// `PAGEMAP_SCAN` (`linux/fs.h`), since Linux 6.7.
pub const SCAN: u64 = 0xc060_6610;
/// `PAGE_IS_FILE`, `PAGE_IS_PRESENT`, `PAGE_IS_SWAPPED`, `PAGE_IS_PFNZERO`.
const IS_FILE: u64 = 1 << 2;
const IS_PRESENT: u64 = 1 << 3;
const IS_SWAPPED: u64 = 1 << 4;
const IS_ZERO: u64 = 1 << 5;
/// Ranges asked for at once.
const REGIONS: usize = 512;

/// Bits of an entry: page present, swapped, file page or shared memory.
const ENTRY_PRESENT: u64 = 1 << 63;
const ENTRY_SWAPPED: u64 = 1 << 62;
const ENTRY_FILE: u64 = 1 << 61;
/// Entries read at once.
const ENTRIES: usize = 4096;

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Default)]
struct ScanArgs {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// What a page is to be: by the bits of `PAGEMAP_SCAN`, and by those of its entry.
struct Wanted {
    inverted: u64,
    all_of: u64,
    any_of: u64,
    entry: fn(u64) -> bool,
}

/// Neither a file nor the zero page is behind it.
const PRIVATE: Wanted = Wanted {
    inverted: IS_FILE | IS_ZERO,
    all_of: IS_FILE | IS_ZERO,
    any_of: IS_PRESENT | IS_SWAPPED,
    entry: |entry| entry & (ENTRY_PRESENT | ENTRY_SWAPPED) != 0 && entry & ENTRY_FILE == 0,
};
/// A page of a file.
const SHARED: Wanted = Wanted {
    inverted: 0,
    all_of: IS_FILE | IS_PRESENT,
    any_of: 0,
    entry: |entry| entry & ENTRY_PRESENT != 0 && entry & ENTRY_FILE != 0,
};

/// An open page map.
#[derive(Debug)]
pub struct PageMap(File);

impl PageMap {
    pub(crate) fn new(file: File) -> PageMap {
        PageMap(file)
    }

    /// The pages in a range that belong to the process alone: written since they were mapped, so that
    /// neither a file nor the zero page is behind them. In order, neighbours joined. On hosts
    /// before Linux 6.7 pages that were only read count too.
    ///
    /// # Errors
    /// What ioctl(2) or read(2) says.
    pub fn private(&self, range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        self.find(&range, &PRIVATE)
    }

    /// The pages in a range that are in place and those of a file: read since they were mapped, and not written.
    ///
    /// # Errors
    /// As [`PageMap::private`].
    pub fn shared(&self, range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        self.find(&range, &SHARED)
    }

    fn find(&self, range: &Range<u64>, wanted: &Wanted) -> io::Result<Vec<Range<u64>>> {
        match self.scan(range, wanted) {
            Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => self.read(range, wanted),
            outcome => outcome,
        }
    }

    fn scan(&self, range: &Range<u64>, wanted: &Wanted) -> io::Result<Vec<Range<u64>>> {
        let mut found = Vec::new();
        let mut regions = [Region::default(); REGIONS];
        let mut at = range.start;
        while at < range.end {
            let mut args = ScanArgs {
                size: std::mem::size_of::<ScanArgs>() as u64,
                start: at,
                end: range.end,
                vec: regions.as_mut_ptr() as u64,
                vec_len: REGIONS as u64,
                category_inverted: wanted.inverted,
                category_mask: wanted.all_of,
                category_anyof_mask: wanted.any_of,
                return_mask: IS_PRESENT | IS_SWAPPED,
                ..ScanArgs::default()
            };
            let call = [
                self.0.as_raw_fd() as u64,
                SCAN,
                (&raw mut args) as u64,
                0,
                0,
                0,
            ];
            // SAFETY: needed because the C library has no wrapper; `args` is a pm_scan_arg of the size it
            // says, `regions` has room for the ranges it offers, and both outlive the call.
            let count = check(unsafe { syscall6(libc::SYS_ioctl, call) })?;
            let count = usize::try_from(count).unwrap_or(0).min(REGIONS);
            for region in &regions[..count] {
                push(&mut found, region.start..region.end);
            }
            if args.walk_end <= at {
                break;
            }
            at = args.walk_end;
        }
        Ok(found)
    }

    fn read(&self, range: &Range<u64>, wanted: &Wanted) -> io::Result<Vec<Range<u64>>> {
        let mut found = Vec::new();
        let mut buffer = vec![0u8; ENTRIES * 8];
        let mut at = range.start;
        while at < range.end {
            let pages = ((range.end - at) / PAGE).min(ENTRIES as u64) as usize;
            if pages == 0 {
                break;
            }
            let bytes = &mut buffer[..pages * 8];
            self.0.read_exact_at(bytes, at / PAGE * 8)?;
            for entry in bytes.chunks_exact(8) {
                let entry = entry.try_into().map_or(0, u64::from_le_bytes);
                if (wanted.entry)(entry) {
                    push(&mut found, at..at + PAGE);
                }
                at += PAGE;
            }
        }
        Ok(found)
    }
}

fn push(found: &mut Vec<Range<u64>>, next: Range<u64>) {
    match found.last_mut() {
        Some(last) if last.end == next.start => last.end = next.end,
        _ => found.push(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sixteen pages of which two runs were written, and one page only read.
    #[test]
    fn written_pages_are_found() {
        let len = 16 * PAGE as usize;
        // SAFETY: needed to have memory whose pages nobody has touched; a new anonymous mapping.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED);
        // SAFETY: needed to keep huge pages away; the mapping is our own.
        unsafe { libc::madvise(start, len, libc::MADV_NOHUGEPAGE) };
        let base = start as u64;
        // SAFETY: needed to touch single pages; the mapping is `len` bytes long and nobody else's.
        let memory = unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), len) };
        for page in [1usize, 2, 9] {
            memory[page * PAGE as usize] = 1;
        }
        std::hint::black_box(memory[5 * PAGE as usize]);
        let map = PageMap::new(File::open("/proc/self/pagemap").unwrap());
        let range = base..base + len as u64;
        let expected = [
            base + PAGE..base + 3 * PAGE,
            base + 9 * PAGE..base + 10 * PAGE,
        ];
        assert_eq!(map.private(range.clone()).unwrap(), expected);
        // The older way cannot tell the page of zeros from others.
        let read = map.read(&range, &PRIVATE).unwrap();
        let covers = |wanted: &Range<u64>| {
            read.iter()
                .any(|r| r.start <= wanted.start && wanted.end <= r.end)
        };
        assert!(expected.iter().all(covers), "{read:x?}");
        // Nothing of it is a file's.
        for shared in [map.shared(range.clone()), map.read(&range, &SHARED)] {
            assert_eq!(shared.unwrap(), []);
        }
    }

    /// Our own program: what of it runs is in place, and a file's.
    #[test]
    fn pages_of_files_that_run_are_found() {
        let map = PageMap::new(File::open("/proc/self/pagemap").unwrap());
        let here = push as *const () as u64 / PAGE * PAGE;
        let page = here..here + PAGE;
        for shared in [map.shared(page.clone()), map.read(&page, &SHARED)] {
            assert_eq!(shared.unwrap(), std::slice::from_ref(&page));
        }
        assert_eq!(map.private(page).unwrap(), []);
    }
}
