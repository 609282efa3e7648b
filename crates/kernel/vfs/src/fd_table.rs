//! File descriptors of a process: numbers for open file descriptions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use crate::locks::{FileLocks, LockOwner};
use crate::{Description, Errno, Result};

/// A descriptor number that a program gave: any value.
pub type Fd = i32;

bitflags::bitflags! {
    /// Flags of a descriptor (not of its description).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct FdFlags: u32 {
        /// `FD_CLOEXEC`.
        const CLOEXEC = 1;
    }
}

/// Highest limit that makes sense: `/proc/sys/fs/nr_open`'s default.
const NR_OPEN: usize = 1 << 20;

#[derive(Clone)]
struct Slot {
    description: Arc<Description>,
    flags: FdFlags,
}

/// Descriptors and a bitmap of the used ones; `hint` is at most the lowest free number.
#[derive(Clone, Default)]
struct Slots {
    slots: Vec<Option<Slot>>,
    used: Vec<u64>,
    hint: usize,
    count: usize,
    /// Numbers that are used and have nothing behind them yet.
    reserved: usize,
}

/// A number that nobody else gets, with nothing behind it: to every call it is as if it were closed, but for dup2(2),
/// which answers `EBUSY`. Dropping it gives the number back.
#[derive(Debug)]
#[must_use = "dropping it gives the number back"]
pub struct ReservedFd {
    table: Arc<FdTable>,
    index: usize,
    fd: Fd,
}

impl ReservedFd {
    /// The number.
    #[must_use]
    pub fn fd(&self) -> Fd {
        self.fd
    }

    /// Puts a description behind the number.
    pub fn install(self, description: Arc<Description>, flags: FdFlags) -> Fd {
        let mut slots = self.table.slots.write();
        if slots.is_reserved(self.index) {
            slots.unreserve(self.index);
        }
        slots.put(self.index, Slot { description, flags });
        drop(slots);
        self.fd
    }
}

impl Drop for ReservedFd {
    fn drop(&mut self) {
        let mut slots = self.table.slots.write();
        if slots.is_reserved(self.index) {
            slots.unreserve(self.index);
        }
    }
}

/// The descriptors of one or more tasks (`CLONE_FILES` shares the `Arc`).
pub struct FdTable {
    id: u64,
    slots: RwLock<Slots>,
    /// The lock table that may hold record locks of this process.
    locks: OnceLock<Arc<FileLocks>>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Default for FdTable {
    fn default() -> FdTable {
        FdTable::new()
    }
}

impl FdTable {
    /// No descriptors.
    #[must_use]
    pub fn new() -> FdTable {
        FdTable {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            slots: RwLock::default(),
            locks: OnceLock::new(),
        }
    }

    /// A copy with the same descriptions, for fork(2) and `CLOSE_RANGE_UNSHARE`.
    #[must_use]
    pub fn fork(&self) -> FdTable {
        let copy = FdTable::new();
        let mut slots = self.slots.read().clone();
        // What another thread has reserved is its own affair.
        slots.forget_reserved();
        *copy.slots.write() = slots;
        copy
    }

    /// Who owns the record locks taken through this table (fcntl(2): the process).
    #[must_use]
    pub fn lock_owner(&self) -> LockOwner {
        LockOwner::Process(self.id)
    }

    /// From now on closing releases record locks in this table of locks.
    pub fn owns_locks_in(&self, locks: &Arc<FileLocks>) {
        self.locks.get_or_init(|| Arc::clone(locks));
    }

    /// The description behind a number.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get(&self, fd: Fd) -> Result<Arc<Description>> {
        let slots = self.slots.read();
        slots
            .get(fd)
            .map(|slot| Arc::clone(&slot.description))
            .ok_or(Errno::EBADF)
    }

    /// As [`get`](FdTable::get), with the descriptor's flags.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get_with_flags(&self, fd: Fd) -> Result<(Arc<Description>, FdFlags)> {
        let slots = self.slots.read();
        let slot = slots.get(fd).ok_or(Errno::EBADF)?;
        Ok((Arc::clone(&slot.description), slot.flags))
    }

    /// As [`get`](FdTable::get), refusing `O_PATH` descriptors, as calls that do I/O must.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get_file(&self, fd: Fd) -> Result<Arc<Description>> {
        let description = self.get(fd)?;
        if description.access() == crate::AccessMode::Path {
            return Err(Errno::EBADF);
        }
        Ok(description)
    }

    /// `F_SETFD`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn set_flags(&self, fd: Fd, flags: FdFlags) -> Result<()> {
        let mut slots = self.slots.write();
        let slot = slots.get_mut(fd).ok_or(Errno::EBADF)?;
        slot.flags = flags;
        Ok(())
    }

    /// Gives the description the lowest free number; `limit` is `RLIMIT_NOFILE`.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn insert(&self, description: Arc<Description>, flags: FdFlags, limit: u64) -> Result<Fd> {
        self.insert_from(description, flags, 0, limit)
    }

    /// As [`insert`](FdTable::insert), not below `lowest` (`F_DUPFD`).
    ///
    /// # Errors
    /// `EMFILE`; `EINVAL` when `lowest` is beyond the limit.
    pub fn insert_from(
        &self,
        description: Arc<Description>,
        flags: FdFlags,
        lowest: Fd,
        limit: u64,
    ) -> Result<Fd> {
        let lowest = usize::try_from(lowest).map_err(|_| Errno::EINVAL)?;
        let limit = bounded(limit);
        if lowest > 0 && lowest >= limit {
            return Err(Errno::EINVAL);
        }
        let mut slots = self.slots.write();
        let index = slots.lowest_free(lowest);
        if index >= limit {
            return Err(Errno::EMFILE);
        }
        slots.put(index, Slot { description, flags });
        drop(slots);
        Fd::try_from(index).map_err(|_| Errno::EMFILE)
    }

    /// Takes the lowest free number for a description that comes later.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn reserve(self: &Arc<Self>, limit: u64) -> Result<ReservedFd> {
        let mut slots = self.slots.write();
        let index = slots.lowest_free(0);
        let fd = Fd::try_from(index).map_err(|_| Errno::EMFILE)?;
        if index >= bounded(limit) {
            return Err(Errno::EMFILE);
        }
        slots.reserve(index);
        drop(slots);
        Ok(ReservedFd {
            table: Arc::clone(self),
            index,
            fd,
        })
    }

    /// Gives two descriptions their numbers, both or none (pipe(2), socketpair(2)).
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn insert_pair(
        &self,
        pair: [Arc<Description>; 2],
        flags: FdFlags,
        limit: u64,
    ) -> Result<[Fd; 2]> {
        let [first, second] = pair;
        let a = self.insert(first, flags, limit)?;
        match self.insert(second, flags, limit) {
            Ok(b) => Ok([a, b]),
            Err(error) => {
                drop(self.take(a));
                Err(error)
            }
        }
    }

    /// dup2(2), dup3(2): puts the description at this very number, closing what was there.
    ///
    /// # Errors
    /// `EBADF` for a number beyond the limit, `EBUSY` for one that is reserved.
    pub fn insert_at(
        &self,
        fd: Fd,
        description: Arc<Description>,
        flags: FdFlags,
        limit: u64,
    ) -> Result<()> {
        let index = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        if index >= bounded(limit) {
            return Err(Errno::EBADF);
        }
        let mut slots = self.slots.write();
        if slots.is_reserved(index) {
            return Err(Errno::EBUSY);
        }
        let old = slots.put(index, Slot { description, flags });
        drop(slots);
        self.finish(old.into_iter());
        Ok(())
    }

    /// close(2). The description ends when nobody else has it.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn close(&self, fd: Fd) -> Result<()> {
        let slot = self.take(fd).ok_or(Errno::EBADF)?;
        self.finish(std::iter::once(slot));
        Ok(())
    }

    /// close_range(2) without flags.
    pub fn close_range(&self, first: u32, last: u32) {
        let closed = self.slots.write().take_where(first, last, |_| true);
        self.finish(closed.into_iter());
    }

    /// close_range(2) with `CLOSE_RANGE_CLOEXEC`.
    pub fn set_cloexec_range(&self, first: u32, last: u32) {
        let mut slots = self.slots.write();
        let end = slots.end(last);
        for slot in slots.slots[..end].iter_mut().skip(first as usize).flatten() {
            slot.flags |= FdFlags::CLOEXEC;
        }
    }

    /// Closes what is marked `FD_CLOEXEC` (execve(2)).
    pub fn close_for_exec(&self) {
        let marked = |slot: &Slot| slot.flags.contains(FdFlags::CLOEXEC);
        let closed = self.slots.write().take_where(0, u32::MAX, marked);
        self.finish(closed.into_iter());
    }

    /// Closes everything (exit).
    pub fn close_all(&self) {
        let closed = std::mem::take(&mut *self.slots.write());
        self.finish(closed.slots.into_iter().flatten());
    }

    /// The lowest number in use that is at least `from`, for listing `/proc/<pid>/fd`.
    #[must_use]
    pub fn next(&self, from: Fd) -> Option<(Fd, Arc<Description>, FdFlags)> {
        let mut from = usize::try_from(from).unwrap_or(0);
        let slots = self.slots.read();
        loop {
            let index = slots.next_used(from)?;
            let fd = Fd::try_from(index).ok()?;
            if let Some(slot) = slots.slots.get(index)? {
                return Some((fd, Arc::clone(&slot.description), slot.flags));
            }
            from = index + 1;
        }
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.read().count
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `FDSize` of `/proc/<pid>/status`: room made so far.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.read().slots.len().next_multiple_of(64).max(64)
    }

    fn take(&self, fd: Fd) -> Option<Slot> {
        self.slots.write().take(usize::try_from(fd).ok()?)
    }

    /// Ends closed slots outside of the table's lock: record locks of the process on the file go
    /// with any descriptor of it (fcntl(2)).
    fn finish(&self, closed: impl Iterator<Item = Slot>) {
        for slot in closed {
            slot.description.file().flush();
            if let Some(locks) = self.locks.get()
                && let Ok(id) = slot.description.inode_id()
            {
                locks.release(id, self.lock_owner());
            }
        }
    }
}

impl Drop for FdTable {
    fn drop(&mut self) {
        self.close_all();
    }
}

impl std::fmt::Debug for FdTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FdTable({} open)", self.len())
    }
}

fn bounded(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX).min(NR_OPEN)
}

impl Slots {
    fn get(&self, fd: Fd) -> Option<&Slot> {
        self.slots.get(usize::try_from(fd).ok()?)?.as_ref()
    }

    fn get_mut(&mut self, fd: Fd) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(fd).ok()?)?.as_mut()
    }

    fn lowest_free(&self, lowest: usize) -> usize {
        let from = lowest.max(self.hint);
        let mut word = from / 64;
        let mut mask = !0u64 << (from % 64);
        while let Some(bits) = self.used.get(word) {
            let free = !bits & mask;
            if free != 0 {
                return word * 64 + free.trailing_zeros() as usize;
            }
            word += 1;
            mask = !0;
        }
        from.max(word * 64)
    }

    fn next_used(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut mask = !0u64 << (from % 64);
        loop {
            let used = self.used.get(word)? & mask;
            if used != 0 {
                return Some(word * 64 + used.trailing_zeros() as usize);
            }
            word += 1;
            mask = !0;
        }
    }

    fn put(&mut self, index: usize, slot: Slot) -> Option<Slot> {
        if index >= self.slots.len() {
            self.slots.resize(index + 1, None);
            self.used.resize(index / 64 + 1, 0);
        }
        self.used[index / 64] |= 1 << (index % 64);
        if index == self.hint {
            self.hint += 1;
        }
        let old = self.slots[index].replace(slot);
        if old.is_none() {
            self.count += 1;
        }
        old
    }

    fn is_reserved(&self, index: usize) -> bool {
        let used = self.used.get(index / 64);
        let used = used.is_some_and(|bits| bits & (1 << (index % 64)) != 0);
        used && self.slots.get(index).is_some_and(Option::is_none)
    }

    fn reserve(&mut self, index: usize) {
        if index >= self.slots.len() {
            self.slots.resize(index + 1, None);
            self.used.resize(index / 64 + 1, 0);
        }
        self.used[index / 64] |= 1 << (index % 64);
        if index == self.hint {
            self.hint += 1;
        }
        self.reserved += 1;
    }

    fn unreserve(&mut self, index: usize) {
        self.used[index / 64] &= !(1 << (index % 64));
        self.hint = self.hint.min(index);
        self.reserved -= 1;
    }

    fn forget_reserved(&mut self) {
        let mut at = 0;
        while self.reserved > 0
            && let Some(index) = self.next_used(at)
        {
            if self.slots[index].is_none() {
                self.unreserve(index);
            }
            at = index + 1;
        }
    }

    fn take(&mut self, index: usize) -> Option<Slot> {
        let old = self.slots.get_mut(index)?.take()?;
        self.used[index / 64] &= !(1 << (index % 64));
        self.hint = self.hint.min(index);
        self.count -= 1;
        Some(old)
    }

    fn end(&self, last: u32) -> usize {
        (last as usize).saturating_add(1).min(self.slots.len())
    }

    fn take_where(&mut self, first: u32, last: u32, wanted: impl Fn(&Slot) -> bool) -> Vec<Slot> {
        let end = self.end(last);
        let mut taken = Vec::new();
        let mut at = first as usize;
        while let Some(index) = self.next_used(at).filter(|i| *i < end) {
            if self.slots[index].as_ref().is_some_and(&wanted) {
                taken.extend(self.take(index));
            }
            at = index + 1;
        }
        taken
    }
}
