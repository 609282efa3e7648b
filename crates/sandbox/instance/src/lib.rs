//! One sandbox: a kernel, a platform and a root file system in one jailed process.
//!
//! ```text
//!   Start ─▶ Booting ──────────▶ Running ◀──freeze/thaw──▶ Frozen
//!              │ (root fs, jail,    │                         │
//!              │  first program)    └───── exit, Stop, ───────┴──▶ Ended ─▶ Exited
//!              └─▶ Failed                  out of memory
//! ```
//!
//! [`child::run`] is the whole life of the process; it speaks `proto-sandbox` with its parent.
#![forbid(unsafe_code)]

mod boot;
mod capture;
pub mod child;
mod failure;
mod function;
mod instance;
mod memory;
mod outbox;
mod restore;
mod rootfs;
mod stdio;
pub mod zygote;

pub use failure::Failure;
pub use instance::Instance;
