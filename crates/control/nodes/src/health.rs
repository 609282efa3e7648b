//! Whether a node can be counted on.
//!
//! ```text
//!          connected                 silent for long
//!   Down ────────────▶ Up ─────────────────────────────▶ Suspect
//!    ▲                 │ ◀──────────── heard of ──────────┘ │
//!    └─────────────────┴────────── connection lost ─────────┘
//! ```

use std::time::{Duration, Instant};

/// How long a connected node may be silent before others are asked first; it is looked at twice a second.
const SILENT: Duration = Duration::from_secs(3);

/// What can be expected of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeState {
    /// It answers.
    Up,
    /// It is connected and has not answered for a while: asked only where nobody else is.
    Suspect,
    /// Not connected: not asked at all.
    Down,
}

/// What was heard of a node, and when.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Health {
    heard: Option<Instant>,
}

impl Health {
    /// It is connected, or has answered.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// Its connection is lost.
    pub(crate) fn lost(&mut self) {
        self.heard = None;
    }

    pub(crate) fn state(&self, now: Instant) -> NodeState {
        match self.heard {
            None => NodeState::Down,
            Some(heard) if now.saturating_duration_since(heard) < SILENT => NodeState::Up,
            Some(_) => NodeState::Suspect,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_node_is_suspect_until_it_is_heard_of_or_lost() {
        let start = Instant::now();
        let mut health = Health::default();
        assert_eq!(health.state(start), NodeState::Down);
        health.heard(start);
        assert_eq!(health.state(start), NodeState::Up);
        let later = start + SILENT;
        assert_eq!(health.state(later), NodeState::Suspect);
        health.heard(later);
        assert_eq!(health.state(later), NodeState::Up);
        health.lost();
        assert_eq!(health.state(later), NodeState::Down);
    }
}
