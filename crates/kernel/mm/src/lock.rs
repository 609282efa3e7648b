//! mlock(2) and its family: accounting only, guest memory is never swapped by this kernel.

use base_abi::Errno;
use base_abi::page::{page_ceil, page_floor};
use kernel_vfs::Result;

use crate::map::overlap;
use crate::mm::{Mm, State};
use crate::vma::VmaFlags;

bitflags::bitflags! {
    /// The flags of mlockall(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LockAll: u32 {
        /// `MCL_CURRENT`.
        const CURRENT = 1;
        /// `MCL_FUTURE`.
        const FUTURE = 2;
        /// `MCL_ONFAULT`.
        const ONFAULT = 4;
    }
}

impl State {
    /// Whether so many bytes more may be locked; `over` is the error beyond the limit.
    pub(crate) fn may_lock(&self, bytes: u64, over: Errno) -> Result<()> {
        if self.limits.memlock == 0 {
            return Err(Errno::EPERM);
        }
        if self.tree.totals().locked.saturating_add(bytes) > self.limits.memlock {
            return Err(over);
        }
        Ok(())
    }
}

impl Mm {
    /// mlock(2): marks the pages of a range as locked.
    ///
    /// # Errors
    /// `ENOMEM` at a hole or beyond the limit, `EPERM` without any allowance, `EINVAL` on overflow.
    pub fn mlock(&self, addr: u64, len: u64) -> Result<()> {
        let (start, end) = pages(addr, len)?;
        let mut state = self.lock();
        let already = overlap(&state.tree, start, end).locked;
        state.may_lock((end - start).saturating_sub(already), Errno::ENOMEM)?;
        mark(&mut state, start, end, |flags| {
            flags.insert(VmaFlags::LOCKED)
        })
    }

    /// munlock(2).
    ///
    /// # Errors
    /// `ENOMEM` at a hole, `EINVAL` on overflow.
    pub fn munlock(&self, addr: u64, len: u64) -> Result<()> {
        let (start, end) = pages(addr, len)?;
        mark(&mut self.lock(), start, end, |flags| {
            flags.remove(VmaFlags::LOCKED);
        })
    }

    /// mlockall(2).
    ///
    /// # Errors
    /// `ENOMEM` beyond the limit, `EPERM` without any allowance.
    pub fn mlock_all(&self, what: LockAll) -> Result<()> {
        let mut state = self.lock();
        let totals = state.tree.totals();
        if what.contains(LockAll::CURRENT) {
            state.may_lock(totals.mapped - totals.locked, Errno::ENOMEM)?;
            let (min, max) = (state.layout.min, state.layout.max);
            state.tree.update(min, max, |v| v.flags |= VmaFlags::LOCKED);
        } else {
            state.may_lock(0, Errno::ENOMEM)?;
        }
        state.lock_future = what.contains(LockAll::FUTURE);
        Ok(())
    }

    /// munlockall(2).
    pub fn munlock_all(&self) {
        let mut state = self.lock();
        state.lock_future = false;
        let (min, max) = (state.layout.min, state.layout.max);
        state
            .tree
            .update(min, max, |v| v.flags.remove(VmaFlags::LOCKED));
    }
}

fn pages(addr: u64, len: u64) -> Result<(u64, u64)> {
    let start = page_floor(addr);
    let end = addr.checked_add(len).and_then(page_ceil);
    end.map(|end| (start, end)).ok_or(Errno::EINVAL)
}

fn mark(state: &mut State, start: u64, end: u64, change: impl Fn(&mut VmaFlags)) -> Result<()> {
    let stop = state.tree.covered_to(start, end);
    state.may_add(state.tree.cuts(start, stop))?;
    state.tree.update(start, stop, |v| change(&mut v.flags));
    if stop < end {
        return Err(Errno::ENOMEM);
    }
    Ok(())
}
