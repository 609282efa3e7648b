//! Byte ranges of record locks: cutting, joining, conflicts.

use std::collections::BTreeMap;

use super::{LockOwner, RecordLock};
use crate::{Errno, Result};

/// Shared or exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// `F_RDLCK`.
    Read,
    /// `F_WRLCK`.
    Write,
}

/// Bytes `start..=last`; a lock to the end of the file ends at [`LockRange::END`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRange {
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub last: u64,
}

impl LockRange {
    /// The last byte of locks without end.
    pub const END: u64 = i64::MAX.cast_unsigned();

    /// From `l_start` (already made absolute) and `l_len` of `struct flock`: a negative length lies
    /// before the start, zero reaches to the end.
    ///
    /// # Errors
    /// `EINVAL` for a range before byte 0, `EOVERFLOW` beyond the largest offset.
    pub fn new(start: i64, len: i64) -> Result<LockRange> {
        let (start, last) = match len {
            0 => (start, i64::MAX),
            1.. => (start, start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?),
            _ => (
                start.checked_add(len).ok_or(Errno::EINVAL)?,
                start.checked_sub(1).ok_or(Errno::EINVAL)?,
            ),
        };
        let start = u64::try_from(start).map_err(|_| Errno::EINVAL)?;
        let last = u64::try_from(last).map_err(|_| Errno::EINVAL)?;
        Ok(LockRange { start, last })
    }

    /// `l_len` for `F_GETLK`: 0 for a lock to the end.
    #[must_use]
    pub fn len(&self) -> i64 {
        if self.last == Self::END {
            return 0;
        }
        (self.last - self.start + 1).cast_signed()
    }

    /// Never: a range holds at least one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// A lock of an owner, by its first byte.
#[derive(Clone, Copy, Debug)]
struct Held {
    last: u64,
    pid: i32,
}

/// Locks of one kind, none over another.
#[derive(Debug, Default)]
struct Ranges(BTreeMap<u64, Held>);

impl Ranges {
    /// The first that shares a byte with `range`.
    fn first_in(&self, range: LockRange) -> Option<(u64, Held)> {
        let before = self.0.range(..=range.start).next_back();
        let before = before.filter(|(_, held)| held.last >= range.start);
        let found = before.or_else(|| self.0.range(range.start..=range.last).next());
        found.map(|(start, held)| (*start, *held))
    }

    /// Takes a range out, splitting those it lies within.
    fn cut(&mut self, range: LockRange) {
        while let Some((start, held)) = self.first_in(range) {
            self.0.remove(&start);
            if start < range.start {
                let last = range.start - 1;
                self.0.insert(start, Held { last, ..held });
            }
            if held.last > range.last {
                self.0.insert(range.last + 1, held);
            }
        }
    }

    /// Adds a range that is free, joined with its neighbours.
    fn add(&mut self, mut range: LockRange, pid: i32) {
        let before = self.0.range(..range.start).next_back();
        let before = before.filter(|(_, held)| held.last.checked_add(1) == Some(range.start));
        if let Some(start) = before.map(|(start, _)| *start) {
            self.0.remove(&start);
            range.start = start;
        }
        let next = range.last.checked_add(1);
        if let Some(after) = next.and_then(|next| self.0.remove(&next)) {
            range.last = after.last;
        }
        let last = range.last;
        self.0.insert(range.start, Held { last, pid });
    }
}

/// What one owner has locked in a file.
#[derive(Debug)]
struct Owned {
    owner: LockOwner,
    shared: Ranges,
    exclusive: Ranges,
}

impl Owned {
    fn len(&self) -> usize {
        self.shared.0.len() + self.exclusive.0.len()
    }

    fn record(&self, kind: LockKind, (start, held): (u64, Held)) -> RecordLock {
        RecordLock {
            owner: self.owner,
            pid: held.pid,
            range: LockRange {
                start,
                last: held.last,
            },
            kind,
        }
    }

    /// The first in the file that stands in the way.
    fn conflict(&self, wanted: &RecordLock) -> Option<RecordLock> {
        let exclusive = self.exclusive.first_in(wanted.range);
        let exclusive = exclusive.map(|found| self.record(LockKind::Write, found));
        let shared = (wanted.kind == LockKind::Write).then(|| self.shared.first_in(wanted.range));
        let shared = shared.flatten();
        let shared = shared.map(|found| self.record(LockKind::Read, found));
        let found = exclusive.into_iter().chain(shared);
        found.min_by_key(|record| record.range.start)
    }

    fn all(&self) -> impl Iterator<Item = RecordLock> {
        let of = |ranges: &Ranges, kind| {
            let ranges = ranges.0.iter();
            let records = ranges.map(|(start, held)| self.record(kind, (*start, *held)));
            records.collect::<Vec<_>>()
        };
        let shared = of(&self.shared, LockKind::Read);
        shared
            .into_iter()
            .chain(of(&self.exclusive, LockKind::Write))
    }
}

/// The record locks of a file. Finding, adding and taking out look at each owner once, and at few of its locks.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// In the order in which they came.
    owners: Vec<Owned>,
}

impl Records {
    pub(super) fn len(&self) -> usize {
        self.owners.iter().map(Owned::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = RecordLock> {
        self.owners.iter().flat_map(Owned::all)
    }

    /// Of the owner who came first, the first in the file, as Linux tells it.
    pub(super) fn conflict(&self, wanted: &RecordLock) -> Option<RecordLock> {
        let others = self.owners.iter().filter(|one| one.owner != wanted.owner);
        others.filter_map(|other| other.conflict(wanted)).next()
    }

    /// Takes a range out of the owner's locks.
    pub(super) fn cut(&mut self, owner: LockOwner, range: LockRange) {
        let Some(at) = self.owners.iter().position(|one| one.owner == owner) else {
            return;
        };
        if let Some(owned) = self.owners.get_mut(at) {
            owned.shared.cut(range);
            owned.exclusive.cut(range);
            if owned.len() == 0 {
                self.owners.remove(at);
            }
        }
    }

    /// Sets a range that no other owner's lock excludes, over what its owner had there.
    pub(super) fn set(&mut self, lock: RecordLock) {
        let at = self.owners.iter().position(|one| one.owner == lock.owner);
        let at = at.unwrap_or_else(|| {
            self.owners.push(Owned {
                owner: lock.owner,
                shared: Ranges::default(),
                exclusive: Ranges::default(),
            });
            self.owners.len() - 1
        });
        if let Some(owned) = self.owners.get_mut(at) {
            owned.shared.cut(lock.range);
            owned.exclusive.cut(lock.range);
            let ranges = match lock.kind {
                LockKind::Read => &mut owned.shared,
                LockKind::Write => &mut owned.exclusive,
            };
            ranges.add(lock.range, lock.pid);
        }
    }

    /// Takes all locks of an owner away; how many there were.
    pub(super) fn remove(&mut self, owner: LockOwner) -> usize {
        let before = self.len();
        self.owners.retain(|one| one.owner != owner);
        before - self.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWNERS: [LockOwner; 3] = [
        LockOwner::Process(1),
        LockOwner::Process(2),
        LockOwner::Description(1),
    ];

    fn lock(owner: LockOwner, start: u64, last: u64, kind: LockKind) -> RecordLock {
        RecordLock {
            owner,
            pid: 1,
            range: LockRange { start, last },
            kind,
        }
    }

    proptest! {
        /// Each byte has the locks that were set there and not taken away, and neighbours are one lock.
        #[test]
        fn bytes_have_the_locks_that_were_set(
            steps in proptest::collection::vec((0usize..3, 0u64..20, 0u64..6, 0usize..3), 1..60)
        ) {
            let mut records = Records::default();
            let mut bytes = [[None; 26]; 3];
            for (who, start, more, what) in steps {
                let last = start + more;
                let kind = [Some(LockKind::Read), Some(LockKind::Write), None][what];
                let range = LockRange { start, last };
                match kind {
                    Some(kind) => {
                        let wanted = lock(OWNERS[who], start, last, kind);
                        let taken = |(other, has): (usize, &[Option<LockKind>; 26])| {
                            let range = &has[start as usize..=last as usize];
                            other != who && range.iter().flatten().any(|has| {
                                kind == LockKind::Write || *has == LockKind::Write
                            })
                        };
                        let refused = bytes.iter().enumerate().any(taken);
                        prop_assert_eq!(records.conflict(&wanted).is_some(), refused);
                        if refused {
                            continue;
                        }
                        records.set(wanted);
                    }
                    None => records.cut(OWNERS[who], range),
                }
                bytes[who][start as usize..=last as usize].fill(kind);
                let mut found = [[None; 26]; 3];
                for record in records.all() {
                    let who = OWNERS.iter().position(|owner| *owner == record.owner).unwrap();
                    let LockRange { start, last } = record.range;
                    found[who][start as usize..=last as usize].fill(Some(record.kind));
                }
                prop_assert_eq!(found, bytes);
                let runs = |has: &[Option<LockKind>; 26]| {
                    let changes = has.windows(2).filter(|two| two[0] != two[1] && two[1].is_some());
                    changes.count() + usize::from(has[0].is_some())
                };
                prop_assert_eq!(records.len(), bytes.iter().map(runs).sum::<usize>());
            }
        }
    }

    /// Looking at every lock for each would take minutes.
    #[test]
    fn many_locks_of_one_owner_are_no_more_work_each() {
        const MANY: u64 = 60_000;
        let mut records = Records::default();
        for at in 0..MANY {
            for (owner, kind) in [(OWNERS[0], LockKind::Read), (OWNERS[1], LockKind::Read)] {
                let wanted = lock(owner, at * 3, at * 3, kind);
                assert_eq!(records.conflict(&wanted), None);
                records.set(wanted);
            }
            let wanted = lock(OWNERS[2], 0, LockRange::END, LockKind::Read);
            assert_eq!(records.conflict(&wanted), None);
            let wanted = lock(OWNERS[2], 0, LockRange::END, LockKind::Write);
            let first = records
                .conflict(&wanted)
                .map(|first| (first.owner, first.range.start));
            assert_eq!(first, Some((OWNERS[0], 0)));
        }
        assert_eq!(records.len() as u64, 2 * MANY);
        records.cut(
            OWNERS[0],
            LockRange {
                start: 1,
                last: LockRange::END,
            },
        );
        assert_eq!(
            (records.len() as u64, records.remove(OWNERS[1]) as u64),
            (MANY + 1, MANY)
        );
    }
}
