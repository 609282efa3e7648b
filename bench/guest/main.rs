//! The program that is measured: native, in a sandbox and under ptrace it is this very file.
//!
//! `guest hello` says hello and leaves. `guest calls FILE` reads lines `NAME COUNT` from standard input and answers each
//! with the nanoseconds that COUNT system calls (or first writes to pages) took, by its own clock (which both kernels read without a system call).
//! `guest floor FILE MAPPINGS READS WRITES` is the floor of a restore, see [`floor`]. `guest resume THREADS` are threads that are
//! frozen and go on, see [`resume`].

mod floor;
mod resume;

use std::ffi::c_long;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

const PAGE: usize = 4096;
const SYS_MMAP: c_long = 9;
const SYS_MUNMAP: c_long = 11;
const SYS_MADVISE: c_long = 28;
const PROT_READ: c_long = 1;
const PROT_WRITE: c_long = 2;
const MAP_PRIVATE: c_long = 2;
const MAP_ANONYMOUS: c_long = 0x20;
const MADV_NOHUGEPAGE: c_long = 15;
const SYS_FUTEX: c_long = 202;
const FUTEX_WAKE_PRIVATE: c_long = 129;

unsafe extern "C" {
    fn syscall(nr: c_long, ...) -> c_long;
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("hello") => writeln!(io::stdout(), "hello"),
        Some("calls") => calls(&File::open(arguments.next().unwrap_or_default())?),
        Some("floor") => {
            let path = arguments.next().unwrap_or_default();
            let mut number = || arguments.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            let shape = floor::Shape { mappings: number(), reads: number(), writes: number() };
            let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
            file.set_len(shape.file_bytes() as u64)?;
            floor::serve(&file, &shape)
        }
        Some("resume") => resume::run(arguments.next().and_then(|word| word.parse().ok()).unwrap_or(1)),
        _ => Err(io::Error::other("use hello, calls FILE, floor FILE MAPPINGS READS WRITES or resume THREADS")),
    }
}

fn calls(file: &File) -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (name, count) = line.split_once(' ').unwrap_or((&line, "1"));
        let count: u32 = count.parse().map_err(io::Error::other)?;
        let took = batch(name, count, file)?;
        writeln!(io::stdout(), "{took}")?;
    }
    Ok(())
}

/// Nanoseconds of first writes to COUNT pages of fresh memory, which lie `apart` pages apart.
fn touch(count: u32, apart: usize) -> io::Result<u128> {
    let len = count as usize * apart * PAGE;
    let rest = (PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1 as c_long, 0 as c_long);
    // SAFETY: needed because the standard library has no such call; it is new memory, at no address of anybody's.
    let at = unsafe { syscall(SYS_MMAP, 0 as c_long, len, rest.0, rest.1, rest.2, rest.3) };
    if at == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: needed as above; it is the mapping. Large pages would be touched once for many.
    unsafe { syscall(SYS_MADVISE, at, len, MADV_NOHUGEPAGE) };
    let started = Instant::now();
    for page in 0..count as usize {
        // SAFETY: needed to touch memory; it is inside the mapping, to which there are no references.
        unsafe { (at as *mut u8).add(page * apart * PAGE).write_volatile(1) };
    }
    let took = started.elapsed();
    // SAFETY: needed as above; nobody uses the mapping any more.
    unsafe { syscall(SYS_MUNMAP, at, len) };
    Ok(took.as_nanos())
}

fn batch(name: &str, count: u32, file: &File) -> io::Result<u128> {
    let mut page = [0; 4096];
    let word = AtomicU32::new(0);
    let started = Instant::now();
    match name {
        "getppid" => {
            for _ in 0..count {
                std::hint::black_box(std::os::unix::process::parent_id());
            }
        }
        "read" => {
            for _ in 0..count {
                file.read_exact_at(&mut page, 0)?;
            }
        }
        "futex" => {
            for _ in 0..count {
                // SAFETY: needed because the standard library has no such call; nobody waits, the word lives.
                unsafe { syscall(SYS_FUTEX, word.as_ptr(), FUTEX_WAKE_PRIVATE, 1 as c_long) };
            }
        }
        "touch" => return touch(count, 32),
        "sweep" => return touch(count, 1),
        other => return Err(io::Error::other(format!("no call named {other}"))),
    }
    Ok(started.elapsed().as_nanos())
}
