//! Wall-clock time as the log lines and log streams of AWS spell it (UTC).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The clock by which timers run; tests may stop it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Milliseconds since 1970.
pub(crate) fn epoch_ms() -> u64 {
    u64::try_from(epoch().as_millis()).unwrap_or(u64::MAX)
}

fn epoch() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// A moment that somebody told in nanoseconds since 1970, who is believed if it was after `earliest`.
pub(crate) fn told(epoch_ns: u64, earliest: Instant) -> Instant {
    let now = now();
    let ago = epoch().saturating_sub(Duration::from_nanos(epoch_ns));
    let latest = now.saturating_duration_since(earliest);
    now.checked_sub(ago.min(latest)).unwrap_or(now)
}

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant, "chrono-compatible
/// low-level date algorithms": civil_from_days).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// `2026-03-01T12:34:56.789Z`
pub(crate) fn iso(epoch_ms: u64) -> String {
    let (year, month, day) = civil(epoch_ms / 86_400_000);
    let (second, ms) = (epoch_ms / 1000 % 86_400, epoch_ms % 1000);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// A new log stream for an instance of a version: `2026/01/01/[1]0123…`.
pub(crate) fn stream(version: &str) -> String {
    let id = uuid::Uuid::new_v4().simple();
    format!("{}/[{version}]{id}", date(epoch_ms()))
}

/// `2026/03/01`
pub(crate) fn date(epoch_ms: u64) -> String {
    let (year, month, day) = civil(epoch_ms / 86_400_000);
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
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(951_827_696_789), "2000-02-29T12:34:56.789Z");
        assert_eq!(iso(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(date(1_709_251_200_000), "2024/03/01");
        assert_eq!(date(4_102_444_799_000), "2099/12/31");
    }
}
