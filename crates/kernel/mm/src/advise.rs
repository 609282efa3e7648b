//! madvise(2), msync(2) and mincore(2).

use std::sync::Arc;

use base_abi::Errno;
use base_abi::general::{
    MADV_COLD, MADV_DODUMP, MADV_DOFORK, MADV_DONTDUMP, MADV_DONTFORK, MADV_DONTNEED,
    MADV_DONTNEED_LOCKED, MADV_FREE, MADV_HUGEPAGE, MADV_HWPOISON, MADV_KEEPONFORK, MADV_MERGEABLE,
    MADV_NOHUGEPAGE, MADV_NORMAL, MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
    MADV_RANDOM, MADV_REMOVE, MADV_SEQUENTIAL, MADV_SOFT_OFFLINE, MADV_UNMERGEABLE, MADV_WILLNEED,
    MADV_WIPEONFORK,
};
use base_abi::page::{PAGE_SIZE, page_aligned, page_ceil};
use kernel_vfs::{Result, UserMemory};
use platform_api::{MapOp, Protection};

use crate::mm::{Mm, State};
use crate::vma::{KeptDescription, MappedFile, Vma, VmaBacking, VmaFlags};

/// The values of madvise(2) that this kernel knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// `MADV_NORMAL`, `RANDOM`, `SEQUENTIAL`, `WILLNEED`, `MERGEABLE`, `UNMERGEABLE`: heard and forgotten.
    Hint,
    /// `MADV_COLD`, `MADV_PAGEOUT`: hints that refuse locked memory.
    Cold,
    /// `MADV_DONTNEED`.
    DontNeed,
    /// `MADV_DONTNEED_LOCKED`.
    DontNeedLocked,
    /// `MADV_FREE`: done at once here, which the contract allows.
    Free,
    /// `MADV_REMOVE`.
    Remove,
    /// `MADV_POPULATE_READ`, checked but left to happen on first touch.
    PopulateRead,
    /// `MADV_POPULATE_WRITE`, checked but left to happen on first touch.
    PopulateWrite,
    /// Sets and clears mapping flags.
    Flags(VmaFlags, VmaFlags),
}

impl Advice {
    /// From the number.
    ///
    /// # Errors
    /// `EINVAL` for what Linux 6.12 does not know, `EPERM` for memory-failure injection.
    pub fn from_raw(raw: u32) -> Result<Advice> {
        const NONE: VmaFlags = VmaFlags::empty();
        Ok(match raw {
            MADV_NORMAL | MADV_RANDOM | MADV_SEQUENTIAL | MADV_WILLNEED | MADV_MERGEABLE
            | MADV_UNMERGEABLE => Advice::Hint,
            MADV_DONTNEED => Advice::DontNeed,
            MADV_FREE => Advice::Free,
            MADV_REMOVE => Advice::Remove,
            MADV_DONTFORK => Advice::Flags(VmaFlags::DONTFORK, NONE),
            MADV_DOFORK => Advice::Flags(NONE, VmaFlags::DONTFORK),
            MADV_HUGEPAGE => Advice::Flags(VmaFlags::HUGEPAGE, VmaFlags::NOHUGEPAGE),
            MADV_NOHUGEPAGE => Advice::Flags(VmaFlags::NOHUGEPAGE, VmaFlags::HUGEPAGE),
            MADV_DONTDUMP => Advice::Flags(VmaFlags::DONTDUMP, NONE),
            MADV_DODUMP => Advice::Flags(NONE, VmaFlags::DONTDUMP),
            MADV_WIPEONFORK => Advice::Flags(VmaFlags::WIPEONFORK, NONE),
            MADV_KEEPONFORK => Advice::Flags(NONE, VmaFlags::WIPEONFORK),
            MADV_COLD | MADV_PAGEOUT => Advice::Cold,
            MADV_POPULATE_READ => Advice::PopulateRead,
            MADV_POPULATE_WRITE => Advice::PopulateWrite,
            MADV_DONTNEED_LOCKED => Advice::DontNeedLocked,
            MADV_HWPOISON | MADV_SOFT_OFFLINE => return Err(Errno::EPERM),
            _ => return Err(Errno::EINVAL),
        })
    }
}

impl Mm {
    /// Takes advice for a range. Holes are skipped and reported at the end, as Linux does.
    ///
    /// # Errors
    /// madvise(2)'s.
    pub fn advise(&self, addr: u64, len: u64, advice: Advice) -> Result<()> {
        let len = page_ceil(len).ok_or(Errno::EINVAL)?;
        if !page_aligned(addr) {
            return Err(Errno::EINVAL);
        }
        let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
        if addr == end {
            return Ok(());
        }
        let mut state = self.lock();
        let mut ops = Vec::new();
        let mut holes = Vec::new();
        let (mut stop, mut refused) = (end, None);
        for vma in state.tree.overlapping(addr, end) {
            let part = vma.part(vma.start.max(addr), vma.end.min(end));
            if let Err(errno) = consider(&part, advice, &mut ops, &mut holes) {
                (stop, refused) = (part.start, Some(errno));
                break;
            }
        }
        let mapped: u64 = state
            .tree
            .overlapping(addr, stop)
            .map(|v| v.end.min(stop) - v.start.max(addr))
            .sum();
        if let Advice::Flags(set, clear) = advice {
            mark(&mut state, addr, stop, set, clear)?;
        }
        if !ops.is_empty() {
            self.commit(&mut state, 0, &ops, None, |_| Vec::new())?;
        }
        drop(state);
        for hole in holes {
            hole.punch()?;
        }
        match refused {
            Some(errno) => Err(errno),
            None if mapped < end - addr => Err(Errno::ENOMEM),
            None => Ok(()),
        }
    }

    /// msync(2) with its flags.
    ///
    /// # Errors
    /// msync(2)'s: `EINVAL`, `ENOMEM` for holes, `EBUSY` for locked memory, and the file's own.
    pub fn sync(&self, addr: u64, len: u64, flags: u32) -> Result<()> {
        use base_abi::general::{MS_ASYNC, MS_INVALIDATE, MS_SYNC};
        let both = MS_ASYNC | MS_SYNC;
        let len = page_ceil(len).ok_or(Errno::ENOMEM)?;
        if flags & !(both | MS_INVALIDATE) != 0 || flags & both == both || !page_aligned(addr) {
            return Err(Errno::EINVAL);
        }
        let end = addr.checked_add(len).ok_or(Errno::ENOMEM)?;
        let (mut files, mut mapped) = (Vec::new(), 0);
        let state = self.lock();
        for vma in state.tree.overlapping(addr, end) {
            if flags & MS_INVALIDATE != 0 && vma.flags.contains(VmaFlags::LOCKED) {
                return Err(Errno::EBUSY);
            }
            mapped += vma.end.min(end) - vma.start.max(addr);
            if flags & MS_SYNC != 0 && vma.shared() {
                files.extend(vma.file().and_then(|f| f.description.clone()));
            }
        }
        drop(state);
        for KeptDescription(description) in files {
            description.file().sync()?;
        }
        if mapped < len {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// mincore(2): writes one byte a page to `vec`. Pages that can be touched count as resident.
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM` for holes, `EFAULT` for `vec`.
    pub fn mincore(&self, addr: u64, len: u64, vec: u64) -> Result<()> {
        /// Pages answered at a time.
        const CHUNK: u64 = 4096;
        if !page_aligned(addr) {
            return Err(Errno::EINVAL);
        }
        let len = page_ceil(len).ok_or(Errno::ENOMEM)?;
        let end = addr.checked_add(len).ok_or(Errno::ENOMEM)?;
        let (mut at, mut out) = (addr, vec);
        while at < end {
            let stop = end.min(at.saturating_add(CHUNK * PAGE_SIZE));
            let answer = self.residency(at, stop)?;
            self.write_bytes(out, &answer)?;
            out = out.checked_add(answer.len() as u64).ok_or(Errno::EFAULT)?;
            at = stop;
        }
        Ok(())
    }

    fn residency(&self, start: u64, end: u64) -> Result<Vec<u8>> {
        let state = self.lock();
        if state.tree.covered_to(start, end) < end {
            return Err(Errno::ENOMEM);
        }
        let mut answer = Vec::new();
        for vma in state.tree.overlapping(start, end) {
            let pages = (vma.end.min(end) - vma.start.max(start)) / PAGE_SIZE;
            let pages = usize::try_from(pages).map_err(|_| Errno::ENOMEM)?;
            answer.resize(answer.len() + pages, u8::from(!vma.prot.is_empty()));
        }
        Ok(answer)
    }

    /// Names private anonymous memory for `/proc/<pid>/maps` (`PR_SET_VMA_ANON_NAME`); `None` takes the name away.
    ///
    /// # Errors
    /// `EINVAL` for unaligned ranges, `EBADF` for file mappings, `ENOMEM` for holes.
    pub fn set_name(&self, addr: u64, len: u64, name: Option<&str>) -> Result<()> {
        let len = page_ceil(len).ok_or(Errno::EINVAL)?;
        let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
        if !page_aligned(addr) {
            return Err(Errno::EINVAL);
        }
        let mut state = self.lock();
        let stop = state.tree.covered_to(addr, end);
        state.may_add(state.tree.cuts(addr, stop))?;
        if state.tree.overlapping(addr, stop).any(|v| !v.anonymous()) {
            return Err(Errno::EBADF);
        }
        let name: Option<Arc<str>> = name.map(Arc::from);
        state
            .tree
            .update(addr, stop, |v| v.anon_name.clone_from(&name));
        if stop < end {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }
}

/// A range of a file to be freed.
struct Hole {
    file: Arc<MappedFile>,
    offset: u64,
    len: u64,
}

impl Hole {
    fn punch(self) -> Result<()> {
        use base_abi::general::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE};
        match &self.file.description {
            Some(KeptDescription(description)) => description.file().allocate(
                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                self.offset,
                self.len,
            ),
            None => Ok(host_sys::memory_file::punch_hole(
                &self.file.host,
                self.offset,
                self.len,
            )?),
        }
    }
}

/// What the advice means for one mapping (already cut to the range).
fn consider(part: &Vma, advice: Advice, ops: &mut Vec<MapOp>, holes: &mut Vec<Hole>) -> Result<()> {
    let locked = part.flags.contains(VmaFlags::LOCKED);
    let refuse = match advice {
        Advice::Hint | Advice::DontNeedLocked => false,
        Advice::Cold | Advice::DontNeed => locked,
        Advice::Free => !part.anonymous(),
        Advice::Remove => locked || part.file().is_none(),
        Advice::PopulateRead => !part.prot.contains(Protection::READ),
        Advice::PopulateWrite => !part.prot.contains(Protection::WRITE),
        Advice::Flags(set, _) => {
            (set.contains(VmaFlags::WIPEONFORK) && !part.anonymous())
                || (part.flags.contains(VmaFlags::SPECIAL) && set.contains(VmaFlags::DONTFORK))
        }
    };
    if refuse {
        return Err(Errno::EINVAL);
    }
    let drops = matches!(
        advice,
        Advice::DontNeed | Advice::DontNeedLocked | Advice::Free
    );
    if drops && !part.shared() {
        ops.push(MapOp::Discard {
            addr: part.start,
            len: part.len(),
        });
    }
    if let (Advice::Remove, VmaBacking::File { file, offset, .. }) = (advice, &part.backing) {
        if !part.shared() || !part.max_prot.contains(Protection::WRITE) {
            return Err(Errno::EACCES);
        }
        holes.push(Hole {
            file: Arc::clone(file),
            offset: *offset,
            len: part.len(),
        });
    }
    Ok(())
}

fn mark(state: &mut State, start: u64, end: u64, set: VmaFlags, clear: VmaFlags) -> Result<()> {
    state.may_add(state.tree.cuts(start, end))?;
    state.tree.update(start, end, |v| {
        v.flags.insert(set);
        v.flags.remove(clear);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_advice_or_refused_as_linux_does() {
        let known = |raw: u32| Advice::from_raw(raw).is_ok();
        let all: Vec<u32> = (0..300).filter(|raw| known(*raw)).collect();
        assert_eq!(all, [vec![0, 1, 2, 3, 4], (8..=24).collect()].concat());
        assert_eq!(Advice::from_raw(MADV_HWPOISON), Err(Errno::EPERM));
        assert_eq!(Advice::from_raw(5), Err(Errno::EINVAL));
        assert_eq!(Advice::from_raw(u32::MAX), Err(Errno::EINVAL));
    }
}
