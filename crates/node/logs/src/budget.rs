//! How many bytes of log an instance may have stored: a bucket of tokens, so that a
//! flood costs the machine a bounded amount and short bursts pass.

#[cfg(test)]
use std::time::Duration;
use std::time::Instant;

/// Bytes that may come at once.
const BURST: u64 = 4 * 1024 * 1024;
/// Bytes a second that may come for ever.
const RATE: u64 = 1024 * 1024;
/// Bytes that must be there again after all were spent: lines are dropped in long runs,
/// not every other one.
const REOPEN: u64 = BURST / 4;

#[derive(Debug)]
pub(crate) struct LogBudget {
    left: u64,
    at: Instant,
    /// Bytes that must be left for a line to pass.
    least: u64,
}

impl LogBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            at: now,
            least: 0,
        }
    }

    /// Whether `bytes` may still be stored.
    pub(crate) fn spend(&mut self, bytes: usize, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.at).as_millis() * u128::from(RATE) / 1000;
        if earned > 0 {
            self.at = now;
            self.left = self
                .left
                .saturating_add(u64::try_from(earned).unwrap_or(BURST))
                .min(BURST);
        }
        // A line costs something even when it is empty.
        let cost = bytes as u64 + 64;
        let enough = self.left >= cost.max(self.least);
        if enough {
            self.left -= cost;
        }
        self.least = if enough { 0 } else { REOPEN };
        enough
    }

    /// When a full bucket is there again.
    #[cfg(test)]
    fn full_after() -> Duration {
        Duration::from_secs(BURST / RATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_time_heals() {
        let start = Instant::now();
        let mut budget = LogBudget::new(start);
        let flood = (0..100_000).filter(|_| budget.spend(1000, start)).count() as u64;
        assert!(flood * 1064 <= BURST && (flood + 1) * 1064 > BURST);
        assert!(!budget.spend(1000, start));
        assert!(budget.spend(1_000_000, start + LogBudget::full_after()));
    }
}
