//! mremap(2).

use base_abi::Errno;
use base_abi::general::{MAP_FIXED, MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE};
use base_abi::page::{page_aligned, page_ceil};
use kernel_vfs::Result;
use platform_api::MapOp;

use crate::map::place;
use crate::mm::{Mm, State};
use crate::vma::{Vma, VmaFlags};

/// A checked request: lengths are page multiples.
struct Remap {
    old: u64,
    old_len: u64,
    new_len: u64,
    flags: u32,
    /// Destination with `MREMAP_FIXED`, a hint otherwise.
    target: u64,
}

impl Mm {
    /// Resizes or moves a mapping; returns where it is then.
    ///
    /// # Errors
    /// mremap(2)'s.
    pub fn remap(
        &self,
        old: u64,
        old_len: u64,
        new_len: u64,
        flags: u32,
        new_addr: u64,
    ) -> Result<u64> {
        let mut state = self.lock();
        let remap = check(&state, old, old_len, new_len, flags, new_addr)?;
        let (at, gone) = self.remap_locked(&mut state, &remap)?;
        drop(state);
        drop(gone);
        Ok(at)
    }

    fn remap_locked(&self, state: &mut State, r: &Remap) -> Result<(u64, Vec<Vma>)> {
        let mut gone = Vec::new();
        if r.flags & MREMAP_FIXED != 0 {
            state.may_add(3)?;
            let end = r.target + r.new_len;
            gone.extend(self.take_out(state, r.target, end)?);
        }
        let mut old_len = r.old_len;
        if old_len > r.new_len {
            if state.tree.at(r.old).is_none() {
                return Err(Errno::EFAULT);
            }
            gone.extend(self.take_out(state, r.old + r.new_len, r.old + old_len)?);
            old_len = r.new_len;
        }
        let moving = r.flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) != 0;
        if !moving && old_len == r.new_len {
            return Ok((r.old, gone));
        }
        let vma = resizable(state, r, old_len)?;
        let extra = r.new_len - old_len;
        let end = r.old + old_len;
        let room = r.old.checked_add(r.new_len);
        let room = room.filter(|&e| e <= state.layout.max && state.tree.free(end, e));
        if let (false, Some(new_end), true) = (moving, room, vma.end == end && old_len > 0) {
            self.extend(state, &vma, new_end, extra)?;
            return Ok((r.old, gone));
        }
        if r.flags & MREMAP_MAYMOVE == 0 {
            return Err(Errno::ENOMEM);
        }
        let at = if r.flags & MREMAP_FIXED != 0 {
            place(state, r.target, r.new_len, MAP_FIXED)?
        } else {
            place(state, r.target, r.new_len, 0)?
        };
        if old_len == 0 {
            let mut copy = vma.part(r.old, vma.end);
            (copy.start, copy.end) = (at, at + r.new_len);
            copy.flags.remove(VmaFlags::LOCKED);
            gone.extend(self.install(state, copy, false)?);
        } else {
            self.relocate(state, vma.part(r.old, end), at, r)?;
        }
        Ok((at, gone))
    }

    /// Grows a mapping in place.
    fn extend(&self, state: &mut State, vma: &Vma, new_end: u64, extra: u64) -> Result<()> {
        let tail = Vma {
            start: vma.end,
            end: new_end,
            backing: vma.backing.advanced(vma.len()),
            ..vma.clone()
        };
        let charge = accounted(vma, extra);
        let range = (tail.start, tail.end);
        let op = tail.map_op();
        self.commit(state, charge, &[op], Some(range), |tree| {
            tree.insert(tail);
            Vec::new()
        })?;
        Ok(())
    }

    /// Moves `part` to `at`, growing it to the new length. `MREMAP_DONTUNMAP` leaves a fresh mapping
    /// where it was; if the platform has no room for that one, the move stays done and the call fails.
    fn relocate(&self, state: &mut State, part: Vma, at: u64, r: &Remap) -> Result<()> {
        state.may_add(3)?;
        let op = MapOp::Move {
            from: part.start,
            old_len: part.len(),
            to: at,
            new_len: r.new_len,
        };
        let moved = Vma {
            start: at,
            end: at + r.new_len,
            ..part.clone()
        };
        let charge = accounted(&part, r.new_len - part.len());
        let (start, end) = (part.start, part.end);
        self.commit(state, charge, &[op], None, |tree| {
            tree.remove(start, end);
            tree.insert(moved);
            Vec::new()
        })?;
        if r.flags & MREMAP_DONTUNMAP == 0 {
            return Ok(());
        }
        let mut left = part;
        left.flags.remove(VmaFlags::LOCKED);
        let charge = accounted(&left, left.len());
        let op = left.map_op();
        self.commit(state, charge, &[op], Some((start, end)), |tree| {
            tree.insert(left);
            Vec::new()
        })?;
        Ok(())
    }
}

fn accounted(vma: &Vma, bytes: u64) -> u64 {
    if vma.flags.contains(VmaFlags::ACCOUNTED) {
        bytes
    } else {
        0
    }
}

fn check(
    state: &State,
    old: u64,
    old_len: u64,
    new_len: u64,
    flags: u32,
    new_addr: u64,
) -> Result<Remap> {
    let all = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
    let fixed = flags & MREMAP_FIXED != 0;
    let keep = flags & MREMAP_DONTUNMAP != 0;
    let moves = flags & MREMAP_MAYMOVE != 0;
    if flags & !all != 0 || ((fixed || keep) && !moves) || !page_aligned(old) {
        return Err(Errno::EINVAL);
    }
    let old_len = page_ceil(old_len).ok_or(Errno::EINVAL)?;
    let new_len = page_ceil(new_len)
        .filter(|&len| len > 0)
        .ok_or(Errno::EINVAL)?;
    let old_end = old
        .checked_add(old_len)
        .filter(|&end| end <= state.layout.max)
        .ok_or(Errno::EFAULT)?;
    if keep && old_len != new_len {
        return Err(Errno::EINVAL);
    }
    if new_len > state.layout.max - state.layout.min {
        return Err(if fixed { Errno::EINVAL } else { Errno::ENOMEM });
    }
    if fixed {
        let end = new_addr
            .checked_add(new_len)
            .filter(|&end| end <= state.layout.max && page_aligned(new_addr))
            .ok_or(Errno::EINVAL)?;
        if new_addr < state.layout.min {
            return Err(Errno::EPERM);
        }
        if new_addr < old_end && old < end {
            return Err(Errno::EINVAL);
        }
    }
    Ok(Remap {
        old,
        old_len,
        new_len,
        flags,
        target: if fixed || keep { new_addr } else { 0 },
    })
}

/// The mapping, when the range lies in it and limits allow the growth.
fn resizable(state: &State, r: &Remap, old_len: u64) -> Result<Vma> {
    let vma = state.tree.at(r.old).ok_or(Errno::EFAULT)?;
    if old_len == 0 && !vma.shared() {
        return Err(Errno::EINVAL);
    }
    if r.old + old_len > vma.end {
        return Err(Errno::EFAULT);
    }
    let special = vma.flags.contains(VmaFlags::SPECIAL);
    if special && r.flags & MREMAP_DONTUNMAP != 0 {
        return Err(Errno::EINVAL);
    }
    if special && old_len != r.new_len {
        return Err(Errno::EFAULT);
    }
    let keep = r.flags & MREMAP_DONTUNMAP != 0;
    let grown = if keep { r.new_len } else { r.new_len - old_len };
    if vma.flags.contains(VmaFlags::LOCKED) && grown > 0 {
        state.may_lock(grown, Errno::EAGAIN)?;
    }
    state.may_grow(grown, if vma.is_data() { grown } else { 0 })?;
    Ok(vma.clone())
}
