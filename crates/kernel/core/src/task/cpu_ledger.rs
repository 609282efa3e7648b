//! How much of the time between two looks at the clock a thread was on a processor.
//!
//! Looking at a CPU clock costs a system call of the host, so short stretches are taken as they are, and what they were too
//! long is taken back from the next long one, where the clock is looked at.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

/// Stretches from here on, in nanoseconds, are held against the CPU clock. At least this much of each of them counts, so that
/// time never goes back for who looks in the middle of it.
pub const LONG_STRETCH: u64 = 1_000_000;

/// One CPU clock of the host, and what was charged of it. Its owner writes, others read.
#[derive(Debug, Default)]
pub struct CpuLedger {
    /// The clock's id; 0 = none.
    clock: AtomicI32,
    /// What it showed when it was looked at last.
    base: AtomicU64,
    /// What was charged since then, or was charged too much before.
    charged: AtomicU64,
}

impl CpuLedger {
    /// Counts by this clock from now on.
    pub fn follow(&self, clock: i32, shows: u64) {
        self.clock.store(clock, Relaxed);
        self.base.store(shows, Relaxed);
        self.charged.store(0, Relaxed);
    }

    /// The clock's id.
    #[must_use]
    pub fn clock(&self) -> Option<i32> {
        Some(self.clock.load(Relaxed)).filter(|id| *id != 0)
    }

    /// Charges a short stretch.
    pub fn charge(&self, stretch: u64) {
        let charged = self.charged.load(Relaxed);
        self.charged.store(charged.saturating_add(stretch), Relaxed);
    }

    /// How much of a long stretch that ends now is CPU time, the clock showing this.
    #[must_use]
    pub fn part_of(&self, stretch: u64, shows: u64) -> u64 {
        let used = shows.saturating_sub(self.base.load(Relaxed));
        let left = used.saturating_sub(self.charged.load(Relaxed));
        stretch.min(left.max(LONG_STRETCH))
    }

    /// The same, and charges it.
    pub fn settle(&self, stretch: u64, shows: u64) -> u64 {
        let used = shows.saturating_sub(self.base.load(Relaxed));
        let part = self.part_of(stretch, shows);
        let charged = self.charged.load(Relaxed).saturating_add(part);
        self.charged.store(charged.saturating_sub(used), Relaxed);
        self.base.store(shows, Relaxed);
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_a_processor_is_none_of_it() {
        const LONG: u64 = 10 * LONG_STRETCH;
        let ledger = CpuLedger::default();
        ledger.follow(1, 500);
        assert_eq!(ledger.settle(LONG, 500 + LONG), LONG);
        // Half of the time on a processor; then what was charged too much is taken back.
        assert_eq!(ledger.settle(LONG, 500 + LONG + LONG / 2), LONG / 2);
        ledger.charge(LONG_STRETCH / 2);
        let shows = 500 + LONG + LONG / 2;
        assert_eq!(ledger.part_of(LONG, shows), LONG_STRETCH);
        assert_eq!(ledger.settle(LONG, shows), LONG_STRETCH);
        let taken_back = LONG_STRETCH / 2 + LONG_STRETCH;
        assert_eq!(ledger.settle(LONG, shows + LONG), LONG - taken_back);
    }
}
