//! Turning counter ticks into nanoseconds: the arithmetic of calibration, without I/O.

/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;
/// Shortest time that gives a rate worth using: an error of reading of 50 ns is 5 parts in a million of it.
pub(crate) const FIRST_SPAN: u64 = 10_000_000;
/// Largest part by which a rate is bent to follow the host: 500 in a million, as adjtimex(2) does.
const SLEW: i128 = 500;
/// What is behind by more than this is not slewed: the clock moves ahead at once.
const STEP: u64 = 1_000_000;

/// The counter and the host's monotonic clock at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) ticks: u64,
    pub(crate) nanos: u64,
}

/// A line through counter and guest time: `nanos + (ticks - base) * mult / 2^32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) ticks: u64,
    pub(crate) nanos: u64,
    pub(crate) mult: u64,
}

impl Line {
    /// Guest time at a counter value; values before the base count as the base, as the vDSO does.
    pub(crate) fn at(&self, ticks: u64) -> u64 {
        let delta = u128::from(ticks.saturating_sub(self.ticks));
        let nanos = (delta * u128::from(self.mult)) >> 32;
        self.nanos.wrapping_add(nanos as u64)
    }
}

/// Nanoseconds a tick times 2^32 between two samples; `None` when the counter did not move sensibly.
pub(crate) fn rate(from: Sample, to: Sample) -> Option<u64> {
    let ticks = u128::from(to.ticks.checked_sub(from.ticks).filter(|&t| t > 0)?);
    let nanos = u128::from(to.nanos.checked_sub(from.nanos)?);
    u64::try_from((nanos << 32) / ticks).ok().filter(|&m| m > 0)
}

/// The next line: continues `now` (guest time by the old line) without a step back and reaches
/// `target` (guest time by the host) after about `interval`.
pub(crate) fn follow(ticks: u64, now: u64, target: u64, rate: u64, interval: u64) -> Line {
    if target > now && target - now > STEP {
        return Line {
            ticks,
            nanos: target,
            mult: rate,
        };
    }
    let error = i128::from(target) - i128::from(now);
    let part = (error * 1_000_000 / i128::from(interval.max(1))).clamp(-SLEW, SLEW);
    let mult = i128::from(rate) * (1_000_000 + part) / 1_000_000;
    Line {
        ticks,
        nanos: now,
        mult: u64::try_from(mult).unwrap_or(rate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GHZ_2: u64 = 1 << 31;

    #[test]
    fn a_rate_is_found_from_two_samples() {
        let from = Sample {
            ticks: 1000,
            nanos: 500,
        };
        let to = Sample {
            ticks: 2_001_000,
            nanos: 1_000_500,
        };
        assert_eq!(rate(from, to), Some(GHZ_2));
        assert_eq!(rate(to, from), None);
        assert_eq!(rate(from, from), None);
    }

    #[test]
    fn following_never_goes_back_and_meets_the_host() {
        for (now, target) in [(5_000_000, 5_000_400), (5_000_400, 5_000_000)] {
            let line = follow(77, now, target, GHZ_2, SECOND);
            assert_eq!(line.at(77), now);
            let later = line.at(77 + 2 * SECOND);
            assert!(later.abs_diff(target + SECOND) < 2_000, "{later}");
        }
        let behind = follow(0, 10, 10 + 2 * STEP, GHZ_2, SECOND);
        assert_eq!(behind.at(0), 10 + 2 * STEP);
        let ahead = follow(0, 10 + 900 * STEP, 10, GHZ_2, SECOND);
        assert!(ahead.at(0) == 10 + 900 * STEP && ahead.mult < GHZ_2);
    }

    #[test]
    fn a_counter_before_the_base_is_the_base() {
        let line = Line {
            ticks: 100,
            nanos: 7,
            mult: GHZ_2,
        };
        assert_eq!(line.at(99), 7);
        assert_eq!(line.at(102), 8);
    }
}
