//! Guest-physical memory as this process sees it.
//!
//! One reservation of host addresses holds all of it at a constant distance, so that a memory slot of the machine is a
//! range of it, whatever is mapped there. Frames are a memory file and appear twice: in the reservation, for the machine, and
//! in a second range, for our own reads and writes. Dropping the first view of a page ([`GuestMemory::zap`]) leaves its contents
//! and makes the host forget every translation that ends in it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU64;

use crate::layout::{
    END, FILES, FILES_LEN, FRAMES, FRAMES_LEN, PAGE, SYSTEM, SYSTEM_LEN, TABLES, TABLES_LEN,
};

/// Whether the guest may write a window on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    Read,
    Write,
}

/// The reservation and the second view of the frames.
#[derive(Debug)]
pub(crate) struct GuestMemory {
    base: usize,
    frames: usize,
    file: File,
}

fn map(
    at: usize,
    len: u64,
    prot: i32,
    flags: i32,
    file: Option<(&File, u64)>,
) -> io::Result<usize> {
    let (fd, offset) = file.map_or((-1, 0), |(file, offset)| (file.as_raw_fd(), offset));
    let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: needed to arrange memory; callers pass either no address or, with MAP_FIXED, one inside their own
    // reservation, which nothing but this module's mappings occupies and to which no references exist.
    let got = unsafe { libc::mmap(at as *mut libc::c_void, len, prot, flags, fd, offset) };
    if got == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(got as usize)
}

const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
const RESERVED: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

impl GuestMemory {
    /// Reserves everything; nothing takes memory before it is touched.
    pub(crate) fn new() -> io::Result<GuestMemory> {
        let file = host_sys::memory_file::create("guest-frames", FRAMES_LEN)?;
        let base = map(0, END, libc::PROT_NONE, RESERVED, None)?;
        let mut memory = GuestMemory {
            base,
            frames: 0,
            file,
        };
        for (start, len) in [(SYSTEM, SYSTEM_LEN), (TABLES, TABLES_LEN)] {
            let at = memory.host(start) as usize;
            map(at, len, RW, RESERVED | libc::MAP_FIXED, None)?;
        }
        let at = memory.host(FRAMES) as usize;
        let shared = libc::MAP_SHARED | libc::MAP_NORESERVE;
        let whole = Some((&memory.file, 0));
        map(at, FRAMES_LEN, RW, shared | libc::MAP_FIXED, whole)?;
        memory.frames = map(0, FRAMES_LEN, RW, shared, whole)?;
        Ok(memory)
    }

    /// The host address of a guest-physical one.
    pub(crate) fn host(&self, gpa: u64) -> u64 {
        self.base as u64 + gpa
    }

    /// A word of the SYSTEM area or of a page table.
    pub(crate) fn word(&self, gpa: u64) -> &AtomicU64 {
        let system = gpa < SYSTEM + SYSTEM_LEN;
        let table = (TABLES..TABLES + TABLES_LEN).contains(&gpa);
        assert!(
            (system || table) && gpa.is_multiple_of(8),
            "no word of ours: {gpa:x}"
        );
        // SAFETY: needed to share memory with the machine; the address is aligned and inside ranges that stay mapped
        // readable and writable as long as `self` lives, and is only ever accessed atomically.
        unsafe { &*((self.base as u64 + gpa) as *const AtomicU64) }
    }

    /// The words of a page table.
    pub(crate) fn table(&self, gpa: u64) -> &[AtomicU64; 512] {
        let end = TABLES + TABLES_LEN - PAGE;
        assert!(
            (TABLES..=end).contains(&gpa) && gpa.is_multiple_of(PAGE),
            "no table of ours: {gpa:x}"
        );
        // SAFETY: needed to share memory with the machine, as in `word`: a page within the tables, which are whole pages.
        unsafe { &*((self.base as u64 + gpa) as *const [AtomicU64; 512]) }
    }

    /// Our own view of `len` bytes of frames; `None` when they are not all frames.
    fn frame_bytes(&self, gpa: u64, len: usize) -> Option<*mut u8> {
        let offset = gpa.checked_sub(FRAMES)?;
        let end = offset.checked_add(len as u64)?;
        (end <= FRAMES_LEN).then_some((self.frames as u64 + offset) as *mut u8)
    }

    /// Copies out of frames.
    pub(crate) fn read(&self, gpa: u64, buf: &mut [u8]) {
        let Some(from) = self.frame_bytes(gpa, buf.len()) else {
            return;
        };
        // SAFETY: needed to read guest memory; the range is inside the frames, mapped as long as `self` lives from a file that is
        // never shortened. The guest may write it meanwhile: no reference to it is made, and any bytes are valid.
        unsafe { std::ptr::copy_nonoverlapping(from, buf.as_mut_ptr(), buf.len()) }
    }

    /// Copies into frames.
    pub(crate) fn write(&self, gpa: u64, data: &[u8]) {
        let Some(to) = self.frame_bytes(gpa, data.len()) else {
            return;
        };
        // SAFETY: needed to write guest memory; as in `read`.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) }
    }

    /// A word of a frame, or of a window that the guest may write.
    pub(crate) fn atomic_u32(&self, gpa: u64) -> Option<&std::sync::atomic::AtomicU32> {
        if !gpa.is_multiple_of(4) {
            return None;
        }
        let at = match self.frame_bytes(gpa, 4) {
            Some(at) => at as u64,
            None if (FILES..FILES + FILES_LEN).contains(&gpa) => self.host(gpa),
            None => return None,
        };
        // SAFETY: needed to swap guest words as the guest's own atomics do. Frames stay mapped; for windows the caller
        // holds the window and has checked that the page is inside its file. Every access to it here is atomic.
        Some(unsafe { &*(at as *const std::sync::atomic::AtomicU32) })
    }

    /// Maps a part of a file.
    pub(crate) fn map_file(
        &self,
        gpa: u64,
        len: u64,
        file: &File,
        offset: u64,
        access: Access,
    ) -> io::Result<()> {
        let at = self.host(gpa) as usize;
        // Nobody writes through a readable window, so that private ones stay the file.
        let (prot, flags) = match access {
            Access::Read => (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_NORESERVE),
            Access::Write => (RW, libc::MAP_SHARED),
        };
        map(at, len, prot, flags | libc::MAP_FIXED, Some((file, offset))).map(|_| ())
    }

    /// Ends a window on a file.
    pub(crate) fn unmap_file(&self, gpa: u64, len: u64) {
        let at = self.host(gpa) as usize;
        let flags = RESERVED | libc::MAP_FIXED;
        if let Err(error) = map(at, len, libc::PROT_NONE, flags, None) {
            // The host ran out of mappings; the window stays and its pages are nobody's.
            tracing::warn!(%error, "a window on a file could not be closed");
        }
    }

    /// Makes the host forget every translation that ends in these pages; contents stay.
    pub(crate) fn zap(&self, gpa: u64, len: u64) {
        // SAFETY: needed to drop mappings of pages; the range is inside the reservation, and what it shows is a file (frames
        // and windows are, and only these are zapped), so that memory reads the same afterwards.
        let done = unsafe {
            libc::madvise(
                self.host(gpa) as *mut libc::c_void,
                len as usize,
                libc::MADV_DONTNEED,
            )
        };
        assert_eq!(done, 0, "the host cannot refuse to drop pages");
    }

    /// Has the host's own mappings of these pages in place, so that its faults on the machine's behalf find them. A hint:
    /// what the host refuses is mapped when it is needed.
    pub(crate) fn populate(&self, gpa: u64, len: u64, access: Access) {
        let advice = match access {
            Access::Read => libc::MADV_POPULATE_READ,
            Access::Write => libc::MADV_POPULATE_WRITE,
        };
        // SAFETY: needed to map pages ahead; the range is inside the reservation, and touching pages of it changes none: a
        // page that is not there, or may not be written, is refused (madvise(2)).
        let done =
            unsafe { libc::madvise(self.host(gpa) as *mut libc::c_void, len as usize, advice) };
        if done != 0 {
            let error = io::Error::last_os_error();
            tracing::debug!(%error, "pages were not mapped ahead");
        }
    }

    /// Gives frames back: they read as zeros, and every translation to them is forgotten.
    pub(crate) fn free_frames(&self, gpa: u64, len: u64) -> io::Result<()> {
        host_sys::memory_file::punch_hole(&self.file, gpa - FRAMES, len)
    }

    /// Makes page tables zero again.
    pub(crate) fn clear_table(&self, gpa: u64) {
        for word in self.table(gpa) {
            word.store(0, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

impl Drop for GuestMemory {
    fn drop(&mut self) {
        // SAFETY: needed to give the reservations back; both were made by `new` and nothing refers to them any more:
        // the machine that did holds a reference to `self`.
        unsafe {
            libc::munmap(self.base as *mut libc::c_void, END as usize);
            if self.frames != 0 {
                libc::munmap(self.frames as *mut libc::c_void, FRAMES_LEN as usize);
            }
        }
    }
}
