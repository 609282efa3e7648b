//! Byte ranges of record locks: cutting, joining, conflicts.

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

impl LockKind {
    pub(super) fn conflicts(self, other: LockKind) -> bool {
        self == LockKind::Write || other == LockKind::Write
    }
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

    pub(super) fn overlaps(&self, other: &LockRange) -> bool {
        self.start <= other.last && other.start <= self.last
    }
}

/// Takes a range out of the owner's locks, splitting those it lies within.
pub(super) fn cut(records: &mut Vec<RecordLock>, owner: LockOwner, range: LockRange) {
    let mut pieces = Vec::new();
    records.retain(|held| {
        if held.owner != owner || !held.range.overlaps(&range) {
            return true;
        }
        if held.range.start < range.start {
            pieces.push(with_range(held, held.range.start, range.start - 1));
        }
        if held.range.last > range.last {
            pieces.push(with_range(held, range.last + 1, held.range.last));
        }
        false
    });
    records.extend(pieces);
}

/// Adds a lock to a free range, joining neighbours of the same kind and owner.
pub(super) fn add(records: &mut Vec<RecordLock>, mut lock: RecordLock) {
    records.retain(|held| {
        let same = held.owner == lock.owner && held.kind == lock.kind;
        let adjacent = held.range.last.checked_add(1) == Some(lock.range.start)
            || lock.range.last.checked_add(1) == Some(held.range.start);
        if same && adjacent {
            lock.range.start = lock.range.start.min(held.range.start);
            lock.range.last = lock.range.last.max(held.range.last);
            return false;
        }
        true
    });
    records.push(lock);
}

fn with_range(lock: &RecordLock, start: u64, last: u64) -> RecordLock {
    RecordLock {
        range: LockRange { start, last },
        ..*lock
    }
}
