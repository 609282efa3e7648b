//! The program that is measured: native, in a sandbox and under ptrace it is this very file.
//!
//! `guest hello` says hello and leaves. `guest calls FILE` reads lines `NAME COUNT` from standard input and answers each
//! with the nanoseconds that COUNT system calls took, by its own clock (which both kernels read without a system call).
//! `guest floor FILE MAPPINGS READS WRITES` is the floor of a restore, see [`floor`].

mod floor;

use std::ffi::c_long;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

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
        _ => Err(io::Error::other("use hello, calls FILE or floor FILE MAPPINGS READS WRITES")),
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
        other => return Err(io::Error::other(format!("no call named {other}"))),
    }
    Ok(started.elapsed().as_nanos())
}
