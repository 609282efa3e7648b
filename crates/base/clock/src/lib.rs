//! What time it is, and how it is written.
//!
//! Two clocks: [`now`] runs evenly and is what timers go by; [`epoch`] is the host's wall clock, for what people and
//! clients read. What decides is handed the time and reads neither.
//!
//! A test that stops tokio's clock (`start_paused`) stops [`now`] too: that is the simulated clock, and timers agree with it.
#![forbid(unsafe_code)]

mod calendar;

pub use calendar::DateTime;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The clock by which timers run; tests may stop it.
#[must_use]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Time since 1970-01-01T00:00:00Z by the host's wall clock.
#[must_use]
pub fn epoch() -> Duration {
    since_epoch(SystemTime::now())
}

/// Milliseconds since 1970-01-01T00:00:00Z by the host's wall clock.
#[must_use]
pub fn epoch_ms() -> u64 {
    u64::try_from(epoch().as_millis()).unwrap_or(u64::MAX)
}

/// The same of a time that was noted; nothing for what lies before.
#[must_use]
pub fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_test_stops_the_clock_and_moves_it() {
        let began = now();
        assert_eq!(now(), began);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(now() - began, Duration::from_secs(3600));
    }

    #[test]
    fn what_lies_before_1970_counts_as_its_beginning() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(since_epoch(before), Duration::ZERO);
    }
}
