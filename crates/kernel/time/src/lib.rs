//! Guest time: clocks, the vDSO that shows them without a system call, and timers.
//!
//! [`Clocks`] keeps the sandbox's clocks. They follow the host's but are the guest's own:
//! the monotonic clock starts where the sandbox says, so that a restored sandbox goes on
//! where it was saved. [`TimerService`] tells waiters when a time has come.
//!
//! Lock order: the heap lock of [`TimerService`], then the calibration lock of [`Clocks`],
//! then nothing. Notifications are given without any lock.
#![forbid(unsafe_code)]

mod clocks;
mod rate;
mod timers;
pub mod vdso;

pub use clocks::{ClockSource, Clocks, GuestClock, VdsoMemory};
pub use timers::{TimerHandle, TimerService};
