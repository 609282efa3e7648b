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
mod config;
pub mod decide;
mod drive;
mod ending;
mod exit;
mod failure;
mod instance;
mod invocation;
mod launch;
mod notes;
mod prepare;
mod report;
mod serve;
mod shared;
mod start;
mod terms;
mod warm_up;

pub use config::PoolConfig;
pub use decide::InstanceId;
pub use drive::Pool;
pub use invocation::Arrival;
pub use launch::{Capture, CapturePoint, First, LaunchError, Launcher, Link, NoShell, TakeFirst};
