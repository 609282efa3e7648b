//! Where functions stand that have fewer instances or shells than they are to have, whether events come or not.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use proto_node::Revision;

/// What is started for later and fails is tried again after this, then after twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(64);

/// Where a function stands with one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// It lacks nothing.
    #[default]
    None,
    /// It waits for a processor.
    Queue,
    /// It waits for a time to come.
    Later,
    /// It waits until something ends: there is no room.
    Room,
}

/// What a function lacks of one kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Lack {
    pub(super) place: Place,
    /// Nothing is started before.
    pub(super) not_before: Option<Instant>,
    /// Starts that failed since the last that did not.
    pub(super) failures: u32,
}

impl Lack {
    /// Starts nothing until then.
    pub(super) fn hold(&mut self, until: Instant) {
        self.not_before = self.not_before.max(Some(until));
    }

    pub(super) fn failed(&mut self, now: Instant) {
        let pause = FIRST_PAUSE * 2u32.saturating_pow(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.hold(now + pause.min(LONGEST_PAUSE));
    }

    pub(super) fn succeeded(&mut self) {
        if self.failures > 0 {
            self.failures = 0;
            self.not_before = None;
        }
    }
}

/// All functions that lack something of one kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    queue: VecDeque<Revision>,
    later: BTreeSet<(Instant, Revision)>,
    no_room: Vec<Revision>,
}

impl Line {
    /// Puts a function at its place, which is the last one where there is an order.
    pub(super) fn put(&mut self, revision: Revision, lack: &mut Lack, place: Place) {
        lack.place = place;
        match (place, lack.not_before) {
            (Place::Queue, _) => self.queue.push_back(revision),
            (Place::Later, Some(at)) => drop(self.later.insert((at, revision))),
            (Place::Room, _) => self.no_room.push(revision),
            (Place::None | Place::Later, _) => lack.place = Place::None,
        }
    }

    /// The first that waits for a processor. It may have been forgotten meanwhile, or be here twice.
    pub(super) fn first(&mut self) -> Option<Revision> {
        self.queue.pop_front()
    }

    /// It stays the first.
    pub(super) fn again(&mut self, revision: Revision) {
        self.queue.push_front(revision);
    }

    /// One whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<Revision> {
        let due = self.later.first().is_some_and(|(at, _)| *at <= now);
        if !due {
            return None;
        }
        self.later.pop_first().map(|(_, revision)| revision)
    }

    /// Those that wait for room.
    pub(super) fn without_room(&mut self) -> Vec<Revision> {
        std::mem::take(&mut self.no_room)
    }

    /// When the time of the next has come.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }
}
