//! How many shells a function should have, from how its starts follow each other.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::lines::Lack;
use super::messages::InstanceId;

/// Starts closer together than this want a shell more, those farther apart than [`FAR`] one less.
const NEAR: Duration = Duration::from_millis(200);
const FAR: Duration = Duration::from_secs(10);
/// How long the event that took a shell has the processor to itself, before another is made.
pub(super) const LATER: Duration = Duration::from_millis(5);

/// What the starts of a function ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    /// At least 1.
    wanted: usize,
    /// Time of the last start.
    last: Instant,
}

impl Demand {
    /// The first start, or the first snapshot.
    pub(super) fn first(now: Instant) -> Demand {
        Demand {
            wanted: 1,
            last: now,
        }
    }

    /// One more start.
    pub(super) fn another(self, now: Instant, most: usize) -> Demand {
        let since = now.saturating_duration_since(self.last);
        let wanted = if since < NEAR {
            (self.wanted + 1).min(most.max(1))
        } else if since > FAR {
            (self.wanted / 2).max(1)
        } else {
            self.wanted
        };
        Demand { wanted, last: now }
    }

    pub(super) fn last(self) -> Instant {
        self.last
    }
}

/// The shells of one function. Those that end are not among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Shelf {
    /// None while there is no snapshot to make shells of, as far as is known.
    pub(super) demand: Option<Demand>,
    /// The oldest first.
    pub(super) ready: VecDeque<InstanceId>,
    pub(super) making: Vec<InstanceId>,
    /// See [`Target`](super::Target).
    pub(super) target: usize,
    pub(super) lack: Lack,
}

impl Shelf {
    /// Shells that are there or coming.
    pub(super) fn have(&self) -> usize {
        self.ready.len() + self.making.len()
    }

    /// Shells that should be.
    pub(super) fn wanted(&self) -> usize {
        let demand = self.demand.map_or(0, |demand| demand.wanted);
        demand.max(self.target)
    }

    /// Asks for no more than there is, beyond the target.
    pub(super) fn be_content(&mut self) {
        let have = self.have();
        self.demand = match self.demand {
            Some(demand) if have > 0 => Some(Demand {
                wanted: demand.wanted.min(have),
                ..demand
            }),
            _ => None,
        };
    }

    /// Asks for one less than there is, beyond the target.
    pub(super) fn expect_one_less(&mut self) {
        let less = self.have().saturating_sub(1);
        self.demand = self.demand.filter(|_| less > 0).map(|demand| Demand {
            wanted: demand.wanted.min(less),
            ..demand
        });
    }

    /// The time since when a shell was of no use to anybody, if one can be spared.
    pub(super) fn spare_since(&self) -> Option<Option<Instant>> {
        let spare = !self.ready.is_empty() && self.have() > self.target;
        spare.then(|| self.demand.map(Demand::last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_follows_how_close_starts_are() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut demand = Demand::first(at(0));
        assert_eq!(demand.wanted, 1);
        for n in 1..20 {
            demand = demand.another(at(n * 10), 8);
        }
        assert_eq!(demand.wanted, 8);
        demand = demand.another(at(1_000), 8);
        assert_eq!(demand.wanted, 8);
        for n in 1..10 {
            demand = demand.another(at(1_000 + n * 20_000), 8);
        }
        assert_eq!(demand.wanted, 1);
    }
}
