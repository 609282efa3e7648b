//! Times as the API writes them.

use std::time::SystemTime;

use base_clock::{DateTime, since_epoch};

/// `LastModified`: `2026-01-01T00:00:00.000+0000`.
pub fn last_modified(time: SystemTime) -> String {
    format!("{}+0000", DateTime::from_epoch(since_epoch(time)).iso())
}

/// `X-Amz-Date`: `20260101T000000Z`.
pub fn http_date_basic(time: SystemTime) -> String {
    let DateTime {
        year,
        month,
        day,
        hour,
        minute,
        second,
        ..
    } = DateTime::from_epoch(since_epoch(time));
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn known_moments() {
        let at = |milliseconds| UNIX_EPOCH + Duration::from_millis(milliseconds);
        assert_eq!(last_modified(at(0)), "1970-01-01T00:00:00.000+0000");
        assert_eq!(
            last_modified(at(1_767_225_599_999)),
            "2025-12-31T23:59:59.999+0000"
        );
        assert_eq!(http_date_basic(at(1_767_225_600_000)), "20260101T000000Z");
    }
}
