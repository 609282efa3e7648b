//! Times as the API writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Year, month and day of a day count since 1970-01-01, in the proleptic Gregorian calendar.
///
/// Algorithm: years that start in March make the leap day the last day of the year.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `LastModified`: `2026-01-01T00:00:00.000+0000`.
pub fn last_modified(time: SystemTime) -> String {
    let since = since_epoch(time);
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}+0000",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        since.subsec_millis()
    )
}

/// `X-Amz-Date`: `20260101T000000Z`.
pub fn http_date_basic(time: SystemTime) -> String {
    let seconds = since_epoch(time).as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        let at = |seconds, millis| {
            UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis)
        };
        assert_eq!(last_modified(at(0, 0)), "1970-01-01T00:00:00.000+0000");
        assert_eq!(
            last_modified(at(951_782_400, 7)),
            "2000-02-29T00:00:00.007+0000"
        );
        assert_eq!(
            last_modified(at(1_767_225_599, 999)),
            "2025-12-31T23:59:59.999+0000"
        );
        assert_eq!(http_date_basic(at(1_767_225_600, 0)), "20260101T000000Z");
    }
}
