//! One sandbox of any kind, as the decision sees it.
//!
//! ```text
//! ComingUp ──▶ Up ──▶ Stopping ──▶ ∅        a shell that is taken goes from Up to ∅ at once: it is an instance then
//!     ╰─────────────────▲
//! ```
//!
//! A preparation is `ComingUp` all its life.

use std::time::Instant;

use proto_node::Revision;

use super::messages::{InstanceId, Kind};
use super::slots::Slots;

/// How far a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SandboxStage {
    ComingUp,
    Up,
    Stopping,
}

/// Whose wish a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// An event that waits, or somebody who waits for the end of a preparation.
    Somebody,
    /// What may come.
    Later,
}

/// See the head of this file.
#[derive(Debug, Clone)]
pub(super) struct Sandbox {
    pub(super) id: InstanceId,
    pub(super) revision: Revision,
    pub(super) kind: Kind,
    pub(super) stage: SandboxStage,
    pub(super) whose: For,
    /// Of the budget of memory, in MiB.
    pub(super) cost_mb: u64,
    /// Used by instances alone.
    pub(super) slots: Slots,
    /// When it came up or was done with its last event.
    pub(super) since: Instant,
}

impl Sandbox {
    /// Whether it is an instance that no event keeps.
    pub(super) fn is_idle(&self) -> bool {
        self.kind == Kind::Instance && self.stage == SandboxStage::Up && self.slots.taken() == 0
    }

    /// Events that it will take in a moment, though not now.
    pub(super) fn coming(&self) -> usize {
        match (self.kind, self.stage) {
            // It may have taken an event along, and be as good as done with it.
            (Kind::Instance, SandboxStage::ComingUp) => self.slots.free() + self.slots.soon(),
            (Kind::Instance, SandboxStage::Up) => self.slots.soon(),
            _ => 0,
        }
    }

    /// Whether it counts for what its function is to have.
    pub(super) fn stays(&self) -> bool {
        self.stage != SandboxStage::Stopping && !self.slots.retires()
    }
}
