//! Times as the log lines and log streams of AWS spell them (UTC), and those that a sandbox tells.

use std::time::{Duration, Instant};

pub(crate) use base_clock::{epoch_ms, now};

use base_clock::{DateTime, epoch};

/// A moment that somebody told in nanoseconds since 1970, who is believed if it was after `earliest`.
pub(crate) fn told(epoch_ns: u64, earliest: Instant) -> Instant {
    let now = now();
    let ago = epoch().saturating_sub(Duration::from_nanos(epoch_ns));
    let latest = now.saturating_duration_since(earliest);
    now.checked_sub(ago.min(latest)).unwrap_or(now)
}

/// `2026-03-01T12:34:56.789Z`
pub(crate) fn iso(epoch_ms: u64) -> String {
    format!("{}Z", DateTime::from_epoch_ms(epoch_ms).iso())
}

/// A new log stream for an instance of a version: `2026/01/01/[1]0123…`.
pub(crate) fn stream(version: &str) -> String {
    let id = uuid::Uuid::new_v4().simple();
    format!("{}/[{version}]{id}", date(epoch_ms()))
}

/// `2026/03/01`
fn date(epoch_ms: u64) -> String {
    let DateTime {
        year, month, day, ..
    } = DateTime::from_epoch_ms(epoch_ms);
    format!("{year:04}/{month:02}/{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_told_moment_is_neither_in_the_future_nor_too_long_ago() {
        let earliest = now();
        for told_ns in [0, u64::MAX, epoch().as_nanos() as u64] {
            let moment = told(told_ns, earliest);
            assert!(earliest <= moment && moment <= now());
        }
        assert_eq!(told(0, earliest), earliest);
    }

    #[test]
    fn known_moments() {
        assert_eq!(iso(951_827_696_789), "2000-02-29T12:34:56.789Z");
        assert_eq!(date(1_709_251_200_000), "2024/03/01");
        assert_eq!(date(4_102_444_799_000), "2099/12/31");
    }
}
