//! Advisory locks: flock(2), and record locks of fcntl(2) by process and by open file description.
//!
//! Nothing blocks: a conflict is `EAGAIN`, and whoever wants to wait registers with
//! [`FileLocks::poll`] and tries again. Waits for record locks are remembered, so that a
//! circle of processes waiting for each other ends with `EDEADLK`.
//!
//! Lock order: the table's lock is a leaf; queues are woken after it is released.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::attr::InodeId;
use crate::{Errno, Events, PollTable, Result, WaitQueue};

mod of_descriptions;
mod ranges;
mod saved;

use ranges::Records;
pub use ranges::{LockKind, LockRange};
pub use saved::SavedLock;

/// Most locks of one kernel.
const MAX_LOCKS: usize = 65_536;

/// Who holds a record lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockOwner {
    /// The tasks sharing a descriptor table (`F_SETLK`).
    Process(u64),
    /// An open file description (`F_OFD_SETLK`).
    Description(u64),
}

/// A record lock as `F_GETLK` tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLock {
    /// Who holds it.
    pub owner: LockOwner,
    /// Process id shown to others; -1 for locks of descriptions.
    pub pid: i32,
    /// Bytes.
    pub range: LockRange,
    /// Shared or exclusive.
    pub kind: LockKind,
}

/// flock(2) operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlockKind {
    /// `LOCK_SH`.
    Shared,
    /// `LOCK_EX`.
    Exclusive,
}

#[derive(Default)]
struct InodeLocks {
    flocks: Vec<(u64, FlockKind)>,
    records: Records,
    queue: WaitQueue,
}

impl InodeLocks {
    fn is_empty(&self) -> bool {
        self.flocks.is_empty() && self.records.is_empty() && self.queue.is_empty()
    }
}

#[derive(Default)]
struct Table {
    inodes: HashMap<InodeId, InodeLocks>,
    count: usize,
    /// By waiting thread: what it waits for.
    waits: HashMap<u64, (InodeId, RecordLock)>,
}

/// All locks of a kernel.
#[derive(Default)]
pub struct FileLocks {
    table: Mutex<Table>,
}

impl FileLocks {
    /// `LOCK_SH`, `LOCK_EX` of a description by number.
    fn take_flock(&self, id: InodeId, owner: u64, kind: FlockKind) -> Result<()> {
        let mut table = self.table.lock();
        if table.count >= MAX_LOCKS {
            return Err(Errno::ENOLCK);
        }
        let inode = table.inodes.entry(id).or_default();
        let before = inode.flocks.len();
        if inode.flocks.contains(&(owner, kind)) {
            return Ok(());
        }
        inode.flocks.retain(|(o, _)| *o != owner);
        let given_up = before - inode.flocks.len();
        let exclusive = |k: FlockKind| k == FlockKind::Exclusive;
        let conflict = inode
            .flocks
            .iter()
            .any(|(_, held)| exclusive(*held) || exclusive(kind));
        if !conflict {
            inode.flocks.push((owner, kind));
        }
        let queue = (given_up > 0).then(|| inode.queue.clone());
        table.count = table.count + usize::from(!conflict) - given_up;
        drop(table);
        if let Some(queue) = queue {
            queue.wake(Events::all());
        }
        if conflict { Err(Errno::EAGAIN) } else { Ok(()) }
    }

    /// The first lock that would stand in the way (`F_GETLK`).
    #[must_use]
    pub fn conflict(&self, inode: InodeId, wanted: &RecordLock) -> Option<RecordLock> {
        let table = self.table.lock();
        table.inodes.get(&inode)?.records.conflict(wanted)
    }

    /// Takes or changes a record lock. The owner must have been told of this table
    /// ([`crate::FdTable::owns_locks_in`]); for locks of descriptions use [`lock_description`](FileLocks::lock_description).
    /// `waiter` names the thread that will wait when this fails, for the detection of deadlocks.
    ///
    /// # Errors
    /// `EAGAIN`, `EDEADLK` when waiting would never end, `ENOLCK`.
    pub fn lock(&self, inode: InodeId, wanted: RecordLock, waiter: Option<u64>) -> Result<()> {
        let mut table = self.table.lock();
        if let Some(waiter) = waiter {
            table.waits.remove(&waiter);
        }
        if table.count >= MAX_LOCKS {
            return Err(Errno::ENOLCK);
        }
        let held = table.inodes.entry(inode).or_default();
        if let Some(blocker) = held.records.conflict(&wanted).map(|c| c.owner) {
            if let Some(waiter) = waiter {
                if table.waits_for(blocker, wanted.owner) {
                    return Err(Errno::EDEADLK);
                }
                table.waits.insert(waiter, (inode, wanted));
            }
            return Err(Errno::EAGAIN);
        }
        let before = held.records.len();
        held.records.set(wanted);
        let after = held.records.len();
        // A change from exclusive to shared may let others in.
        let queue = held.queue.clone();
        table.count = table.count + after - before;
        drop(table);
        queue.wake(Events::all());
        Ok(())
    }

    /// `F_UNLCK` of a range.
    ///
    /// # Errors
    /// `ENOLCK` when splitting a lock would make too many.
    pub fn unlock(&self, inode: InodeId, owner: LockOwner, range: LockRange) -> Result<()> {
        let mut table = self.table.lock();
        if table.count >= MAX_LOCKS {
            return Err(Errno::ENOLCK);
        }
        let Some(held) = table.inodes.get_mut(&inode) else {
            return Ok(());
        };
        let before = held.records.len();
        held.records.cut(owner, range);
        let after = held.records.len();
        table.count = table.count + after - before;
        let queue = table.queue(inode);
        drop(table);
        wake(queue);
        Ok(())
    }

    /// Gives up every record lock the owner has on the inode (close(2)).
    pub fn release(&self, inode: InodeId, owner: LockOwner) {
        let mut table = self.table.lock();
        let Some(held) = table.inodes.get_mut(&inode) else {
            return;
        };
        let removed = held.records.remove(owner);
        table.count -= removed;
        if removed == 0 {
            return;
        }
        let queue = table.queue(inode);
        drop(table);
        wake(queue);
    }

    /// Gives up everything a description holds: its flock and its record locks.
    pub(crate) fn release_description(&self, description: u64) {
        let owner = LockOwner::Description(description);
        let mut table = self.table.lock();
        let mut freed = 0;
        let mut queues = Vec::new();
        table.inodes.retain(|_, inode| {
            let before = inode.flocks.len();
            inode.flocks.retain(|(o, _)| *o != description);
            let removed = before - inode.flocks.len() + inode.records.remove(owner);
            freed += removed;
            if removed > 0 {
                queues.push(inode.queue.clone());
            }
            !inode.is_empty()
        });
        table.count -= freed;
        drop(table);
        wake(queues);
    }

    /// The thread no longer waits for a record lock (signal, exit).
    pub fn stop_waiting(&self, waiter: u64) {
        self.table.lock().waits.remove(&waiter);
    }

    /// Registers for changes of the inode's locks; look again afterwards.
    pub fn poll(&self, inode: InodeId, poll: &mut PollTable) {
        let queue = self
            .table
            .lock()
            .inodes
            .entry(inode)
            .or_default()
            .queue
            .clone();
        poll.add(&queue);
    }

    /// All locks, for `/proc/locks`.
    #[must_use]
    pub fn list(&self) -> Vec<(InodeId, RecordLock)> {
        let table = self.table.lock();
        let all = table.inodes.iter();
        all.flat_map(|(id, inode)| inode.records.all().map(|record| (*id, record)))
            .collect()
    }

    fn remove_flock(&self, id: InodeId, owner: u64) {
        let mut table = self.table.lock();
        let Some(inode) = table.inodes.get_mut(&id) else {
            return;
        };
        let before = inode.flocks.len();
        inode.flocks.retain(|(o, _)| *o != owner);
        let removed = before - inode.flocks.len();
        table.count -= removed;
        let queue = table.queue(id);
        drop(table);
        wake(queue);
    }
}

impl Table {
    /// Whether `from` waits, directly or through others, for something `to` holds.
    fn waits_for(&self, from: LockOwner, to: LockOwner) -> bool {
        /// Linux looks this far too (`MAX_DEADLK_ITERATIONS`).
        const STEPS: usize = 10;
        let mut at = from;
        for _ in 0..STEPS {
            if at == to {
                return true;
            }
            let mut waits = self.waits.values();
            let Some((inode, wanted)) = waits.find(|(_, wanted)| wanted.owner == at) else {
                return false;
            };
            let Some(held) = self
                .inodes
                .get(inode)
                .and_then(|i| i.records.conflict(wanted))
            else {
                return false;
            };
            at = held.owner;
        }
        false
    }

    fn queue(&mut self, id: InodeId) -> Vec<WaitQueue> {
        let Some(inode) = self.inodes.get(&id) else {
            return Vec::new();
        };
        let queue = inode.queue.clone();
        if inode.is_empty() {
            self.inodes.remove(&id);
        }
        vec![queue]
    }
}

fn wake(queues: Vec<WaitQueue>) {
    for queue in queues {
        queue.wake(Events::all());
    }
}
