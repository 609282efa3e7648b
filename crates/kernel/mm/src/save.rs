//! Writing address spaces into an image file, while nothing runs.
//!
//! Stored is what cannot be had otherwise: written pages of private mappings and shared memory without a
//! name. Pages of zeros are not stored, and unwritten pages of files are mapped from the files again. Pages
//! that came from another image and are what they were can be named instead of stored.

use std::collections::HashMap;
use std::fs::File as HostFile;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use base_abi::page::PAGE_SIZE;
use host_sys::sparse;
use kernel_vfs::save::{Saver, Unsavable, encode};
use platform_api::Sharing;

use crate::mm::Mm;
use crate::pages::{self, Extents, Origins, Room, ZEROS};
use crate::saved::{
    BackingState, FileState, LayoutState, LimitsState, MemoryState, SavedState, SpaceState,
    VmaState,
};
use crate::vma::{KeptDescription, MappedFile, VmaBacking, VmaFlags};

/// Bytes written at once.
const CHUNK: u64 = 256 << 10;

/// Why memory could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// It has no saved form.
    #[error(transparent)]
    Unsavable(#[from] Unsavable),
    /// The image would be larger than allowed.
    #[error("larger than {limit} bytes")]
    TooLarge {
        /// What is allowed.
        limit: u64,
    },
    /// The image could not be written.
    #[error("the image cannot be written: {0}")]
    Io(#[from] io::Error),
    /// Memory could not be read.
    #[error("guest memory cannot be read: {0}")]
    Memory(String),
}

/// Pages on their way into an image file, one after the other.
pub struct ImageWriter<'a> {
    file: &'a HostFile,
    /// Offset of the first byte in `buffer`.
    at: u64,
    buffer: Vec<u8>,
    limit: u64,
    /// Bytes that take room, holes not counted.
    stored: u64,
}

impl<'a> ImageWriter<'a> {
    /// Writes from `at`, a page boundary, and stores at most `limit` bytes. What is skipped must be empty.
    #[must_use]
    pub fn new(file: &'a HostFile, at: u64, limit: u64) -> ImageWriter<'a> {
        ImageWriter {
            file,
            at,
            buffer: Vec::with_capacity(CHUNK as usize),
            limit,
            stored: 0,
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    pub(crate) fn page(&mut self, bytes: &[u8]) -> Result<(), SaveError> {
        self.stored += bytes.len() as u64;
        if self.stored > self.limit {
            return Err(SaveError::TooLarge { limit: self.limit });
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() as u64 >= CHUNK {
            self.flush()?;
        }
        Ok(())
    }

    pub(crate) fn skip(&mut self, len: u64) -> io::Result<()> {
        self.flush()?;
        self.at += len;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left; the end of the pages.
    ///
    /// # Errors
    /// What pwrite(2) or ftruncate(2) says.
    pub fn finish(mut self) -> io::Result<u64> {
        self.flush()?;
        self.file.set_len(self.at)?;
        Ok(self.at)
    }
}

/// Writes address spaces down.
pub struct MemorySaver<'w, 'a> {
    writer: &'w mut ImageWriter<'a>,
    origins: Origins,
    numbers: HashMap<(u64, u64), u32>,
    state: SavedState,
}

impl<'w, 'a> MemorySaver<'w, 'a> {
    /// Nothing yet; all that is written down will be in the writer's file.
    pub fn new(writer: &'w mut ImageWriter<'a>) -> Self {
        Self::with(writer, Origins::Copied)
    }

    /// Nothing yet; the image will lie over those that the address spaces come from.
    pub fn over(writer: &'w mut ImageWriter<'a>) -> Self {
        Self::with(writer, Origins::Named)
    }

    fn with(writer: &'w mut ImageWriter<'a>, origins: Origins) -> Self {
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
    /// [`SaveError`]; the address space is as before then, and the image of no use.
    pub fn add(&mut self, mm: &Mm, saver: &mut Saver) -> Result<(), SaveError> {
        let state = mm.lock();
        let mut files = Files {
            saver,
            numbers: HashMap::new(),
            states: Vec::new(),
        };
        let mut vmas = Vec::with_capacity(state.tree.count());
        for vma in state.tree.iter() {
            let backing = match &vma.backing {
                VmaBacking::Anonymous => BackingState::Anonymous,
                VmaBacking::File { file, offset, .. } if vma.flags.contains(VmaFlags::SPECIAL) => {
                    BackingState::Special {
                        name: file.name.to_string(),
                        offset: *offset,
                    }
                }
                VmaBacking::File {
                    file,
                    offset,
                    sharing,
                } => match &file.description {
                    Some(description) => BackingState::File {
                        file: files.number(file, description),
                        offset: *offset,
                        shared: *sharing == Sharing::Shared,
                    },
                    None => BackingState::Memory {
                        number: self.memory(file)?,
                        offset: *offset,
                    },
                },
            };
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
        };
        self.state.spaces.push(space);
        Ok(())
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
