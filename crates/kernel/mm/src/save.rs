//! Writing address spaces into an image file, while nothing runs.
//!
//! Stored is what cannot be had otherwise: written pages of private mappings and shared memory without a
//! name. Pages of zeros are not stored, and unwritten pages of files are mapped from the files again.

use std::collections::HashMap;
use std::fs::File as HostFile;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use base_abi::Errno;
use base_abi::page::PAGE_SIZE;
use host_sys::sparse;
use kernel_vfs::save::{Saver, Unsavable, encode};
use platform_api::{AddressSpace, MapOp, Protection, Sharing};

use crate::mm::{Mm, State};
use crate::saved::{
    BackingState, Extent, FileState, LayoutState, LimitsState, MemoryState, SavedState, SpaceState,
    VmaState,
};
use crate::vma::{KeptDescription, MappedFile, Vma, VmaBacking, VmaFlags};

/// Zero pages between two written ones that are bridged: a hole in the image costs less than a mapping.
const BRIDGE: u64 = 16 * PAGE_SIZE;
/// Bytes read from an address space at once.
const CHUNK: u64 = 256 << 10;
const ZEROS: [u8; PAGE_SIZE as usize] = [0; PAGE_SIZE as usize];

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

    fn position(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    fn page(&mut self, bytes: &[u8]) -> Result<(), SaveError> {
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

    fn skip(&mut self, len: u64) -> io::Result<()> {
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

/// Extents that grow page by page.
struct Extents<'a, 'w> {
    writer: &'a mut ImageWriter<'w>,
    done: Vec<Extent>,
}

impl Extents<'_, '_> {
    /// A page with this content. It joins the last extent unless that ends before `from`, or more than
    /// `bridge` bytes before it.
    fn page(&mut self, addr: u64, bytes: &[u8], from: u64, bridge: u64) -> Result<(), SaveError> {
        let end = self.done.last().map(|e| e.addr + e.len);
        let gap = end.filter(|end| *end > from).map(|end| addr - end);
        let joined = gap.filter(|gap| *gap <= bridge);
        if let (Some(gap @ 1..), Some(last)) = (joined, self.done.last_mut()) {
            self.writer.skip(gap)?;
            last.len += gap;
        }
        if joined.is_none() {
            self.done.push(Extent {
                addr,
                len: 0,
                at: self.writer.position(),
            });
        }
        if bytes == ZEROS {
            self.writer.skip(PAGE_SIZE)?;
        } else {
            self.writer.page(bytes)?;
        }
        if let Some(last) = self.done.last_mut() {
            last.len += PAGE_SIZE;
        }
        Ok(())
    }
}

/// Writes address spaces down.
pub struct MemorySaver<'w, 'a> {
    writer: &'w mut ImageWriter<'a>,
    numbers: HashMap<(u64, u64), u32>,
    state: SavedState,
}

impl<'w, 'a> MemorySaver<'w, 'a> {
    /// Nothing yet.
    pub fn new(writer: &'w mut ImageWriter<'a>) -> Self {
        MemorySaver {
            writer,
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
        let mut extents = Extents {
            writer: self.writer,
            done: Vec::new(),
        };
        for vma in state.tree.iter().filter(|vma| !vma.shared()) {
            save_private(&*mm.space, &state, vma, &mut extents)?;
        }
        let extents = extents.done;
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
        let mut extents = Extents {
            writer: self.writer,
            done: Vec::new(),
        };
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
                    extents.page(at, &page, 0, BRIDGE)?;
                }
                at += PAGE_SIZE;
            }
        }
        let extents = extents.done;
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

/// Writes the pages of a private mapping that differ from what is behind it.
fn save_private(
    space: &dyn AddressSpace,
    state: &State,
    vma: &Vma,
    extents: &mut Extents<'_, '_>,
) -> Result<(), SaveError> {
    let memory = |error: &dyn std::fmt::Display| SaveError::Memory(error.to_string());
    let mut ranges = space
        .written_pages(vma.start..vma.end)
        .map_err(|e| memory(&e))?;
    // Pages of the snapshot before that nobody has written since.
    let images = state.image.within(vma.start, vma.end);
    ranges.extend(images.map(|(start, end)| start..end));
    if ranges.is_empty() {
        return Ok(());
    }
    ranges.sort_by_key(|range| range.start);
    let hidden = !vma.prot.contains(Protection::READ);
    let show = |prot| {
        let op = MapOp::Protect {
            addr: vma.start,
            len: vma.len(),
            prot,
        };
        space.apply(&[op]).map_err(|e| memory(&e))
    };
    if hidden {
        show(Protection::READ)?;
    }
    let mut buffer = vec![0; CHUNK as usize];
    let outcome = ranges
        .into_iter()
        .try_fold(vma.start, |from, range| {
            let end = range.end.min(vma.end);
            save_range(
                space,
                vma,
                (range.start.max(from), end),
                &mut buffer,
                extents,
            )?;
            Ok(end.max(from))
        })
        .map(drop);
    if hidden {
        show(vma.prot)?;
    }
    outcome
}

fn save_range(
    space: &dyn AddressSpace,
    vma: &Vma,
    (start, end): (u64, u64),
    buffer: &mut [u8],
    extents: &mut Extents<'_, '_>,
) -> Result<(), SaveError> {
    let anonymous = vma.anonymous();
    let bridge = if anonymous { BRIDGE } else { 0 };
    let mut at = start;
    while at < end {
        let want = usize::try_from((end - at).min(CHUNK)).unwrap_or(0);
        let part = &mut buffer[..want];
        let got = space.read(at, part) / PAGE_SIZE as usize * PAGE_SIZE as usize;
        if got == 0 {
            if anonymous {
                return Err(SaveError::Memory(Errno::EFAULT.to_string()));
            }
            // A page beyond the end of its file has no content, and none that could be missed.
            at += PAGE_SIZE;
            continue;
        }
        for page in part[..got].chunks_exact(PAGE_SIZE as usize) {
            // Zeros are behind anonymous memory anyway.
            if !(anonymous && page == ZEROS) {
                extents.page(at, page, vma.start, bridge)?;
            }
            at += PAGE_SIZE;
        }
    }
    Ok(())
}
