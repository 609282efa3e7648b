//! Which contexts run right now, and how they are stopped.
//!
//! A kick is a signal to the host thread that runs the context. Its handler sets `immediate_exit` of the vCPU that the thread
//! is about to enter or has entered: before the entry that makes the entry return, inside the signal itself does. So no kick is lost,
//! whenever it comes.
//!
//! Entering a vCPU takes time, and one that is kicked before it gets anywhere has done nothing. A context that was interrupted several
//! times without having run is therefore given a grace period ([`ThreadHandle::give_grace`]) in which interruptions wait: a longer one
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
pub(crate) struct ThreadHandle {
    /// The thread that is inside `run`, else 0.
    running: AtomicI32,
    interrupted: AtomicBool,
    /// The number of the grace period in which interruptions wait for the timekeeper; else 0.
    grace: AtomicU64,
}

/// How long a context may run undisturbed that was interrupted too often, the first time.
const GRACE: Duration = Duration::from_millis(1);
/// How often that is doubled: 64 ms.
const MAX_DOUBLINGS: u32 = 6;

/// A context's time without interruptions.
struct GracePeriod {
    number: u64,
    handle: Arc<ThreadHandle>,
    until: Instant,
}

#[derive(Default)]
struct GracePeriods {
    /// One at most of each context.
    running: Vec<GracePeriod>,
    given: u64,
}

/// Lock order: alone.
static GRACE_PERIODS: Mutex<GracePeriods> = Mutex::new(GracePeriods {
    running: Vec::new(),
    given: 0,
});
static GRACE_BEGINS: Condvar = Condvar::new();

/// Ends grace periods; started with the first.
fn keep_time() {
    let mut periods = GRACE_PERIODS.lock();
    loop {
        let now = Instant::now();
        let ended: Vec<_> = periods
            .running
            .extract_if(.., |period| period.until <= now)
            .collect();
        if !ended.is_empty() {
            drop(periods);
            for period in ended {
                period.handle.time_is_up(period.number);
            }
            periods = GRACE_PERIODS.lock();
            continue;
        }
        match periods.running.iter().map(|period| period.until).min() {
            Some(until) => {
                GRACE_BEGINS.wait_until(&mut periods, until);
            }
            None => GRACE_BEGINS.wait(&mut periods),
        }
    }
}

impl ThreadHandle {
    pub(crate) fn new() -> Arc<ThreadHandle> {
        Arc::new(ThreadHandle::default())
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
        self.is_interrupted() && !self.has_grace()
    }

    fn has_grace(&self) -> bool {
        self.grace.load(Ordering::SeqCst) != 0
    }

    /// Lets interruptions wait for a grace period, which is doubled so often, within limits.
    pub(crate) fn give_grace(self: &Arc<ThreadHandle>, doubled: u32) {
        static STARTED: OnceLock<bool> = OnceLock::new();
        let started = STARTED.get_or_init(|| {
            let thread = std::thread::Builder::new().name("vcpu-grace".to_owned());
            thread.spawn(keep_time).is_ok()
        });
        if *started {
            let length = GRACE * (1 << doubled.min(MAX_DOUBLINGS));
            let mut periods = GRACE_PERIODS.lock();
            periods.given += 1;
            let number = periods.given;
            self.grace.store(number, Ordering::SeqCst);
            periods
                .running
                .retain(|other| !Arc::ptr_eq(&other.handle, self));
            periods.running.push(GracePeriod {
                number,
                handle: self.clone(),
                until: Instant::now() + length,
            });
            GRACE_BEGINS.notify_one();
        }
    }

    pub(crate) fn end_grace(&self) {
        self.grace.store(0, Ordering::SeqCst);
    }

    /// The grace period of this number is over, unless it was before.
    fn time_is_up(&self, number: u64) {
        let over = self
            .grace
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

impl Interrupt for ThreadHandle {
    fn interrupt(&self) {
        let known = self.interrupted.swap(true, Ordering::SeqCst);
        // Whoever was first kicks, or the timekeeper does.
        if !known && !self.has_grace() {
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
    fn interruptions_wait_until_the_grace_period_is_over_and_no_longer() {
        let handle = ThreadHandle::new();
        handle.give_grace(1);
        handle.interrupt();
        base_eventually::eventually("its time is over", || handle.must_stop());
        assert!(handle.take_interruption() && !handle.must_stop());
    }

    #[test]
    fn a_grace_period_that_was_over_before_ends_no_other() {
        let handle = ThreadHandle::new();
        handle.grace.store(2, Ordering::SeqCst);
        handle.interrupt();
        handle.time_is_up(1);
        assert!(!handle.must_stop());
        handle.time_is_up(2);
        assert!(handle.must_stop());
    }

    #[test]
    fn a_thread_has_one_grace_period() {
        let handle = ThreadHandle::new();
        for _ in 0..1000 {
            handle.give_grace(u32::MAX);
            handle.end_grace();
        }
        let periods = GRACE_PERIODS.lock();
        let own = |period: &&GracePeriod| Arc::ptr_eq(&period.handle, &handle);
        assert!(periods.running.iter().filter(own).count() <= 1);
    }
}
