//! Locks that open file descriptions own: flock(2), and `F_OFD_SETLK` of fcntl(2).

use std::sync::Arc;

use super::{FileLocks, FlockKind, LockKind, LockOwner, LockRange, RecordLock};
use crate::{Description, Result};

impl FileLocks {
    /// `LOCK_SH`, `LOCK_EX`; a lock of the other kind held by the description is given up first.
    ///
    /// # Errors
    /// `EAGAIN` when others hold it; `ENOLCK` with too many locks.
    pub fn flock(self: &Arc<Self>, description: &Description, kind: FlockKind) -> Result<()> {
        let id = description.inode_id()?;
        description.owns_locks_in(self);
        self.take_flock(id, description.id(), kind)
    }

    /// `LOCK_UN`.
    ///
    /// # Errors
    /// What the file's status fails with.
    pub fn funlock(&self, description: &Description) -> Result<()> {
        let id = description.inode_id()?;
        self.remove_flock(id, description.id());
        Ok(())
    }

    /// As [`lock`](FileLocks::lock), for a lock of the description (`F_OFD_SETLK`).
    ///
    /// # Errors
    /// `EAGAIN`, `ENOLCK`.
    pub fn lock_description(
        self: &Arc<Self>,
        description: &Description,
        range: LockRange,
        kind: LockKind,
    ) -> Result<()> {
        description.owns_locks_in(self);
        let owner = LockOwner::Description(description.id());
        let wanted = RecordLock {
            owner,
            pid: -1,
            range,
            kind,
        };
        self.lock(description.inode_id()?, wanted, None)
    }
}
