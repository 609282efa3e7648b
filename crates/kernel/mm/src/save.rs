//! Writing address spaces into a snapshot file, while nothing runs.
//!
//! Stored is what cannot be had otherwise: written pages of private mappings and shared memory without a
//! name. Pages of zeros are not stored, and unwritten pages of files are mapped from the files again. Pages
//! that came from another snapshot and are what they were can be named instead of stored.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use base_abi::page::PAGE_SIZE;
use host_sys::sparse;
use kernel_vfs::save::{Saver, encode};
use platform_api::Sharing;

use crate::mm::Mm;
use crate::pages::{self, Extents, Origins, Room, ZEROS};
use crate::saved::{
    BackingState, FileState, LayoutState, LimitsState, MemoryState, SavedState, SpaceState,
    VmaState,
};
use crate::vma::{KeptDescription, MappedFile, Vma, VmaBacking, VmaFlags};
use crate::writer::{SaveError, SnapshotWriter};

/// Writes address spaces down.
pub struct MemorySaver<'w, 'a> {
    writer: &'w mut SnapshotWriter<'a>,
    origins: Origins,
    numbers: HashMap<(u64, u64), u32>,
    state: SavedState,
}

impl<'w, 'a> MemorySaver<'w, 'a> {
    /// Nothing yet; all that is written down will be in the writer's file.
    pub fn new(writer: &'w mut SnapshotWriter<'a>) -> Self {
        Self::with(writer, Origins::Copied)
    }

    /// Nothing yet; the snapshot will lie over those that the address spaces come from.
    pub fn over(writer: &'w mut SnapshotWriter<'a>) -> Self {
        Self::with(writer, Origins::Named)
    }

    fn with(writer: &'w mut SnapshotWriter<'a>, origins: Origins) -> Self {
        MemorySaver {
            writer,
            origins,
            numbers: HashMap::new(),
            state: SavedState::default(),
        }
    }

    /// Adds the next address space; nothing may run in it.
    ///
    /// # Errors
    /// [`SaveError`]; the address space is as before then, and the snapshot of no use.
    pub fn add(&mut self, mm: &Mm, saver: &mut Saver) -> Result<(), SaveError> {
        let state = mm.lock();
        let mut files = Files {
            saver,
            numbers: HashMap::new(),
            states: Vec::new(),
        };
        let mut vmas = Vec::with_capacity(state.tree.count());
        for vma in state.tree.iter() {
            let backing = self.backing(vma, &mut files)?;
            vmas.push(VmaState {
                start: vma.start,
                end: vma.end,
                prot: vma.prot.bits(),
                max_prot: vma.max_prot.bits(),
                flags: vma.flags.bits(),
                backing,
                name: vma.anon_name.as_deref().map(str::to_owned),
            });
        }
        let exe = state.exe.as_ref().map(|exe| files.saver.description(exe));
        let files = files.states;
        let mut extents = Extents::new(self.writer);
        for vma in state.tree.iter().filter(|vma| !vma.shared()) {
            pages::save_private(&*mm.space, &state, vma, self.origins, &mut extents)?;
        }
        let extents = extents.finish();
        let space = SpaceState {
            vmas,
            files,
            extents,
            exe,
            brk: state.brk,
            exec: state.exec,
            layout: LayoutState {
                stack_top: state.layout.stack_top,
                mmap_base: state.layout.mmap_base,
                pie_base: state.layout.pie_base,
                brk_gap: state.layout.brk_gap,
            },
            limits: LimitsState {
                address_space: state.limits.address_space,
                data: state.limits.data,
                stack: state.limits.stack,
                memlock: state.limits.memlock,
                max_map_count: state.limits.max_map_count as u64,
            },
            lock_future: state.lock_future,
            resident: mm.private(&state),
        };
        self.state.spaces.push(space);
        Ok(())
    }

    fn backing(&mut self, vma: &Vma, files: &mut Files<'_>) -> Result<BackingState, SaveError> {
        let VmaBacking::File {
            file,
            offset,
            sharing,
        } = &vma.backing
        else {
            return Ok(BackingState::Anonymous);
        };
        let offset = *offset;
        if vma.flags.contains(VmaFlags::SPECIAL) {
            let name = file.name.to_string();
            return Ok(BackingState::Special { name, offset });
        }
        Ok(match &file.description {
            Some(description) => BackingState::File {
                file: files.number(file, description),
                offset,
                shared: *sharing == Sharing::Shared,
            },
            None => BackingState::Memory {
                number: self.memory(file)?,
                offset,
            },
        })
    }

    /// Writes shared memory without a name, once.
    fn memory(&mut self, file: &MappedFile) -> Result<u32, SaveError> {
        if let Some(number) = self.numbers.get(&file.identity) {
            return Ok(*number);
        }
        let len = file.host.metadata()?.len();
        let mut extents = Extents::new(self.writer);
        let mut page = [0; PAGE_SIZE as usize];
        let mut at = 0;
        while at < len {
            let Ok(data) = sparse::next_data(&file.host, at) else {
                break;
            };
            let end = sparse::next_hole(&file.host, data)?.min(len);
            at = data - data % PAGE_SIZE;
            while at < end {
                page.fill(0);
                let room = usize::try_from(len - at).unwrap_or(usize::MAX);
                let part = room.min(page.len());
                file.host.read_exact_at(&mut page[..part], at)?;
                if page != ZEROS {
                    extents.page(at, &page, Room::Zeros(0))?;
                }
                at += PAGE_SIZE;
            }
        }
        let extents = extents.finish();
        let number = u32::try_from(self.state.memories.len()).unwrap_or(u32::MAX);
        self.state.memories.push(MemoryState { len, extents });
        self.numbers.insert(file.identity, number);
        Ok(number)
    }

    /// What [`SavedMemory`](crate::SavedMemory) reads.
    ///
    /// # Errors
    /// None that depend on the guest.
    pub fn finish(self) -> Result<Vec<u8>, SaveError> {
        Ok(encode(&self.state)?)
    }
}

/// Files of one address space, by identity.
struct Files<'a> {
    saver: &'a mut Saver,
    numbers: HashMap<usize, u32>,
    states: Vec<FileState>,
}

impl Files<'_> {
    fn number(&mut self, file: &Arc<MappedFile>, description: &KeptDescription) -> u32 {
        let next = u32::try_from(self.states.len()).unwrap_or(u32::MAX);
        let number = *self
            .numbers
            .entry(Arc::as_ptr(file) as usize)
            .or_insert(next);
        if number == next {
            self.states.push(FileState {
                description: self.saver.description(&description.0),
                name: file.name.to_string(),
            });
        }
        number
    }
}
