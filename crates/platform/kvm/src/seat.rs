//! Which contexts run right now, and how they are stopped.
//!
//! A kick is a signal to the host thread that runs the context. Its handler sets `immediate_exit` of the vCPU that the thread
//! is about to enter or has entered: before the entry that makes the entry return, inside the signal itself does. So no kick is lost,
//! whenever it comes.
//!
//! Entering a vCPU takes time, and one that is kicked before it gets anywhere has done nothing. A context that was interrupted several
//! times without having run is therefore given a moment ([`Seat::give_moment`]) in which interruptions wait.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering, compiler_fence};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

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
    /// Interruptions wait for the timekeeper.
    moment: AtomicBool,
}

/// How long a context may run undisturbed that was interrupted too often.
const MOMENT: Duration = Duration::from_millis(1);

/// Seats whose moment ends. Lock order: alone.
static MOMENTS: Mutex<Vec<Arc<Seat>>> = Mutex::new(Vec::new());
static MOMENT_BEGINS: Condvar = Condvar::new();

/// Ends moments; started with the first.
#[expect(
    clippy::disallowed_methods,
    reason = "the time that passes is what this waits for"
)]
fn keep_time() {
    loop {
        let mut seats = MOMENTS.lock();
        while seats.is_empty() {
            MOMENT_BEGINS.wait(&mut seats);
        }
        drop(seats);
        std::thread::sleep(MOMENT);
        let ended = std::mem::take(&mut *MOMENTS.lock());
        for seat in ended {
            seat.end_moment();
            if seat.is_interrupted() {
                seat.kick();
            }
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
        self.is_interrupted() && !self.moment.load(Ordering::SeqCst)
    }

    /// Lets interruptions wait for a moment.
    pub(crate) fn give_moment(self: &Arc<Seat>) {
        static STARTED: OnceLock<bool> = OnceLock::new();
        let started = STARTED.get_or_init(|| {
            let thread = std::thread::Builder::new().name("vcpu-moments".to_owned());
            thread.spawn(keep_time).is_ok()
        });
        if *started {
            self.moment.store(true, Ordering::SeqCst);
            MOMENTS.lock().push(self.clone());
            MOMENT_BEGINS.notify_one();
        }
    }

    pub(crate) fn end_moment(&self) {
        self.moment.store(false, Ordering::SeqCst);
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
        if !known && !self.moment.load(Ordering::SeqCst) {
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
