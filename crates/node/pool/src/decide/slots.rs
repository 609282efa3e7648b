//! The places of one instance, each for one event at a time.
//!
//! ```text
//!            take            answered           finish
//! free ─────────────▶ taken ─────────▶ closing ────────▶ free
//!   ▲                 │ │  ◀───────── late ╯               │
//!   ╰── give back ────╯ ╰───────────── finish ─────────────╯
//! ```
//!
//! An instance whose events are kept apart has one place, and it is free once. One that retires has no free places
//! any more; its events come to their end.

use proto_node::Isolation;

use super::messages::Shape;

/// See the head of this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slots {
    all: u32,
    /// Taken, closing ones among them.
    taken: u32,
    /// Their events are answered and not over.
    closing: u32,
    /// Events that it may still take; none if that is not counted.
    left: Option<u32>,
    retires: bool,
}

impl Slots {
    /// Of an instance that has no event.
    pub(super) fn of(shape: Shape) -> Self {
        let apart = shape.isolation == Isolation::PerEvent;
        Self {
            all: if apart { 1 } else { shape.slots.get() },
            taken: 0,
            closing: 0,
            left: apart.then_some(1),
            retires: false,
        }
    }

    /// Events that it could take now.
    pub(super) fn free(self) -> usize {
        let free = if self.retires {
            0
        } else {
            self.left.unwrap_or(u32::MAX).min(self.all - self.taken)
        };
        free as usize
    }

    /// Events that it can take in a moment.
    pub(super) fn soon(self) -> usize {
        let over = self.retires || self.left == Some(0);
        if over { 0 } else { self.closing as usize }
    }

    /// Events that it has.
    pub(super) fn taken(self) -> usize {
        self.taken as usize
    }

    /// Whether it has no event and will take none.
    pub(super) fn is_over(self) -> bool {
        self.taken == 0 && (self.retires || self.left == Some(0))
    }

    pub(super) fn retires(self) -> bool {
        self.retires
    }

    /// It takes no more events.
    pub(super) fn retire(&mut self) {
        self.retires = true;
    }

    /// It has one event more. To be asked of one with a free place.
    pub(super) fn take(&mut self) {
        self.taken = (self.taken + 1).min(self.all);
        self.left = self.left.map(|left| left.saturating_sub(1));
    }

    /// An event that it had not begun with goes elsewhere.
    pub(super) fn give_back(&mut self) {
        self.taken = self.taken.saturating_sub(1);
        self.left = self.left.map(|left| left + 1);
    }

    pub(super) fn answered(&mut self) {
        self.closing = (self.closing + 1).min(self.taken);
    }

    pub(super) fn late(&mut self) {
        self.closing = self.closing.saturating_sub(1);
    }

    /// One event is over. If others are answered too it is not known which: the guess is on the safe side, since a
    /// place that is believed to be taken has an instance started that was not needed.
    pub(super) fn finish(&mut self) {
        self.taken = self.taken.saturating_sub(1);
        self.closing = self.closing.saturating_sub(1);
    }
}
