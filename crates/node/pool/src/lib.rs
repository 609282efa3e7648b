//! The instances of one machine: which to start, reuse, queue for and stop
//! ([`decide`], pure), and the life of each ([`Pool`] acts).
//!
//! ```text
//! Pool::invoke ─▶ decide ─▶ instance task ─▶ Launcher/Link (a sandbox process)
//!                               │
//!                               └─▶ node-logs (lines, budget, tail) ─▶ subscribers, store on disk
//! ```
//!
//! Invariant: nothing here knows how a sandbox is made; the agent implements
//! [`Launcher`], tests a scripted one.
#![forbid(unsafe_code)]

mod answer;
mod capacity;
mod capture;
mod clock;
pub mod decide;
mod drive;
mod exit;
mod failure;
mod instance;
mod invocation;
mod launch;
mod prepare;
mod report;
mod warm_up;

pub use decide::InstanceId;
pub use drive::{Pool, PoolConfig};
pub use invocation::Arrival;
pub use launch::{Capture, First, LaunchError, Launcher, Link, Moment, NoShell, TakeFirst};
