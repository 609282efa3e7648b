//! Address spaces from what was written down. Everything here is untrusted: it is checked before the
//! platform hears of it.

use std::fs::File as HostFile;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use base_abi::page::{PAGE_SIZE, page_aligned};
use host_sys::memory_file::Census;
use kernel_vfs::save::{LoadError, Loader, MAX_OBJECTS, decode};
use platform_api::{AddressSpace, Backing, Features, MapOp, Protection, Sharing};

use crate::layout::Layout;
use crate::limits::MmLimits;
use crate::map::expect;
use crate::mm::{Mm, State};
use crate::saved::{
    BackingState, Extent, FileState, MemoryState, SavedState, SpaceState, VmaState,
};
use crate::snapshot_pages::{SnapshotPages, SnapshotRun};
use crate::tree::VmaTree;
use crate::vma::{MappedFile, Vma, VmaBacking, VmaFlags};

/// Bytes of saved address spaces that are parsed at all.
pub const MAX_SAVED: usize = 256 << 20;
/// Most runs of pages of one address space: each is a mapping of the host, which has 65,530 of them.
pub(crate) const MAX_EXTENTS: usize = 49_152;
/// Largest shared memory without a name.
const MAX_MEMORY: u64 = 1 << 40;
/// Bytes copied at once.
const CHUNK: usize = 256 << 10;

/// Finds pages of the kernel's own, and the name that it has for them.
pub type SpecialPages<'a> = dyn Fn(&str) -> Option<(Arc<HostFile>, &'static str)> + 'a;

/// Where saved memory comes to.
pub struct Surroundings<'a> {
    /// The files with the pages: the snapshot's own, then those that it lies over.
    pub snapshots: &'a [Arc<HostFile>],
    /// Pages of the kernel's own by the name that `/proc/<pid>/maps` shows.
    pub special: &'a SpecialPages<'a>,
    /// What the platform allows.
    pub features: Features,
    /// Where shared memory without a name is counted.
    pub shared: &'a Census,
    /// Budget and seed of each address space; its resource limits are those that were saved.
    pub limits: &'a dyn Fn() -> MmLimits,
}

/// Address spaces that were parsed.
#[derive(Debug)]
pub struct SavedMemory {
    state: SavedState,
    /// Shared memory that exists already.
    memories: Vec<Option<Arc<HostFile>>>,
}

fn malformed<T>(what: &'static str) -> Result<T, LoadError> {
    Err(LoadError::Malformed(what))
}

impl SavedMemory {
    /// Parses untrusted bytes.
    ///
    /// # Errors
    /// [`LoadError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<SavedMemory, LoadError> {
        if bytes.len() > MAX_SAVED {
            return malformed("size of memory");
        }
        let state: SavedState = decode(bytes, "memory")?;
        let lists = [state.spaces.len(), state.memories.len()];
        if lists.iter().any(|len| *len > MAX_OBJECTS) {
            return malformed("number of address spaces");
        }
        let memories = vec![None; state.memories.len()];
        Ok(SavedMemory { state, memories })
    }

    /// Number of address spaces.
    #[must_use]
    pub fn spaces(&self) -> usize {
        self.state.spaces.len()
    }

    /// Builds an address space in an empty one of the platform.
    ///
    /// # Errors
    /// What does not fit.
    pub fn load(
        &mut self,
        number: u32,
        space: Arc<dyn AddressSpace>,
        around: &Surroundings<'_>,
        loader: &Loader,
    ) -> Result<Mm, LoadError> {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let Some(saved) = self.state.spaces.get_mut(index).map(std::mem::take) else {
            return malformed("number of an address space");
        };
        let mut limits = (around.limits)();
        limits.address_space = saved.limits.address_space;
        limits.data = saved.limits.data;
        limits.stack = saved.limits.stack;
        limits.memlock = saved.limits.memlock;
        limits.max_map_count = usize::try_from(saved.limits.max_map_count)
            .unwrap_or(usize::MAX)
            .min(limits.max_map_count);
        if saved.vmas.len() > limits.max_map_count || saved.files.len() > saved.vmas.len() {
            return malformed("number of mappings");
        }
        let layout = layout_of(&saved, Layout::new(&around.features, &limits))?;
        let files = saved.files.iter().map(|file| open(file, loader));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        let mut tree = VmaTree::default();
        let mut ops = Vec::with_capacity(saved.vmas.len() + saved.extents.len());
        let mut last = layout.min;
        for vma in &saved.vmas {
            let vma = self.vma(vma, (last, layout.max), &files, around)?;
            last = vma.end;
            ops.push(vma.map_op());
            tree.insert(vma);
        }
        let snapshot = pages(&tree, &saved.extents, around.snapshots, &mut ops)?;
        let exe = saved.exe.map(|id| loader.description(id)).transpose()?;
        let (charged, mapped) = (tree.totals().accounted, tree.totals().mapped);
        let charge = limits.budget.charge(charged);
        charge.map_err(LoadError::failed("memory"))?;
        // From here on dropping it gives the charge back.
        let mm = Mm::of(
            space,
            State {
                tree,
                layout,
                limits,
                charged,
                brk: saved.brk,
                exec: saved.exec,
                exe,
                lock_future: saved.lock_future,
                zeros: saved.resident.min(mapped).saturating_sub(snapshot.bytes()),
                snapshot,
            },
        );
        let applied = mm.space().apply(&ops);
        applied.map_err(|e| LoadError::failed("mapping memory")(e.errno))?;
        Ok(mm)
    }

    fn vma(
        &mut self,
        saved: &VmaState,
        (low, high): (u64, u64),
        files: &[Opened],
        around: &Surroundings<'_>,
    ) -> Result<Vma, LoadError> {
        let aligned = page_aligned(saved.start) && page_aligned(saved.end);
        if !aligned || saved.start < low || saved.start >= saved.end || saved.end > high {
            return malformed("addresses of a mapping");
        }
        let prot = Protection::from_bits(saved.prot);
        let max_prot = Protection::from_bits(saved.max_prot);
        let flags = VmaFlags::from_bits(saved.flags);
        let (Some(prot), Some(max_prot), Some(flags)) = (prot, max_prot, flags) else {
            return malformed("protection of a mapping");
        };
        let special = matches!(saved.backing, BackingState::Special { .. });
        if !max_prot.contains(prot) || flags.contains(VmaFlags::SPECIAL) != special {
            return malformed("protection of a mapping");
        }
        let len = saved.end - saved.start;
        let backing = self.backing(saved, max_prot, files, around)?;
        let mut vma = Vma {
            start: saved.start,
            end: saved.end,
            prot,
            max_prot,
            flags,
            backing,
            anon_name: saved.name.as_deref().map(Arc::from),
        };
        vma.flags.remove(VmaFlags::ABSENT);
        let opened = vma.opened().map(|(file, at)| (Arc::clone(file), at));
        if let Some((file, at)) = opened.filter(|(file, _)| file.file().lazy()) {
            // What was there then need not be there now.
            let expected = expect(&mut vma, &file, at..at + len);
            expected.map_err(LoadError::failed("content of a mapped file"))?;
        }
        Ok(vma)
    }

    /// What is behind a saved mapping.
    fn backing(
        &mut self,
        saved: &VmaState,
        max_prot: Protection,
        files: &[Opened],
        around: &Surroundings<'_>,
    ) -> Result<VmaBacking, LoadError> {
        let len = saved.end - saved.start;
        let fits = |offset: u64| {
            page_aligned(offset)
                && offset
                    .checked_add(len)
                    .is_some_and(|e| i64::try_from(e).is_ok())
        };
        Ok(match &saved.backing {
            BackingState::Anonymous => VmaBacking::Anonymous,
            BackingState::File {
                file,
                offset,
                shared,
            } if fits(*offset) => {
                let sharing = if *shared {
                    Sharing::Shared
                } else {
                    Sharing::Private
                };
                let opened = usize::try_from(*file).ok().and_then(|i| files.get(i));
                let Some(opened) = opened else {
                    return malformed("number of a file");
                };
                if *shared && max_prot.contains(Protection::WRITE) && !opened.writable {
                    return malformed("protection of a mapping");
                }
                VmaBacking::File {
                    file: opened.with(sharing)?,
                    offset: *offset,
                    sharing,
                }
            }
            BackingState::Special { name, offset } if fits(*offset) => {
                let found = (around.special)(name);
                let (host, name) =
                    found.ok_or_else(|| LoadError::Differs(format!("no pages {name}")))?;
                // Its own pages are never writable.
                if max_prot.contains(Protection::WRITE) {
                    return malformed("protection of a mapping");
                }
                VmaBacking::File {
                    file: nameless(host, name, 0)?,
                    offset: *offset,
                    sharing: Sharing::Shared,
                }
            }
            BackingState::Memory { number, offset } if fits(*offset) => {
                let host = self.memory(*number, around)?;
                VmaBacking::File {
                    file: nameless(host, "/dev/zero (deleted)", 1)?,
                    offset: *offset,
                    sharing: Sharing::Shared,
                }
            }
            _ => return malformed("offset of a mapping"),
        })
    }

    /// Shared memory by number, filled when it is first asked for.
    fn memory(
        &mut self,
        number: u32,
        around: &Surroundings<'_>,
    ) -> Result<Arc<HostFile>, LoadError> {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let (Some(state), Some(slot)) =
            (self.state.memories.get(index), self.memories.get_mut(index))
        else {
            return malformed("number of a shared memory");
        };
        if let Some(file) = slot {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(fill(state, around.snapshots)?);
        around.shared.add(&file);
        *slot = Some(Arc::clone(&file));
        Ok(file)
    }
}

/// A file that is mapped, opened again; each kind of sharing has its own entry, as after mmap(2).
struct Opened {
    host: Arc<HostFile>,
    description: Arc<kernel_vfs::Description>,
    name: Arc<str>,
    place: (u64, u64),
    writable: bool,
    made: [std::cell::OnceCell<Arc<MappedFile>>; 2],
}

fn open(saved: &FileState, loader: &Loader) -> Result<Opened, LoadError> {
    let description = loader.description(saved.description)?;
    let host = description.file().memory_file();
    let host = host.map_err(LoadError::failed(format!("mapping {}", saved.name)))?;
    let stat = description.file().stat();
    Ok(Opened {
        host,
        name: Arc::from(saved.name.as_str()),
        place: stat.map_or((0, 0), |stat| (stat.dev, stat.ino)),
        writable: description.access().writable(),
        description,
        made: Default::default(),
    })
}

impl Opened {
    fn with(&self, sharing: Sharing) -> Result<Arc<MappedFile>, LoadError> {
        let slot = &self.made[usize::from(sharing == Sharing::Shared)];
        if let Some(file) = slot.get() {
            return Ok(Arc::clone(file));
        }
        let file = MappedFile::new(
            Arc::clone(&self.host),
            Some(Arc::clone(&self.description)),
            Arc::clone(&self.name),
            self.place,
            sharing,
        );
        let file = Arc::new(file.map_err(LoadError::failed("a mapped file"))?);
        Ok(Arc::clone(slot.get_or_init(|| file)))
    }
}

fn nameless(
    host: Arc<HostFile>,
    name: &'static str,
    dev: u64,
) -> Result<Arc<MappedFile>, LoadError> {
    MappedFile::new(host, None, Arc::from(name), (dev, 0), Sharing::Shared)
        .map(Arc::new)
        .map_err(LoadError::failed("shared memory"))
}

/// The bounds of a new address space with the places that were drawn then.
fn layout_of(saved: &SpaceState, fresh: Layout) -> Result<Layout, LoadError> {
    let inside = |addr: u64| (fresh.min..=fresh.max).contains(&addr);
    let drawn = saved.layout;
    if ![drawn.stack_top, drawn.mmap_base, drawn.pie_base]
        .into_iter()
        .all(inside)
        || drawn.brk_gap > fresh.max
        || saved.brk > fresh.max
        || saved.exec.start_brk > saved.brk
        || saved.exec.end_data < saved.exec.start_data
    {
        return malformed("layout of an address space");
    }
    Ok(Layout {
        stack_top: drawn.stack_top,
        mmap_base: drawn.mmap_base,
        pie_base: drawn.pie_base,
        brk_gap: drawn.brk_gap,
        ..fresh
    })
}

/// Maps the pages that the snapshots have.
fn pages(
    tree: &VmaTree,
    saved: &[Extent],
    snapshots: &[Arc<HostFile>],
    ops: &mut Vec<MapOp>,
) -> Result<SnapshotPages, LoadError> {
    let mut snapshot = SnapshotPages::of(snapshots);
    extents(tree, saved, snapshots, &mut |vma, extent, file| {
        snapshot.insert(SnapshotRun {
            start: extent.addr,
            end: extent.addr + extent.len,
            snapshot: extent.snapshot,
            at: extent.at,
        });
        ops.push(MapOp::Map {
            addr: extent.addr,
            len: extent.len,
            prot: vma.platform_prot(),
            backing: Backing::File {
                file: Arc::clone(file),
                offset: extent.at,
                sharing: Sharing::Private,
            },
        });
    })?;
    Ok(snapshot)
}

/// Hands out every extent with the private mapping that holds it, and its file.
fn extents(
    tree: &VmaTree,
    saved: &[Extent],
    snapshots: &[Arc<HostFile>],
    each: &mut dyn FnMut(&Vma, &Extent, &Arc<HostFile>),
) -> Result<(), LoadError> {
    if saved.len() > MAX_EXTENTS {
        return malformed("number of runs of pages");
    }
    let lengths: Vec<u64> = snapshots.iter().map(|snapshot| length(snapshot)).collect();
    let mut last = 0;
    for extent in saved {
        let number = usize::try_from(extent.snapshot).unwrap_or(usize::MAX);
        let (Some(file), Some(bytes)) = (snapshots.get(number), lengths.get(number)) else {
            return malformed("number of a snapshot");
        };
        let end = checked(extent, *bytes)?;
        let vma = tree.at(extent.addr).filter(|vma| !vma.shared());
        let vma = vma.filter(|vma| extent.addr >= last && end <= vma.end);
        let Some(vma) = vma else {
            return malformed("place of pages");
        };
        last = end;
        each(vma, extent, file);
    }
    Ok(())
}

fn length(snapshot: &HostFile) -> u64 {
    snapshot.metadata().map_or(0, |meta| meta.len())
}

/// The end of an extent whose pages are all in the snapshot.
fn checked(extent: &Extent, bytes: u64) -> Result<u64, LoadError> {
    let end = extent.addr.checked_add(extent.len);
    let stop = extent.at.checked_add(extent.len);
    let aligned = [extent.addr, extent.len, extent.at]
        .into_iter()
        .all(page_aligned);
    match (end, stop) {
        (Some(end), Some(stop)) if aligned && extent.len > 0 && stop <= bytes => Ok(end),
        _ => malformed("place of pages"),
    }
}

fn fill(state: &MemoryState, snapshots: &[Arc<HostFile>]) -> Result<HostFile, LoadError> {
    let failed = |what: &'static str| {
        move |error: std::io::Error| LoadError::failed(what)(base_abi::Errno::from_io(&error))
    };
    // Shared memory is copied, so its pages are always stored.
    let Some(snapshot) = snapshots.first() else {
        return malformed("number of a snapshot");
    };
    let bytes = length(snapshot);
    let rounded = state.len.checked_next_multiple_of(PAGE_SIZE);
    let Some(rounded) = rounded.filter(|len| *len <= MAX_MEMORY) else {
        return malformed("size of a shared memory");
    };
    let file = host_sys::memory_file::create("shared", state.len);
    let file = file.map_err(failed("shared memory"))?;
    let mut buffer = vec![0; CHUNK];
    for extent in &state.extents {
        if extent.snapshot != 0 || checked(extent, bytes)? > rounded {
            return malformed("place of pages");
        }
        let mut done = 0;
        // The last page may reach beyond the end of the memory.
        let len = extent.len.min(state.len.saturating_sub(extent.addr));
        while done < len {
            let part = usize::try_from(len - done).unwrap_or(CHUNK).min(CHUNK);
            let part = &mut buffer[..part];
            let copied = snapshot
                .read_exact_at(part, extent.at + done)
                .and_then(|()| file.write_all_at(part, extent.addr + done));
            copied.map_err(failed("shared memory"))?;
            done += part.len() as u64;
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::SavedMemory;

    proptest! {
        /// It comes from a file that anybody may have written.
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = SavedMemory::parse(&bytes);
        }

        #[test]
        fn a_saved_memory_with_a_wrong_byte_is_parsed_or_refused(at in 0usize..2, value in any::<u8>()) {
            let mut bytes = vec![0, 0];
            prop_assert!(SavedMemory::parse(&bytes).is_ok());
            bytes[at] = value;
            let _ = SavedMemory::parse(&bytes);
        }
    }
}
