//! Tasks (guest threads), processes and how they are related.
//!
//! ```text
//!   Tree ──▶ Process (pid, signal actions, limits) ──▶ Task (tid, mask, memory, files)
//!     └── links: parent, children, group, session, stop and exit state
//! ```
//!
//! Lock order: [`Tree`], then a process's signal state, then a task's own fields, then parkers.

mod called_files;
mod cpu_ledger;
mod credentials;
mod exit_status;
mod limits;
mod new_program;
mod orphans;
mod process;
mod protection;
mod restart;
pub mod saved;
mod standstill;
mod thread;
mod tree;
mod vfork;

pub use called_files::{CalledFile, CalledFiles};
pub use cpu_ledger::{CpuLedger, LONG_STRETCH};
pub use credentials::{ALL_CAPABILITIES, Creds, securebits};
pub use exit_status::ExitStatus;
pub use limits::{Resource, Rlimit, Rlimits};
pub use new_program::{Changed, FileIds};
pub use process::{Process, ProcessSignals, TimesUsed};
pub use protection::Protection;
pub use restart::{Blocked, OnSignal, Restart, TimedCall};
pub use standstill::{SavedCall, SavedFile, Standstill};
pub use thread::{Task, TaskFields, TaskParts, TaskSignals};
pub use tree::{Descent, Links, PID_MAX, StopState, Tree};
pub use vfork::VforkDone;

/// Process, thread, group and session numbers.
pub type Pid = i32;
