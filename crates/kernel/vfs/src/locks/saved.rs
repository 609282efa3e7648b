//! Locks in a snapshot: each by an open file through which its file is found, which for locks of descriptions is also
//! the owner.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{FileLocks, FlockKind, LockKind, LockOwner, LockRange, RecordLock};
use crate::save::{LoadError, Loader, ObjectId, Saver, Unsavable};
use crate::{AccessMode, Description, FdTable, InodeId};

/// A lock that is held.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SavedLock {
    description: ObjectId,
    exclusive: bool,
    what: SavedWhat,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum SavedWhat {
    /// flock(2).
    Whole,
    /// `F_OFD_SETLK`.
    OfDescription { start: u64, last: u64 },
    /// `F_SETLK`, by the processes that share a descriptor table.
    OfTable {
        table: u32,
        pid: i32,
        start: u64,
        last: u64,
    },
}

const MALFORMED: LoadError = LoadError::Malformed("a file lock");

impl FileLocks {
    /// Every lock, while nothing runs. `tables` are the descriptor tables as they are numbered; all descriptions have
    /// been written.
    ///
    /// # Errors
    /// A lock whose owner has no open file for it.
    pub fn save(
        &self,
        tables: &[Arc<FdTable>],
        saver: &Saver,
    ) -> Result<Vec<SavedLock>, Unsavable> {
        let descriptions: HashMap<u64, ObjectId> = saver
            .descriptions()
            .map(|(id, description)| (description.id(), id))
            .collect();
        let numbers: HashMap<LockOwner, usize> = tables
            .iter()
            .enumerate()
            .map(|(number, table)| (table.lock_owner(), number))
            .collect();
        let unowned = || Unsavable::new("a lock of a file that its owner has not open");
        let described = |id: &u64| descriptions.get(id).copied().ok_or_else(unowned);
        let mut saved = Vec::new();
        let held: Vec<_> = {
            let table = self.table.lock();
            let all = table.inodes.iter();
            all.map(|(inode, locks)| {
                let records: Vec<_> = locks.records.all().collect();
                (*inode, locks.flocks.clone(), records)
            })
            .collect()
        };
        for (inode, flocks, records) in held {
            // The locks of an owner stand together.
            let mut found_last = None;
            for (owner, kind) in &flocks {
                saved.push(SavedLock {
                    description: described(owner)?,
                    exclusive: *kind == FlockKind::Exclusive,
                    what: SavedWhat::Whole,
                });
            }
            for record in &records {
                let LockRange { start, last } = record.range;
                let (description, what) = match record.owner {
                    LockOwner::Description(id) => {
                        (described(&id)?, SavedWhat::OfDescription { start, last })
                    }
                    owner @ LockOwner::Process(_) => {
                        let number = *numbers.get(&owner).ok_or_else(unowned)?;
                        let found = found_last.filter(|(of, _)| *of == owner);
                        let open = match found {
                            Some((_, open)) => open,
                            None => {
                                let table = tables.get(number).ok_or_else(unowned)?;
                                opened(table, inode).ok_or_else(unowned)?.id()
                            }
                        };
                        found_last = Some((owner, open));
                        let what = SavedWhat::OfTable {
                            table: u32::try_from(number).map_err(|_| unowned())?,
                            pid: record.pid,
                            start,
                            last,
                        };
                        (described(&open)?, what)
                    }
                };
                saved.push(SavedLock {
                    description,
                    exclusive: record.kind == LockKind::Write,
                    what,
                });
            }
        }
        // The same state is written in the same way each time.
        saved.sort_unstable();
        Ok(saved)
    }

    /// Takes the locks again in a kernel that has the same files open. Nobody waits for any yet.
    ///
    /// # Errors
    /// A lock that cannot be, or that another one excludes.
    pub fn load(
        self: &Arc<Self>,
        saved: &[SavedLock],
        tables: &[Arc<FdTable>],
        loader: &Loader,
    ) -> Result<(), LoadError> {
        let range = |start: u64, last: u64| {
            let fits = start <= last && last <= LockRange::END;
            fits.then_some(LockRange { start, last }).ok_or(MALFORMED)
        };
        for lock in saved {
            let description = loader.description(lock.description)?;
            let kind = match lock.exclusive {
                true => LockKind::Write,
                false => LockKind::Read,
            };
            let taken = match lock.what {
                SavedWhat::Whole => {
                    let kind = match lock.exclusive {
                        true => FlockKind::Exclusive,
                        false => FlockKind::Shared,
                    };
                    self.flock(&description, kind)
                }
                SavedWhat::OfDescription { start, last } => {
                    self.lock_description(&description, range(start, last)?, kind)
                }
                SavedWhat::OfTable {
                    table,
                    pid,
                    start,
                    last,
                } => {
                    let table = usize::try_from(table).ok().and_then(|n| tables.get(n));
                    let table = table.ok_or(MALFORMED)?;
                    let wanted = RecordLock {
                        owner: table.lock_owner(),
                        pid,
                        range: range(start, last)?,
                        kind,
                    };
                    table.owns_locks_in(self);
                    let inode = description.inode_id();
                    inode.and_then(|inode| self.lock(inode, wanted, None))
                }
            };
            taken.map_err(LoadError::failed("a file lock"))?;
        }
        Ok(())
    }
}

/// A description of this table for the file: one that holds a lock has one.
fn opened(table: &FdTable, inode: InodeId) -> Option<Arc<Description>> {
    let mut from = 0;
    while let Some((fd, description, _)) = table.next(from) {
        let path_only = description.access() == AccessMode::Path;
        if !path_only && description.inode_id() == Ok(inode) {
            return Some(description);
        }
        from = fd.checked_add(1)?;
    }
    None
}
