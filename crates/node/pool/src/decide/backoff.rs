//! Functions whose instances do not come up, one after the other: each start costs the machine as much as one that is of use, so their events
//! wait a little longer for each. What an event waits is bounded, and the first starts wait for nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use proto_node::Revision;

/// Starts in a row that fail before the next has to wait: clients try again too, and a fault may be over.
const FREE: u32 = 3;
/// What the next waits then; the one after it twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);
/// Functions that are remembered.
const MOST: usize = 1024;

/// How often a function failed in a row, and when it may be started again.
#[derive(Debug, Clone, Copy)]
struct Failing {
    times: u32,
    not_before: Instant,
}

/// See the head of this file.
#[derive(Debug, Clone, Default)]
pub(super) struct Backoff {
    functions: BTreeMap<Revision, Failing>,
    /// The longest known first.
    order: VecDeque<Revision>,
}

impl Backoff {
    /// An instance did not come up.
    pub(super) fn failed(&mut self, revision: &Revision, now: Instant) {
        if !self.functions.contains_key(revision) {
            if self.order.len() >= MOST
                && let Some(first) = self.order.pop_front()
            {
                self.functions.remove(&first);
            }
            self.order.push_back(revision.clone());
        }
        let failing = self.functions.entry(revision.clone()).or_insert(Failing {
            times: 0,
            not_before: now,
        });
        failing.times = failing.times.saturating_add(1);
        if let Some(more) = failing.times.checked_sub(FREE) {
            let pause = FIRST * 2u32.saturating_pow(more.min(16));
            failing.not_before = now + pause.min(LONGEST);
        }
    }

    /// One came up.
    pub(super) fn succeeded(&mut self, revision: &Revision) {
        if self.functions.remove(revision).is_some() {
            self.order.retain(|known| known != revision);
        }
    }

    /// Until when nothing of a function is started for events.
    pub(super) fn until(&self, revision: &Revision, now: Instant) -> Option<Instant> {
        let failing = self.functions.get(revision)?;
        (failing.not_before > now).then_some(failing.not_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let revision = Revision("r".into());
        let pauses = [0; 9].map(|_| {
            backoff.failed(&revision, now);
            let until = backoff.until(&revision, now);
            until.map_or(0, |until| (until - now).as_millis())
        });
        assert_eq!(pauses, [0, 0, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(backoff.until(&revision, now + LONGEST), None);
        backoff.succeeded(&revision);
        assert_eq!(backoff.until(&revision, now), None);
        for number in 0..2 * MOST {
            backoff.failed(&Revision(number.to_string()), now);
        }
        assert_eq!((backoff.functions.len(), backoff.order.len()), (MOST, MOST));
    }
}
