//! What starts, watches and ends sandbox processes (`rekindle sandbox`), each in its control group.
//!
//! ```text
//! node/agent ──▶ Sandboxes ─▶ Spawner (a thread) ─▶ zygote ─▶ SandboxProcess   made ahead, spoken to asynchronously
//! rekindle run ──▶ AttachedSandbox                                             one, with this process's terminal
//! ```
//!
//! Invariants: a sandbox process is never linked, only spawned; none outlives its handle (it is killed when the handle is
//! dropped, when its socket closes, and by the host when the thread that spawned it ends). Nothing here knows what runs in
//! a sandbox.
#![forbid(unsafe_code)]

mod attached;
mod child;
mod favour;
mod limits;
mod process;
mod sandboxes;
mod spawner;

pub use attached::{AttachedSandbox, Reporting};
pub use host_sys::cgroup::GroupState;
pub use process::SandboxProcess;
pub use sandboxes::Sandboxes;
