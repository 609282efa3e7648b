//! Which contexts run right now, and how they are stopped.
//!
//! A kick is a signal to the host thread that runs the context. Its handler sets `immediate_exit` of the vCPU that the thread
//! is about to enter or has entered: before the entry that makes the entry return, inside the signal itself does. So no kick is lost,
//! whenever it comes.
//!
//! Entering a vCPU takes time, and one that is kicked before it gets anywhere has done nothing. A context that was interrupted several
//! times without having run is therefore given a moment ([`Seat::give_moment`]) in which interruptions wait: a longer one
//! each time, as nobody knows how long entering takes on a host that is busy or emulated.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, Ordering, compiler_fence};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use host_sys::process::Pid;
use parking_lot::{Condvar, Mutex};
use platform_api::Interrupt;

thread_local! {
    /// `immediate_exit` of the vCPU that this thread is about to run or runs; null otherwise.
    static ARMED: Cell<*const AtomicU8> = const { Cell::new(std::ptr::null()) };
}

/// What other host threads see of a context.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    /// The thread that is inside `run`, else 0.
    running: AtomicI32,
    interrupted: AtomicBool,
    /// The number of the moment in which interruptions wait for the timekeeper; else 0.
    moment: AtomicU64,
}

/// How long a context may run undisturbed that was interrupted too often, the first time.
const MOMENT: Duration = Duration::from_millis(1);
/// How often that is doubled: 64 ms.
const MAX_DOUBLINGS: u32 = 6;

/// A context's time without interruptions.
struct Moment {
    number: u64,
    seat: Arc<Seat>,
    until: Instant,
}

#[derive(Default)]
struct Moments {
    /// One at most of each seat.
    running: Vec<Moment>,
    given: u64,
}

/// Lock order: alone.
static MOMENTS: Mutex<Moments> = Mutex::new(Moments {
    running: Vec::new(),
    given: 0,
});
static MOMENT_BEGINS: Condvar = Condvar::new();

/// Ends moments; started with the first.
fn keep_time() {
    let mut moments = MOMENTS.lock();
    loop {
        let now = Instant::now();
        let ended: Vec<_> = moments
            .running
            .extract_if(.., |moment| moment.until <= now)
            .collect();
        if !ended.is_empty() {
            drop(moments);
            for moment in ended {
                moment.seat.time_is_up(moment.number);
            }
            moments = MOMENTS.lock();
            continue;
        }
        match moments.running.iter().map(|moment| moment.until).min() {
            Some(until) => {
                MOMENT_BEGINS.wait_until(&mut moments, until);
            }
            None => MOMENT_BEGINS.wait(&mut moments),
        }
    }
}

impl Seat {
    pub(crate) fn new() -> Arc<Seat> {
        Arc::new(Seat::default())
    }

    /// From here on kicks go to `thread`.
    pub(crate) fn begin(&self, thread: Pid) {
        self.running.store(thread, Ordering::SeqCst);
    }

    pub(crate) fn end(&self) {
        self.running.store(0, Ordering::SeqCst);
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// Whether an interruption counts now.
    pub(crate) fn must_stop(&self) -> bool {
        self.is_interrupted() && !self.has_moment()
    }

    fn has_moment(&self) -> bool {
        self.moment.load(Ordering::SeqCst) != 0
    }

    /// Lets interruptions wait for a moment; it is doubled so often, within limits.
    pub(crate) fn give_moment(self: &Arc<Seat>, doubled: u32) {
        static STARTED: OnceLock<bool> = OnceLock::new();
        let started = STARTED.get_or_init(|| {
            let thread = std::thread::Builder::new().name("vcpu-moments".to_owned());
            thread.spawn(keep_time).is_ok()
        });
        if *started {
            let length = MOMENT * (1 << doubled.min(MAX_DOUBLINGS));
            let mut moments = MOMENTS.lock();
            moments.given += 1;
            let number = moments.given;
            self.moment.store(number, Ordering::SeqCst);
            moments
                .running
                .retain(|other| !Arc::ptr_eq(&other.seat, self));
            moments.running.push(Moment {
                number,
                seat: self.clone(),
                until: Instant::now() + length,
            });
            MOMENT_BEGINS.notify_one();
        }
    }

    pub(crate) fn end_moment(&self) {
        self.moment.store(0, Ordering::SeqCst);
    }

    /// The moment of this number is over, unless it was before.
    fn time_is_up(&self, number: u64) {
        let over = self
            .moment
            .compare_exchange(number, 0, Ordering::SeqCst, Ordering::SeqCst);
        if over.is_ok() && self.is_interrupted() {
            self.kick();
        }
    }

    /// Takes the interruption, if there is one.
    pub(crate) fn take_interruption(&self) -> bool {
        self.interrupted.swap(false, Ordering::SeqCst)
    }

    /// Makes a context look around; whether it was running.
    pub(crate) fn kick(&self) -> bool {
        let thread = self.running.load(Ordering::SeqCst);
        if thread != 0 {
            // The thread may have ended; then nothing runs.
            let _ = host_sys::signal::send_to_thread(thread, signal());
        }
        thread != 0
    }
}

impl Interrupt for Seat {
    fn interrupt(&self) {
        let known = self.interrupted.swap(true, Ordering::SeqCst);
        // Whoever was first kicks, or the timekeeper does.
        if !known && !self.has_moment() {
            self.kick();
        }
    }
}

/// While this lives, a kick makes the vCPU leave or not enter. What the kick is about must be looked at after it was made.
pub(crate) struct Armed<'a>(std::marker::PhantomData<&'a AtomicU8>);

impl Armed<'_> {
    pub(crate) fn new(immediate_exit: &AtomicU8) -> Armed<'_> {
        immediate_exit.store(0, Ordering::SeqCst);
        ARMED.with(|armed| armed.set(immediate_exit));
        compiler_fence(Ordering::SeqCst);
        Armed(std::marker::PhantomData)
    }
}

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        ARMED.with(|armed| armed.set(std::ptr::null()));
        compiler_fence(Ordering::SeqCst);
    }
}

/// A real-time signal that nothing else in this process uses.
fn signal() -> i32 {
    libc::SIGRTMIN() + 3
}

extern "C" fn handler(_: i32) {
    let armed = ARMED.with(Cell::get);
    if !armed.is_null() {
        // SAFETY: needed to stop a vCPU that is about to be entered. While `ARMED` is not null the reference that it was made
        // from lives on this very thread (see `Armed`), below the handler. Async-signal-safe: one store.
        unsafe { (*armed).store(1, Ordering::SeqCst) };
    }
}

/// Installs the handler for the whole process, once.
pub(crate) fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let done = INSTALLED.get_or_init(|| {
        // SAFETY: needed because signal actions are C structures: a zeroed one is valid and filled in before use.
        let result = unsafe {
            let mut new: libc::sigaction = std::mem::zeroed();
            new.sa_sigaction = handler as *const () as usize;
            new.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut new.sa_mask);
            libc::sigaction(signal(), &raw const new, std::ptr::null_mut())
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EINVAL))
        }
    });
    done.map_err(io::Error::from_raw_os_error)
}

/// Lets kicks reach the calling thread.
pub(crate) fn unblock() {
    // SAFETY: needed because signal sets are C structures; `set` is initialised by sigemptyset before use.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal());
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interruptions_wait_until_the_moment_is_over_and_no_longer() {
        let seat = Seat::new();
        seat.give_moment(1);
        seat.interrupt();
        while !seat.must_stop() {
            std::thread::yield_now();
        }
        assert!(seat.take_interruption() && !seat.must_stop());
    }

    #[test]
    fn a_moment_that_was_over_before_ends_no_other() {
        let seat = Seat::new();
        seat.moment.store(2, Ordering::SeqCst);
        seat.interrupt();
        seat.time_is_up(1);
        assert!(!seat.must_stop());
        seat.time_is_up(2);
        assert!(seat.must_stop());
    }

    #[test]
    fn a_seat_has_one_moment() {
        let seat = Seat::new();
        for _ in 0..1000 {
            seat.give_moment(u32::MAX);
            seat.end_moment();
        }
        let moments = MOMENTS.lock();
        let own = |moment: &&Moment| Arc::ptr_eq(&moment.seat, &seat);
        assert!(moments.running.iter().filter(own).count() <= 1);
    }
}
