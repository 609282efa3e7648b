//! The heart of the user-space Linux kernel: tasks, signals, futexes and the
//! freeze switch.
//!
//! Everything here is plain data behind short locks: a blocked call is a number,
//! its arguments and a [`Restart`](task::Restart), never a host stack.
//!
//! Invariant: this crate never names a platform; it knows only `platform-api`.
#![forbid(unsafe_code)]

pub mod freeze;
pub mod futex;
pub mod kernel;
pub mod park;
pub mod rng;
pub mod signal;
pub mod task;

pub use kernel::{Config, CpuFacts, Kernel};
