//! mprotect(2).

use base_abi::Errno;
use base_abi::general::{PROT_EXEC, PROT_GROWSDOWN, PROT_GROWSUP, PROT_READ, PROT_SEM, PROT_WRITE};
use base_abi::page::{page_aligned, page_ceil};
use kernel_vfs::Result;
use platform_api::{MapOp, Protection};

use crate::mm::{Mm, State};
use crate::vma::{Vma, VmaFlags};

impl Mm {
    /// Changes the protection of a range; as on Linux the part before a hole is changed and the call fails.
    ///
    /// # Errors
    /// mprotect(2)'s: `EINVAL`, `ENOMEM` at a hole, `EACCES` for a file not opened for writing.
    pub fn protect(&self, addr: u64, len: u64, prot: u32) -> Result<()> {
        let grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
        let bits = prot & !grows;
        if grows == PROT_GROWSDOWN | PROT_GROWSUP
            || !page_aligned(addr)
            || bits & !(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM) != 0
        {
            return Err(Errno::EINVAL);
        }
        if len == 0 {
            return Ok(());
        }
        let len = page_ceil(len).ok_or(Errno::ENOMEM)?;
        let end = addr.checked_add(len).ok_or(Errno::ENOMEM)?;
        if bits & PROT_WRITE != 0 {
            self.make_present(addr, end)?;
        }
        let mut state = self.lock();
        let start = match grows {
            0 => addr,
            _ => grown_start(&state, addr, grows)?,
        };
        self.protect_locked(&mut state, start, end, Protection::from_bits_truncate(bits))
    }

    fn protect_locked(
        &self,
        state: &mut State,
        start: u64,
        end: u64,
        prot: Protection,
    ) -> Result<()> {
        let (stop, verdict) = reach(state, start, end, prot);
        if stop == start {
            return verdict;
        }
        state.may_add(state.tree.cuts(start, stop))?;
        let (extra, data) = growth(state, start, stop, prot);
        if data > 0 {
            state.may_grow(0, data)?;
        }
        let ops = changes(state, start, stop, prot);
        self.commit(state, extra, &ops, None, |tree| {
            tree.update(start, stop, |vma| {
                vma.prot = prot;
                if prot.contains(Protection::WRITE) && vma.chargeable() {
                    vma.flags |= VmaFlags::ACCOUNTED;
                }
            });
            Vec::new()
        })?;
        verdict
    }
}

/// `PROT_GROWSDOWN` widens the range to the bottom of a stack.
fn grown_start(state: &State, addr: u64, grows: u32) -> Result<u64> {
    let vma = state.tree.at(addr).ok_or(Errno::ENOMEM)?;
    if grows == PROT_GROWSDOWN && vma.flags.contains(VmaFlags::STACK) {
        Ok(vma.start)
    } else {
        Err(Errno::EINVAL)
    }
}

/// How far the change goes, and what the call answers.
fn reach(state: &State, start: u64, end: u64, prot: Protection) -> (u64, Result<()>) {
    let mut at = start;
    for vma in state.tree.overlapping(start, end) {
        if vma.start > at {
            break;
        }
        if !vma.max_prot.contains(prot) {
            return (at, Err(Errno::EACCES));
        }
        at = vma.end.min(end);
    }
    if at < end {
        return (at, Err(Errno::ENOMEM));
    }
    (at, Ok(()))
}

/// The change in the platform's terms: what is absent stays out of reach.
fn changes(state: &State, start: u64, end: u64, prot: Protection) -> Vec<MapOp> {
    let absent = |vma: &Vma| vma.flags.contains(VmaFlags::ABSENT);
    let change = |addr: u64, end: u64, prot| MapOp::Protect {
        addr,
        len: end - addr,
        prot,
    };
    if !state.tree.overlapping(start, end).any(absent) {
        return vec![change(start, end, prot)];
    }
    let parts = state.tree.overlapping(start, end);
    let part = |vma: &Vma| change(vma.start.max(start), vma.end.min(end), vma.prot_there(prot));
    parts.map(part).collect()
}

/// Bytes to charge, and bytes that become data.
fn growth(state: &State, start: u64, end: u64, prot: Protection) -> (u64, u64) {
    if !prot.contains(Protection::WRITE) {
        return (0, 0);
    }
    let (mut extra, mut data) = (0, 0);
    for vma in state.tree.overlapping(start, end) {
        let len = vma.end.min(end) - vma.start.max(start);
        if vma.chargeable() && !vma.flags.contains(VmaFlags::ACCOUNTED) {
            extra += len;
        }
        let stack = vma.flags.contains(VmaFlags::STACK);
        if !vma.shared() && !stack && !vma.prot.contains(Protection::WRITE) {
            data += len;
        }
    }
    (extra, data)
}
