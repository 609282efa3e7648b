//! Signatures that were used, so that none is used long after.
//!
//! Dates count seconds, and SDKs sign nothing else that differs: two requests of a client that are alike and follow each
//! other closely have one signature. So one that was used is good for a moment more, and not after that.
//!
//! They are remembered for as long as their date is good. When there are too many, those of the oldest minute go, and
//! from then on nothing that was signed in that minute or before is taken: forgetting never lets one in again.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Most signatures that are remembered; about 60 bytes each.
const MOST: usize = 300_000;
/// How long after its first use a signature is good: a client sends what it signs within a second at once.
const MOMENT: Duration = Duration::from_secs(5);
/// Characters of `20260101T000000Z` that name its minute.
const MINUTE: usize = 13;

/// What becomes of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It was not used before, or a moment ago.
    Good,
    /// It was used before.
    Before,
    /// It is from a time of which nothing is remembered.
    TooOld,
}

/// The signatures of the last minutes.
#[derive(Debug)]
pub(crate) struct Replays {
    most: usize,
    count: usize,
    /// By minute of the date with which they were made; the code's first bytes say enough. When each was first used.
    minutes: BTreeMap<String, HashMap<u128, Duration>>,
    /// The newest minute of which something was forgotten while its date was good.
    forgotten: String,
}

impl Default for Replays {
    fn default() -> Self {
        Self::with(MOST)
    }
}

impl Replays {
    fn with(most: usize) -> Self {
        Self {
            most,
            count: 0,
            minutes: BTreeMap::new(),
            forgotten: String::new(),
        }
    }

    /// Uses a signature made at `time`; `now` is since any fixed moment. Those before `oldest` are not good any more.
    pub(crate) fn see(
        &mut self,
        signature: &[u8],
        time: &str,
        oldest: &str,
        now: Duration,
    ) -> Seen {
        let minute = time.get(..MINUTE).unwrap_or(time).to_owned();
        let oldest = oldest.get(..MINUTE).unwrap_or(oldest);
        while let Some(first) = self.minutes.first_entry() {
            if first.key().as_str() >= oldest {
                break;
            }
            self.count -= first.remove().len();
        }
        if minute <= self.forgotten {
            return Seen::TooOld;
        }
        let (start, _) = signature.as_chunks::<16>();
        let start = u128::from_le_bytes(start.first().copied().unwrap_or_default());
        match self.minutes.entry(minute).or_default().entry(start) {
            Entry::Occupied(first) if now.saturating_sub(*first.get()) > MOMENT => {
                return Seen::Before;
            }
            Entry::Occupied(_) => return Seen::Good,
            Entry::Vacant(unused) => unused.insert(now),
        };
        self.count += 1;
        if self.count > self.most
            && let Some((minute, those)) = self.minutes.pop_first()
        {
            self.count -= those.len();
            self.forgotten = minute;
        }
        Seen::Good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_good_for_a_moment_and_forgetting_lets_none_in_again() {
        let mut replays = Replays::with(3);
        let code = |number: u8| [number; 32];
        let mut see = |number, time: &str, oldest, now| {
            replays.see(&code(number), time, oldest, Duration::from_secs(now))
        };
        let (old, new) = ("20260101T000059Z", "20260101T000100Z");
        let before = "20251231T235500Z";
        assert_eq!(see(1, old, before, 0), Seen::Good);
        assert_eq!(see(1, old, before, 5), Seen::Good);
        assert_eq!(see(1, old, before, 6), Seen::Before);
        assert_eq!(see(2, old, before, 6), Seen::Good);
        assert_eq!(see(3, new, before, 6), Seen::Good);
        assert_eq!(see(4, new, before, 6), Seen::Good);
        // That was one too many: the first minute is forgotten as a whole.
        assert_eq!(see(1, old, before, 7), Seen::TooOld);
        assert_eq!(see(5, old, before, 7), Seen::TooOld);
        assert_eq!(see(3, new, before, 12), Seen::Before);
        // What is not good any more takes no room.
        let late = see(6, "20260101T000700Z", "20260101T000200Z", 400);
        assert_eq!(late, Seen::Good);
        assert_eq!((replays.count, replays.minutes.len()), (1, 1));
    }
}
