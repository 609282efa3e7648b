//! The proleptic Gregorian calendar, in UTC.

use std::time::Duration;

/// A moment in UTC, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime {
    /// For example 2026.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
    /// 0 to 999.
    pub millisecond: u32,
}

impl DateTime {
    /// The moment so long after 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn from_epoch(since: Duration) -> DateTime {
        let seconds = since.as_secs();
        let (year, month, day) = civil(seconds / 86_400);
        DateTime {
            year,
            month,
            day,
            hour: seconds / 3600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            millisecond: since.subsec_millis(),
        }
    }

    /// The same from milliseconds.
    #[must_use]
    pub fn from_epoch_ms(milliseconds: u64) -> DateTime {
        DateTime::from_epoch(Duration::from_millis(milliseconds))
    }

    /// `2026-03-01T12:34:56.789`, without a zone.
    #[must_use]
    pub fn iso(&self) -> String {
        let DateTime {
            year,
            month,
            day,
            hour,
            minute,
            second,
            millisecond,
        } = self;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}")
    }
}

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant, "chrono-compatible
/// low-level date algorithms": civil_from_days). Years that start in March make the leap day the last of the year.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        let iso = |ms| DateTime::from_epoch_ms(ms).iso();
        assert_eq!(iso(0), "1970-01-01T00:00:00.000");
        assert_eq!(iso(951_782_400_007), "2000-02-29T00:00:00.007");
        assert_eq!(iso(951_827_696_789), "2000-02-29T12:34:56.789");
        assert_eq!(iso(1_709_251_199_999), "2024-02-29T23:59:59.999");
        assert_eq!(iso(1_709_251_200_000), "2024-03-01T00:00:00.000");
        assert_eq!(iso(1_767_225_599_999), "2025-12-31T23:59:59.999");
        assert_eq!(iso(4_102_444_799_000), "2099-12-31T23:59:59.000");
    }
}
