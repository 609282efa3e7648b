//! Tasks (guest threads), processes and how they are related.
//!
//! ```text
//!   Tree ──▶ Process (pid, signal actions, limits) ──▶ Task (tid, mask, memory, files)
//!     └── links: parent, children, group, session, stop and exit state
//! ```
//!
//! Lock order: [`Tree`], then a process's signal state, then a task's own fields, then parkers.

mod credentials;
mod limits;
mod process;
mod restart;
pub mod saved;
mod thread;
mod tree;

pub use credentials::Creds;
pub use limits::{Resource, Rlimit, Rlimits};
pub use process::{Process, ProcessSignals, TimesUsed};
pub use restart::{Blocked, OnSignal, Restart, TimedCall};
pub use saved::Standstill;
pub use thread::{Task, TaskFields, TaskParts, TaskSignals, VforkDone};
pub use tree::{ExitStatus, Links, PID_MAX, StopState, Tree};

/// Process, thread, group and session numbers.
pub type Pid = i32;
