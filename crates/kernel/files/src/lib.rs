//! Kernel objects that are files but live in no file system: pipes, event,
//! timer and signal files, epoll, inotify, memory files, terminals, the console.
//!
//! Each obeys the two rules of [`kernel_vfs`]: no operation blocks, and state is
//! plain data behind short locks. What they need of the rest of the kernel they
//! ask through small traits: [`Clock`], [`PendingSignals`], [`Exit`].
//!
//! Lock order: epoll graph, epoll interest list, the state of one file (two pipes
//! by address), epoll ready list, wait queue. No state lock is held while waking.
#![forbid(unsafe_code)]

pub mod anon;
pub mod budget;
pub mod clock;
pub mod console;
pub mod epoll;
pub mod eventfd;
pub mod fifo;
pub mod inotify;
pub mod memfd;
pub mod pidfd;
pub mod pipe;
pub mod pty;
pub mod signalfd;
#[cfg(test)]
mod testing;
pub mod timerfd;

pub use anon::AnonInodes;
pub use budget::{Budget, Charge, Exhausted};
pub use clock::{Alarm, Clock, ClockId};
pub use epoll::Epoll;
pub use eventfd::EventFd;
pub use fifo::FifoDriver;
pub use inotify::Inotify;
pub use memfd::MemFd;
pub use pidfd::{Exit, PidFd};
pub use signalfd::{PendingSignals, SignalFd};
pub use timerfd::TimerFd;
