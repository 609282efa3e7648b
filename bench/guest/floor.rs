//! The floor of a restore: a fork of a bare process, the same number of private mappings of a file, the same pages touched.
//!
//! Reads lines `COUNT`; forks so many children at once, each of which writes one byte to standard output when its
//! pages are there.

use std::ffi::{c_int, c_long, c_void};
use std::fs::File;
use std::io::{self, BufRead};
use std::os::fd::AsRawFd;
use std::ptr;

const PAGE: usize = 4096;
const PROT_READ_WRITE: c_int = 3;
const MAP_PRIVATE: c_int = 2;

unsafe extern "C" {
    fn fork() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
    fn mmap(at: *mut c_void, length: usize, prot: c_int, flags: c_int, fd: c_int, offset: c_long) -> *mut c_void;
    fn write(fd: c_int, from: *const c_void, length: usize) -> isize;
}

/// What a child does, in pages; mappings have a page between them in the file, so that the host merges none.
pub struct Shape {
    pub mappings: usize,
    pub reads: usize,
    pub writes: usize,
}

impl Shape {
    fn pages_each(&self) -> usize {
        (self.reads + self.writes).div_ceil(self.mappings.max(1)).max(1)
    }

    /// Bytes that the file must have.
    pub fn file_bytes(&self) -> usize {
        self.mappings * (self.pages_each() + 1) * PAGE
    }
}

pub fn serve(file: &File, shape: &Shape) -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let count: usize = line?.trim().parse().map_err(io::Error::other)?;
        let mut children = Vec::with_capacity(count);
        for _ in 0..count {
            // SAFETY: needed because the standard library does not fork; this program has one thread.
            match unsafe { fork() } {
                0 => child(file.as_raw_fd(), shape),
                pid if pid > 0 => children.push(pid),
                _ => return Err(io::Error::last_os_error()),
            }
        }
        for pid in children {
            // SAFETY: a null status is allowed (waitpid(2)).
            unsafe { waitpid(pid, ptr::null_mut(), 0) };
        }
    }
    Ok(())
}

fn child(fd: c_int, shape: &Shape) -> ! {
    let (each, mut touched) = (shape.pages_each(), 0);
    for mapping in 0..shape.mappings {
        let offset = mapping * (each + 1) * PAGE;
        // SAFETY: a fresh private mapping where the host likes it.
        let at = unsafe { mmap(ptr::null_mut(), each * PAGE, PROT_READ_WRITE, MAP_PRIVATE, fd, offset as c_long) };
        if at as isize == -1 {
            // SAFETY: ends this process.
            unsafe { _exit(1) };
        }
        for page in 0..each {
            let byte = at.cast::<u8>().wrapping_add(page * PAGE);
            // SAFETY: within the mapping just made, whose file is as long.
            unsafe {
                if touched < shape.writes {
                    byte.write_volatile(1);
                } else if touched < shape.writes + shape.reads {
                    byte.read_volatile();
                }
            }
            touched += 1;
        }
    }
    // SAFETY: one byte that lives; then the end of this process without the parent's clean-up.
    unsafe {
        write(1, b".".as_ptr().cast(), 1);
        _exit(0)
    }
}
