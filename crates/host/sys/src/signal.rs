//! Signals of this process: blocking them and taking them synchronously (sigwaitinfo(2)).

use std::io;

use crate::check;
use crate::process::Pid;

/// A set of signals that this thread (and the threads it starts) has blocked and takes with [`Blocked::wait`].
#[derive(Clone, Copy)]
pub struct Blocked(libc::sigset_t);

impl Blocked {
    /// Blocks the signals. Call it before other threads start.
    ///
    /// # Errors
    /// `EINVAL` for a number that is no signal.
    pub fn new(signals: &[i32]) -> io::Result<Blocked> {
        // SAFETY: a `sigset_t` is plain old data; sigemptyset initialises it before use.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: needed because sigsetops(3) are foreign functions; `set` is valid for writes.
        check(unsafe { libc::sigemptyset(&raw mut set) }.into())?;
        for signal in signals {
            // SAFETY: as above; an invalid number is answered with EINVAL.
            check(unsafe { libc::sigaddset(&raw mut set, *signal) }.into())?;
        }
        // SAFETY: needed because pthread_sigmask(3) is a foreign function; it reads `set`, and null for the old mask is allowed.
        let error =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if error == 0 {
            Ok(Blocked(set))
        } else {
            Err(io::Error::from_raw_os_error(error))
        }
    }

    /// Waits for the next signal of the set and takes it.
    ///
    /// # Errors
    /// What the host said; never `EINTR`.
    pub fn wait(&self) -> io::Result<i32> {
        loop {
            // SAFETY: needed because sigwaitinfo(2) is a foreign function; it reads the set, and null for the details is allowed.
            let signal = unsafe { libc::sigwaitinfo(&raw const self.0, std::ptr::null_mut()) };
            match check(signal.into()) {
                Ok(signal) => return Ok(signal as i32),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Unblocks every signal of the calling thread: for a child before it runs another program.
///
/// # Errors
/// What the host said.
pub fn unblock_all() -> io::Result<()> {
    // SAFETY: a `sigset_t` is plain old data; sigemptyset initialises it before use.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: needed because sigsetops(3) are foreign functions; `set` is valid for writes.
    check(unsafe { libc::sigemptyset(&raw mut set) }.into())?;
    // SAFETY: needed because pthread_sigmask(3) is a foreign function; it reads `set`.
    let error =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
    if error == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}

/// Sends `signal` to one thread of this process (tgkill(2)).
///
/// # Errors
/// `ESRCH` when the thread ended.
pub fn send_to_thread(tid: Pid, signal: i32) -> io::Result<()> {
    let args = [
        u64::from(std::process::id()),
        tid as u64,
        signal as u64,
        0,
        0,
        0,
    ];
    // SAFETY: needed because the C library wraps it only since 2.30; no pointers are involved, and
    // our own thread group as first argument keeps a reused thread number of another process out.
    crate::call::check(unsafe { crate::call::syscall6(libc::SYS_tgkill, args) })?;
    Ok(())
}
