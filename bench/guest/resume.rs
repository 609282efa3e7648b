//! Threads that say when they go on after having stood still.
//!
//! Whoever measures reads and writes the page at [`PAGE`] from outside. A line on standard input begins a round: each thread
//! counts itself as ready and computes until the number of the round is changed, which is done while
//! nothing runs. The first thing that a thread does then is to note the time; then it sleeps until the next round.

use std::ffi::{c_int, c_long, c_void};
use std::io::{self, BufRead};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Where the page is, in every process.
const PAGE: usize = 0x10_0000_0000;
const PAGE_LEN: usize = 4096;
const MAP_FIXED_NOREPLACE: c_int = 0x10_0000;
const PROT_READ_WRITE: c_int = 3;
const MAP_PRIVATE_ANONYMOUS: c_int = 0x22;
const CLOCK_MONOTONIC: c_int = 1;
const SYS_FUTEX: c_long = 202;
const FUTEX_WAIT_PRIVATE: c_long = 128;
const FUTEX_WAKE_PRIVATE: c_long = 129;
const MOST: usize = 63;

#[repr(C)]
struct Page {
    /// Changed from outside.
    round: AtomicU32,
    ready: AtomicU32,
    done: AtomicU32,
    /// Changed when the next round begins.
    again: AtomicU32,
    rest: [u64; 6],
    threads: [Slot; MOST],
}

/// Of one thread.
#[repr(C)]
struct Slot {
    /// Nanoseconds of the monotonic clock.
    at: AtomicU64,
    /// How often it went on.
    times: AtomicU64,
    rest: [u64; 6],
}

#[repr(C)]
struct Time {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "C" {
    fn syscall(nr: c_long, ...) -> c_long;
    fn mmap(at: *mut c_void, length: usize, prot: c_int, flags: c_int, fd: c_int, offset: c_long) -> *mut c_void;
    fn clock_gettime(clock: c_int, time: *mut Time) -> c_int;
}

/// Runs so many threads, this one among them, until the input ends.
pub fn run(threads: usize) -> io::Result<()> {
    let page = map()?;
    for slot in page.threads.iter().take(threads.min(MOST)).skip(1) {
        std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
            let mut seen = 0;
            loop {
                // SAFETY: needed because the standard library has no such call; the word is never unmapped.
                unsafe { syscall(SYS_FUTEX, page.again.as_ptr(), FUTEX_WAIT_PRIVATE, seen as c_long, 0 as c_long) };
                let now = page.again.load(Ordering::SeqCst);
                if now != seen {
                    seen = now;
                    stand(page, slot);
                }
            }
        })?;
    }
    for line in io::stdin().lock().lines() {
        line?;
        page.again.fetch_add(1, Ordering::SeqCst);
        // SAFETY: as above.
        unsafe { syscall(SYS_FUTEX, page.again.as_ptr(), FUTEX_WAKE_PRIVATE, MOST as c_long) };
        stand(page, &page.threads[0]);
    }
    // The other threads end with this one.
    std::process::exit(0);
}

fn stand(page: &Page, slot: &Slot) {
    let round = page.round.load(Ordering::SeqCst);
    page.ready.fetch_add(1, Ordering::SeqCst);
    while page.round.load(Ordering::Relaxed) == round {
        std::hint::spin_loop();
    }
    slot.at.store(now(), Ordering::SeqCst);
    slot.times.fetch_add(1, Ordering::SeqCst);
    page.done.fetch_add(1, Ordering::SeqCst);
}

fn now() -> u64 {
    let mut time = Time { seconds: 0, nanoseconds: 0 };
    // SAFETY: needed because the standard library's clock does not tell its numbers; `time` is what the call fills.
    unsafe { clock_gettime(CLOCK_MONOTONIC, &mut time) };
    time.seconds as u64 * 1_000_000_000 + time.nanoseconds as u64
}

fn map() -> io::Result<&'static Page> {
    const { assert!(size_of::<Page>() == PAGE_LEN) };
    let at = ptr::without_provenance_mut(PAGE);
    let flags = MAP_PRIVATE_ANONYMOUS | MAP_FIXED_NOREPLACE;
    // SAFETY: needed for memory at a known place; the flag keeps it from replacing any.
    let at = unsafe { mmap(at, PAGE_LEN, PROT_READ_WRITE, flags, -1, 0) };
    if at.addr() != PAGE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: needed to use the memory: it is new, zeroed, large enough, never unmapped, and `Page` is made of atomics.
    Ok(unsafe { &*at.cast::<Page>() })
}
