//! Signals (signal(7)): sets, actions, queues, frames.

mod action;
mod frame;
mod number;
mod pending;
mod set;

pub use action::{Actions, DefaultAction, Disposition};
pub use frame::{FrameError, FrameRequest, restore_frame, write_frame};
pub use number::{Signal, si_code};
pub use pending::{Pending, siginfo};
pub use set::SignalSet;
