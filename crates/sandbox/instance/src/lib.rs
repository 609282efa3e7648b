//! One sandbox: a kernel, a platform and a root file system in one jailed process.
//!
//! ```text
//!   Start ─▶ boot ──────────────────────▶ Running ◀──freeze/thaw──▶ (frozen)
//!              │ (root fs, jail, program)  ▲ │ exit, Stop, out of memory
//!              └─▶ Failed                  │ └──▶ Exited
//!   Shell ─▶ Shell ──Restore──▶ Restored ──┘
//! ```
//!
//! [`child::run`] is the whole life of the process; it speaks `proto-sandbox` with its parent. What a sandbox is for
//! is a [`workload`]: a Lambda function, or a program with its streams.
#![forbid(unsafe_code)]

mod boot;
mod build_error;
mod capture;
pub mod child;
mod diagnostics;
mod hot;
mod inbox;
mod machine;
mod memory;
mod notices;
mod outbox;
mod parsed;
mod rootfs;
mod running;
mod shell;
mod stdio;
#[cfg(test)]
mod tests;
mod workload;
pub mod zygote;

pub use build_error::BuildError;
pub use diagnostics::Diagnostics;
