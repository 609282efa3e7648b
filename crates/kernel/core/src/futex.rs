//! Futexes (futex(2)): words in guest memory that tasks wait on.
//!
//! A waiter is a small shared object in the bucket of its key. A wake-up marks it
//! and unparks its task; the task finds the mark when its call runs again. The
//! word is read under the bucket's lock, so that a wake-up can never fall between
//! the look and the wait.
//!
//! Lock order: buckets by ascending index, then the parker.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base_abi::Errno;
use parking_lot::{Mutex, MutexGuard};

use crate::park::Parker;

const BUCKETS: usize = 64;

/// What a futex word is: the same word seen by two tasks has one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FutexKey {
    /// `FUTEX_PRIVATE_FLAG`, or memory that is private anyway: address space and address.
    Private {
        /// Identity of the address space.
        mm: u64,
        /// Guest address.
        addr: u64,
    },
    /// A word in a shared mapping: identity of the mapped object and the offset in it.
    Shared {
        /// Device and inode number of the file with the bytes.
        object: (u64, u64),
        /// Byte offset in it.
        offset: u64,
    },
}

/// One waiting task. Kept by the blocked call until it returns.
pub struct FutexWaiter {
    key: Mutex<FutexKey>,
    bitset: u32,
    woken: AtomicBool,
    /// It was moved to another word than the one it began with.
    moved: AtomicBool,
    parker: Arc<Parker>,
}

impl FutexWaiter {
    /// The address of the word that it waits for, having begun at `first`; `None` when it is over, or when its word can
    /// no longer be told by an address of its own.
    #[must_use]
    pub fn waits_at(&self, first: u64) -> Option<u64> {
        match *self.key.lock() {
            _ if self.woken() => None,
            FutexKey::Private { addr, .. } => Some(addr),
            FutexKey::Shared { .. } if self.moved.load(Ordering::Acquire) => None,
            FutexKey::Shared { .. } => Some(first),
        }
    }

    /// Whether a wake-up reached it.
    #[must_use]
    pub fn woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// Stands for a wait that was over when it was saved: its call has only to return.
    #[must_use]
    pub fn finished(parker: &Arc<Parker>) -> Arc<FutexWaiter> {
        Arc::new(FutexWaiter {
            key: Mutex::new(FutexKey::Private { mm: 0, addr: 0 }),
            bitset: 0,
            woken: AtomicBool::new(true),
            moved: AtomicBool::new(false),
            parker: Arc::clone(parker),
        })
    }

    fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        self.parker.unpark();
    }
}

impl std::fmt::Debug for FutexWaiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "FutexWaiter({:?}, woken {})",
            *self.key.lock(),
            self.woken()
        )
    }
}

type Bucket = VecDeque<Arc<FutexWaiter>>;

/// All futex waiters of a kernel.
pub struct FutexTable {
    buckets: [Mutex<Bucket>; BUCKETS],
}

impl Default for FutexTable {
    fn default() -> Self {
        FutexTable {
            buckets: std::array::from_fn(|_| Mutex::new(Bucket::new())),
        }
    }
}

impl FutexTable {
    /// Enqueues a waiter if `check` (which reads the word) agrees.
    ///
    /// # Errors
    /// What `check` says: `EAGAIN` for another value, `EFAULT`.
    pub fn wait(
        &self,
        key: FutexKey,
        bitset: u32,
        parker: &Arc<Parker>,
        check: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<Arc<FutexWaiter>, Errno> {
        let mut bucket = self.buckets[index(key)].lock();
        check()?;
        let waiter = Arc::new(FutexWaiter {
            key: Mutex::new(key),
            bitset,
            woken: AtomicBool::new(false),
            moved: AtomicBool::new(false),
            parker: Arc::clone(parker),
        });
        bucket.push_back(Arc::clone(&waiter));
        Ok(waiter)
    }

    /// Leaves the queue. True if a wake-up had come before.
    pub fn cancel(&self, waiter: &Arc<FutexWaiter>) -> bool {
        loop {
            let key = *waiter.key.lock();
            let mut bucket = self.buckets[index(key)].lock();
            if *waiter.key.lock() != key {
                continue; // Requeued between the two looks.
            }
            bucket.retain(|w| !Arc::ptr_eq(w, waiter));
            return waiter.woken();
        }
    }

    /// Wakes up to `count` waiters whose bitset meets `bitset`, in order. Returns how many.
    pub fn wake(&self, key: FutexKey, count: u32, bitset: u32) -> u32 {
        let mut bucket = self.buckets[index(key)].lock();
        wake_in(&mut bucket, key, count, bitset)
    }

    /// `FUTEX_REQUEUE` and `FUTEX_CMP_REQUEUE`: wakes some, moves others to another word.
    /// Returns (woken, moved).
    ///
    /// # Errors
    /// What `check` says.
    pub fn requeue(
        &self,
        from: FutexKey,
        to: FutexKey,
        wake: u32,
        limit: u32,
        check: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(u32, u32), Errno> {
        let (mut source, mut target) = self.lock_two(from, to);
        check()?;
        let woken = wake_in(&mut source, from, wake, u32::MAX);
        if from == to {
            return Ok((woken, 0));
        }
        let mut moved = 0;
        let mut kept = Bucket::with_capacity(source.len());
        let mut taken = Bucket::new();
        while let Some(waiter) = source.pop_front() {
            if moved < limit && *waiter.key.lock() == from {
                *waiter.key.lock() = to;
                waiter.moved.store(true, Ordering::Release);
                taken.push_back(waiter);
                moved += 1;
            } else {
                kept.push_back(waiter);
            }
        }
        *source = kept;
        target
            .as_deref_mut()
            .unwrap_or(&mut source)
            .append(&mut taken);
        Ok((woken, moved))
    }

    /// `FUTEX_WAKE_OP`: `change` does the operation on the second word and says whether to wake its waiters.
    ///
    /// # Errors
    /// What `change` says.
    pub fn wake_op(
        &self,
        first: FutexKey,
        second: FutexKey,
        counts: (u32, u32),
        change: impl FnOnce() -> Result<bool, Errno>,
    ) -> Result<u32, Errno> {
        let (mut one, mut two) = self.lock_two(first, second);
        let also = change()?;
        let mut woken = wake_in(&mut one, first, counts.0, u32::MAX);
        if also {
            woken += wake_in(
                two.as_deref_mut().unwrap_or(&mut one),
                second,
                counts.1,
                u32::MAX,
            );
        }
        Ok(woken)
    }

    /// Waiters in all queues, for tests and diagnosis.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.buckets.iter().map(|b| b.lock().len()).sum()
    }

    fn lock_two(
        &self,
        a: FutexKey,
        b: FutexKey,
    ) -> (MutexGuard<'_, Bucket>, Option<MutexGuard<'_, Bucket>>) {
        let (ia, ib) = (index(a), index(b));
        match ia.cmp(&ib) {
            std::cmp::Ordering::Equal => (self.buckets[ia].lock(), None),
            std::cmp::Ordering::Less => {
                let first = self.buckets[ia].lock();
                (first, Some(self.buckets[ib].lock()))
            }
            std::cmp::Ordering::Greater => {
                let second = self.buckets[ib].lock();
                (self.buckets[ia].lock(), Some(second))
            }
        }
    }
}

fn wake_in(bucket: &mut Bucket, key: FutexKey, count: u32, bitset: u32) -> u32 {
    let mut woken = 0;
    bucket.retain(|waiter| {
        let hit = woken < count && waiter.bitset & bitset != 0 && *waiter.key.lock() == key;
        if hit {
            waiter.wake();
            woken += 1;
        }
        !hit
    });
    woken
}

fn index(key: FutexKey) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    usize::try_from(hasher.finish() % BUCKETS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: FutexKey = FutexKey::Private {
        mm: 1,
        addr: 0x1000,
    };
    const OTHER: FutexKey = FutexKey::Private {
        mm: 1,
        addr: 0x2000,
    };

    fn waiter(table: &FutexTable, key: FutexKey, bitset: u32) -> Arc<FutexWaiter> {
        table.wait(key, bitset, &Arc::default(), || Ok(())).unwrap()
    }

    #[test]
    fn wakes_in_order_and_only_as_many_as_asked() {
        let table = FutexTable::default();
        let waiters: Vec<_> = (0..3).map(|_| waiter(&table, WORD, u32::MAX)).collect();
        assert_eq!(table.wake(WORD, 2, u32::MAX), 2);
        assert_eq!(
            waiters.iter().map(|w| w.woken()).collect::<Vec<_>>(),
            [true, true, false]
        );
        assert_eq!(table.wake(OTHER, 9, u32::MAX), 0);
    }

    #[test]
    fn a_changed_word_does_not_wait() {
        let table = FutexTable::default();
        let refused = table.wait(WORD, 1, &Arc::default(), || Err(Errno::EAGAIN));
        assert_eq!(refused.err(), Some(Errno::EAGAIN));
        assert_eq!(table.waiting(), 0);
    }

    #[test]
    fn bitsets_select() {
        let table = FutexTable::default();
        let (a, b) = (waiter(&table, WORD, 1), waiter(&table, WORD, 2));
        assert_eq!(table.wake(WORD, 9, 2), 1);
        assert!(!a.woken() && b.woken());
    }

    #[test]
    fn requeued_waiters_are_woken_at_their_new_word_and_can_leave() {
        let table = FutexTable::default();
        let waiters: Vec<_> = (0..3).map(|_| waiter(&table, WORD, u32::MAX)).collect();
        assert_eq!(table.requeue(WORD, OTHER, 1, 9, || Ok(())), Ok((1, 2)));
        assert_eq!(table.wake(WORD, 9, u32::MAX), 0);
        assert!(!table.cancel(&waiters[1]));
        assert_eq!(table.wake(OTHER, 9, u32::MAX), 1);
        assert!(waiters[2].woken() && !waiters[1].woken());
        assert_eq!(table.waiting(), 0);
    }
}
