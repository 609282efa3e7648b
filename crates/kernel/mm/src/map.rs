//! mmap(2) and munmap(2).

use std::fs::File as HostFile;
use std::ops::Range;
use std::sync::Arc;

use base_abi::Errno;
use base_abi::general::{
    MAP_32BIT, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_GROWSDOWN, MAP_HUGETLB, MAP_LOCKED,
    MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_STACK, MAP_SYNC, MAP_TYPE,
};
use base_abi::page::{PAGE_SIZE, page_aligned, page_ceil, page_floor};
use kernel_vfs::{AccessMode, Description, Result, StatusFlags};
use platform_api::{MapOp, Protection, Sharing};

use crate::mm::{Mm, State};
use crate::tree::VmaTree;
use crate::vma::{MappedFile, Vma, VmaBacking, VmaFlags};

/// Where `MAP_32BIT` mappings go.
const LOW_AREA: (u64, u64) = (0x4000_0000, 0x8000_0000);

/// What a new mapping shows.
#[derive(Clone)]
pub enum Source {
    /// Zero pages (`MAP_ANONYMOUS`), shared or private as the flags say.
    Anonymous,
    /// An open file.
    File {
        /// The description; its access mode decides what is allowed.
        description: Arc<Description>,
        /// Its path for `/proc/<pid>/maps`.
        path: Arc<str>,
        /// Offset of the first byte, page aligned.
        offset: u64,
    },
    /// Memory of the kernel's own, mapped shared (`[vdso]`, `[vvar]`).
    Special {
        /// The memory.
        file: Arc<HostFile>,
        /// Offset of the first byte, page aligned.
        offset: u64,
        /// What `/proc/<pid>/maps` shows.
        name: &'static str,
    },
}

/// The arguments of mmap(2).
#[derive(Clone)]
pub struct MapRequest {
    /// Hint, or the address with `MAP_FIXED`.
    pub addr: u64,
    /// Bytes; rounded up to pages.
    pub len: u64,
    /// `PROT_*`.
    pub prot: u32,
    /// `MAP_*`.
    pub flags: u32,
    /// What is mapped.
    pub source: Source,
}

impl Mm {
    /// Makes a mapping and returns its address.
    ///
    /// # Errors
    /// mmap(2)'s; `EAGAIN` for a writable part of a lazy file that is not there yet.
    pub fn map(&self, request: MapRequest) -> Result<u64> {
        if request.len == 0 {
            return Err(Errno::EINVAL);
        }
        let len = page_ceil(request.len).ok_or(Errno::ENOMEM)?;
        let shared = sharing(request.flags)?;
        if request.flags & MAP_HUGETLB != 0 {
            return Err(Errno::ENOMEM);
        }
        let (addr, flags) = (request.addr, request.flags);
        let mut vma = unplaced(request, shared, len)?;
        let mut state = self.lock();
        state.may_add(1)?;
        let start = place(&state, addr, len, flags)?;
        (vma.start, vma.end) = (start, start + len);
        state.count_shared(&vma);
        let gone = self.install(&mut state, vma, flags & MAP_LOCKED != 0)?;
        drop(state);
        // Descriptions that were mapped there may be released now: without the lock.
        drop(gone);
        Ok(start)
    }

    /// Unmaps a range; what is not mapped does not matter.
    ///
    /// # Errors
    /// munmap(2)'s: `EINVAL`, `ENOMEM` when a mapping would be cut in two beyond the limit.
    pub fn unmap(&self, addr: u64, len: u64) -> Result<()> {
        let mut state = self.lock();
        let end = range_end(&state, addr, len)?;
        if state.tree.free(addr, end) {
            return Ok(());
        }
        if state.tree.cuts(addr, end) == 2 {
            state.may_add(1)?;
        }
        let gone = self.take_out(&mut state, addr, end)?;
        drop(state);
        drop(gone);
        Ok(())
    }

    /// Makes several mappings at given addresses in one batch, each over what the ones before left:
    /// what execve(2) does. After a failure the address space is to be thrown away.
    ///
    /// # Errors
    /// mmap(2)'s with `MAP_FIXED`.
    pub fn populate(&self, requests: Vec<MapRequest>) -> Result<()> {
        let mut vmas = Vec::with_capacity(requests.len());
        let mut state = self.lock();
        state.may_add(requests.len())?;
        let (mut extra, mut mapped, mut data) = (0u64, 0u64, 0u64);
        for request in requests {
            let len = page_ceil(request.len).ok_or(Errno::ENOMEM)?;
            if len == 0 {
                return Err(Errno::EINVAL);
            }
            let (addr, sharing) = (request.addr, sharing(request.flags)?);
            let mut vma = unplaced(request, sharing, len)?;
            vma.start = place(&state, addr, len, MAP_FIXED)?;
            vma.end = vma.start + len;
            state.count_shared(&vma);
            mapped = mapped.saturating_add(len);
            data = data.saturating_add(if vma.is_data() { len } else { 0 });
            if vma.chargeable() && vma.prot.contains(Protection::WRITE) {
                vma.flags |= VmaFlags::ACCOUNTED;
                extra += len;
            }
            vmas.push(vma);
        }
        state.may_grow(mapped, data)?;
        let ops: Vec<MapOp> = vmas.iter().map(Vma::map_op).collect();
        self.commit(&mut state, extra, &ops, None, |tree| {
            for vma in vmas {
                tree.remove(vma.start, vma.end);
                tree.insert(vma);
            }
            Vec::new()
        })?;
        Ok(())
    }

    /// Where `len` bytes aligned to `align` (a power of two) would fit: at `hint` when that is free,
    /// else where mmap(2) would put them. Nothing is reserved.
    ///
    /// # Errors
    /// `ENOMEM`; `EINVAL` for a strange alignment.
    pub fn find_gap(&self, hint: u64, len: u64, align: u64) -> Result<u64> {
        let align = align.max(PAGE_SIZE);
        if !align.is_power_of_two() {
            return Err(Errno::EINVAL);
        }
        let len = page_ceil(len).ok_or(Errno::ENOMEM)?;
        let wide = len.checked_add(align - PAGE_SIZE).ok_or(Errno::ENOMEM)?;
        let start = place(&self.lock(), hint, wide, 0)?;
        Ok((start + (align - 1)) & !(align - 1))
    }

    /// Whether nothing is mapped in a range and a mapping may lie there.
    #[must_use]
    pub fn is_free(&self, start: u64, len: u64) -> bool {
        let state = self.lock();
        start.checked_add(len).is_some_and(|end| {
            start >= state.layout.min && end <= state.layout.max && state.tree.free(start, end)
        })
    }

    pub(crate) fn take_out(&self, state: &mut State, start: u64, end: u64) -> Result<Vec<Vma>> {
        let op = MapOp::Unmap {
            addr: start,
            len: end - start,
        };
        self.commit(state, 0, &[op], None, |tree| tree.remove(start, end))
    }

    /// Checks the limits for a placed mapping and puts it in, over whatever was there.
    pub(crate) fn install(&self, state: &mut State, mut vma: Vma, lock: bool) -> Result<Vec<Vma>> {
        let replaced = overlap(&state.tree, vma.start, vma.end);
        let data = if vma.is_data() { vma.len() } else { 0 };
        let grow = vma.len().saturating_sub(replaced.mapped);
        state.may_grow(grow, data.saturating_sub(replaced.data))?;
        if lock || state.lock_future {
            state.may_lock(vma.len(), Errno::EAGAIN)?;
            vma.flags |= VmaFlags::LOCKED;
        }
        let mut extra = 0;
        if vma.chargeable() && vma.prot.contains(Protection::WRITE) {
            vma.flags |= VmaFlags::ACCOUNTED;
            extra = vma.len().saturating_sub(replaced.accounted);
        }
        let range = (vma.start, vma.end);
        let op = vma.map_op();
        self.commit(state, extra, &[op], Some(range), |tree| {
            let gone = tree.remove(range.0, range.1);
            tree.insert(vma);
            gone
        })
    }
}

/// The mapping without its address.
fn unplaced(request: MapRequest, sharing: Sharing, len: u64) -> Result<Vma> {
    let mut vma = Vma {
        start: 0,
        end: 0,
        prot: Protection::from_bits_truncate(request.prot),
        max_prot: Protection::all(),
        flags: flags_of(&request),
        backing: VmaBacking::Anonymous,
        anon_name: None,
    };
    back(&mut vma, request.source, sharing, len)?;
    Ok(vma)
}

fn sharing(flags: u32) -> Result<Sharing> {
    match flags & MAP_TYPE {
        MAP_SHARED => Ok(Sharing::Shared),
        MAP_PRIVATE => Ok(Sharing::Private),
        MAP_SHARED_VALIDATE if flags & MAP_SYNC != 0 => Err(Errno::EOPNOTSUPP),
        MAP_SHARED_VALIDATE => Ok(Sharing::Shared),
        _ => Err(Errno::EINVAL),
    }
}

fn flags_of(request: &MapRequest) -> VmaFlags {
    let mut flags = VmaFlags::empty();
    flags.set(VmaFlags::NORESERVE, request.flags & MAP_NORESERVE != 0);
    flags.set(VmaFlags::STACK, request.flags & MAP_GROWSDOWN != 0);
    flags.set(VmaFlags::NOHUGEPAGE, request.flags & MAP_STACK != 0);
    flags
}

/// Finds out what is behind the mapping and what protection it may ever have.
fn back(vma: &mut Vma, source: Source, sharing: Sharing, len: u64) -> Result<()> {
    let (file, offset, sharing) = match source {
        Source::Anonymous if sharing == Sharing::Private => return Ok(()),
        Source::Anonymous => {
            let memory = host_sys::memory_file::create("shared", len)?;
            let name = Arc::from("/dev/zero (deleted)");
            let file = MappedFile::new(Arc::new(memory), None, name, (1, 0), sharing)?;
            (file, 0, sharing)
        }
        Source::Special { file, offset, name } => {
            vma.flags |= VmaFlags::SPECIAL;
            vma.max_prot = vma.prot;
            let file = MappedFile::new(file, None, Arc::from(name), (0, 0), Sharing::Shared)?;
            (file, offset, Sharing::Shared)
        }
        Source::File {
            description,
            path,
            offset,
        } => {
            if !page_aligned(offset) {
                return Err(Errno::EINVAL);
            }
            let end = offset.checked_add(len).ok_or(Errno::EOVERFLOW)?;
            i64::try_from(end).map_err(|_| Errno::EOVERFLOW)?;
            vma.max_prot = allowed(&description, sharing, vma.prot)?;
            let host = description.file().memory_file()?;
            let place = description
                .file()
                .stat()
                .map_or((0, 0), |stat| (stat.dev, stat.ino));
            if description.file().lazy() {
                expect(vma, &description, offset..end)?;
            }
            let file = MappedFile::new(host, Some(description), path, place, sharing)?;
            (file, offset, sharing)
        }
    };
    vma.backing = VmaBacking::File {
        file: Arc::new(file),
        offset,
        sharing,
    };
    Ok(())
}

/// Part of a lazy file is there when it is first touched. What may be written is there from the start: a call that puts
/// something into it could not be made again.
pub(crate) fn expect(vma: &mut Vma, description: &Description, range: Range<u64>) -> Result<()> {
    if vma.prot.contains(Protection::WRITE) {
        return description.file().fetch(range);
    }
    vma.flags |= VmaFlags::ABSENT;
    Ok(())
}

/// The most that mprotect(2) may give later.
fn allowed(description: &Description, sharing: Sharing, prot: Protection) -> Result<Protection> {
    let access = description.access();
    if access == AccessMode::Path {
        return Err(Errno::EBADF);
    }
    if !access.readable() {
        return Err(Errno::EACCES);
    }
    if sharing == Sharing::Private {
        return Ok(Protection::all());
    }
    let appending = description.flags().contains(StatusFlags::APPEND);
    if prot.contains(Protection::WRITE) && (!access.writable() || appending) {
        return Err(Errno::EACCES);
    }
    Ok(if access.writable() {
        Protection::all()
    } else {
        Protection::READ | Protection::EXEC
    })
}

/// Decides the address of a mapping of `len` bytes (a page multiple).
pub(crate) fn place(state: &State, addr: u64, len: u64, flags: u32) -> Result<u64> {
    let layout = &state.layout;
    if len > layout.max - layout.min {
        return Err(Errno::ENOMEM);
    }
    let end = addr.checked_add(len).filter(|&end| end <= layout.max);
    if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) != 0 {
        if !page_aligned(addr) {
            return Err(Errno::EINVAL);
        }
        let end = end.ok_or(Errno::ENOMEM)?;
        if addr < layout.min {
            return Err(Errno::EPERM);
        }
        let replace = flags & MAP_FIXED_NOREPLACE == 0;
        if !replace && !state.tree.free(addr, end) {
            return Err(Errno::EEXIST);
        }
        return Ok(addr);
    }
    if let Some(start) = hinted(state, addr, len, flags) {
        return Ok(start);
    }
    if flags & MAP_32BIT != 0 {
        let (low, high) = (LOW_AREA.0.max(layout.min), LOW_AREA.1.min(layout.max));
        return state.tree.gap_above(low, high, len).ok_or(Errno::ENOMEM);
    }
    state
        .tree
        .gap_below(layout.min, layout.mmap_base, len)
        .or_else(|| state.tree.gap_above(layout.min, layout.max, len))
        .ok_or(Errno::ENOMEM)
}

/// The hinted address when it is free.
fn hinted(state: &State, addr: u64, len: u64, flags: u32) -> Option<u64> {
    let start = page_floor(addr);
    if start == 0 {
        return None;
    }
    let start = start.max(state.layout.min);
    let high = if flags & MAP_32BIT != 0 {
        LOW_AREA.1.min(state.layout.max)
    } else {
        state.layout.max
    };
    let end = start.checked_add(len).filter(|&end| end <= high)?;
    state.tree.free(start, end).then_some(start)
}

/// The end of a range given by munmap(2): aligned start, some length, within bounds.
fn range_end(state: &State, addr: u64, len: u64) -> Result<u64> {
    let len = page_ceil(len).filter(|&len| len > 0).ok_or(Errno::EINVAL)?;
    if !page_aligned(addr) {
        return Err(Errno::EINVAL);
    }
    addr.checked_add(len)
        .filter(|&end| end <= state.layout.max)
        .ok_or(Errno::EINVAL)
}

/// Sums over the part of the tree in a range.
pub(crate) fn overlap(tree: &VmaTree, start: u64, end: u64) -> crate::Totals {
    let mut sum = crate::Totals::default();
    for vma in tree.overlapping(start, end) {
        let len = vma.end.min(end) - vma.start.max(start);
        sum.mapped += len;
        if vma.is_data() {
            sum.data += len;
        }
        if vma.flags.contains(VmaFlags::ACCOUNTED) {
            sum.accounted += len;
        }
        if vma.flags.contains(VmaFlags::LOCKED) {
            sum.locked += len;
        }
    }
    sum
}
