//! What a blocked call remembers: plain data, so that it can run again after a
//! wake-up, after a signal, or after a restore in another process.

use std::sync::Arc;

use kernel_vfs::Registration;

use super::CalledFiles;
use crate::futex::FutexWaiter;

/// What a handler keeps from one run of the same call to the next.
#[derive(Clone, Default)]
pub struct Restart {
    /// Guest `CLOCK_MONOTONIC` nanoseconds after which the call gives up.
    pub deadline: Option<u64>,
    /// Bytes, descriptors or events dealt with already.
    pub progress: u64,
    /// Where a `timespec` with the time left to the deadline goes when a handler ends the call; 0 for nowhere.
    pub remaining_at: u64,
    /// A handler's own note (a child's number, a timer's expiry).
    pub note: u64,
    /// The place in a futex queue.
    pub futex: Option<Arc<FutexWaiter>>,
    /// The child whose vfork(2) this call waits for.
    pub vfork: Option<Arc<super::VforkDone>>,
    /// The open files it is about.
    pub files: CalledFiles,
}

/// What a signal does to a blocked call (signal(7), "Interruption of system calls").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSignal {
    /// Begins anew after a handler with `SA_RESTART`, else `EINTR` (`ERESTARTSYS`).
    Restart,
    /// `EINTR` if a handler ran, goes on if none did (`ERESTARTNOHAND`): poll, select, sigsuspend.
    Resume,
    /// `EINTR` if a handler ran, else goes on with the old deadline
    /// (`ERESTART_RESTARTBLOCK`): nanosleep, futex with a timeout.
    Timed,
    /// What was done so far is the result if a handler ran: writes and copies under way.
    Partial,
    /// Signals wait until the call is done; only death ends it (vfork's parent).
    Uninterruptible,
    /// Always `EINTR` when a handler ran, even with `SA_RESTART`: epoll_wait, semop, sockets with timeouts.
    Interrupt,
}

/// The handler's answer "not now": who wakes the task, and until when it sleeps.
#[derive(Debug)]
pub struct Blocked {
    /// Registrations to keep while asleep. Empty when a futex ticket or the parker itself is used.
    pub registrations: Vec<Registration>,
    /// What a signal does.
    pub on_signal: OnSignal,
}

/// A blocked call as it would be saved: number, arguments and what it remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedCall {
    /// System call number.
    pub nr: u64,
    /// Arguments.
    pub args: [u64; 6],
    /// As in [`Restart`].
    pub deadline: Option<u64>,
}
