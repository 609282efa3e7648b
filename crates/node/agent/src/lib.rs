//! Runs functions on this machine: implements [`proto_node::Node`] with the pool's
//! instances as sandbox processes (`rekindle sandbox --fd 0`).
//!
//! Invariants: a sandbox process is never linked, only spawned; none outlives the agent
//! (each is killed when its link is dropped, when its socket closes, and by the host when
//! the thread that spawned it ends).
#![forbid(unsafe_code)]

mod agent;
mod config;
mod error;
mod launched;
mod launcher;
mod restore;
mod shells;
mod snapshots;
mod start;
mod templates;

pub use agent::Agent;
pub use config::{AgentConfig, TemplateUse};
pub use error::AgentError;
pub use node_sandboxes::GroupState;
pub use snapshots::SnapshotsError;
