//! Turning a parsed ELF file into mappings.

use base_abi::Errno;
use base_abi::general::{MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE};
use base_abi::page::{page_ceil, page_floor};
use kernel_mm::{MapRequest, Mm, Source};
use kernel_vfs::{Result, UserMemory};
use platform_api::Protection;

use crate::elf::{Elf, Segment};
use crate::program::Program;

/// Where a program's segments may go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Placement {
    /// The program: where position-independent ones with an interpreter live.
    ProgramBase,
    /// Among the mappings: interpreters, and programs without one.
    MappingArea,
}

/// Segments with their addresses chosen, ready to be mapped.
pub(crate) struct Placed {
    /// What is added to the addresses in the file.
    pub(crate) bias: u64,
    pub(crate) requests: Vec<MapRequest>,
    /// Parts of pages to clear once mapped: behind file contents, before zero pages.
    clear: Vec<(u64, usize)>,
}

impl Placed {
    /// Chooses addresses; nothing may be mapped where a program with fixed addresses goes.
    ///
    /// # Errors
    /// `ENOMEM` when there is no room or the addresses are out of bounds.
    pub(crate) fn choose(
        mm: &Mm,
        program: &Program,
        elf: &Elf,
        place: Placement,
    ) -> Result<Placed> {
        let (start, end) = elf.span();
        let len = end.checked_sub(start).ok_or(Errno::ENOEXEC)?;
        let bias = if elf.relocatable {
            let hint = match place {
                Placement::ProgramBase => mm.layout().pie_base,
                Placement::MappingArea => 0,
            };
            // The bias keeps every segment's alignment, so it is aligned itself.
            let lead = start & (elf.align - 1);
            let whole = len.checked_add(lead).ok_or(Errno::ENOEXEC)?;
            let base = mm.find_gap(hint, whole, elf.align)?;
            base.wrapping_sub(start - lead)
        } else {
            0
        };
        if !mm.is_free(start.wrapping_add(bias), len) {
            return Err(Errno::ENOMEM);
        }
        let mut placed = Placed {
            bias,
            requests: Vec::new(),
            clear: Vec::new(),
        };
        for segment in &elf.segments {
            placed.add(program, segment);
        }
        Ok(placed)
    }

    fn add(&mut self, program: &Program, segment: &Segment) {
        let start = segment.vaddr.wrapping_add(self.bias);
        let file_end = start + segment.file_len;
        // Ends were checked not to overflow, with and without the bias.
        let file_pages_end = if segment.file_len == 0 {
            page_floor(start)
        } else {
            page_ceil(file_end).unwrap_or(file_end)
        };
        if segment.file_len > 0 {
            let addr = page_floor(start);
            self.requests.push(MapRequest {
                addr,
                len: file_pages_end - addr,
                prot: segment.prot.bits(),
                flags: MAP_PRIVATE | MAP_FIXED,
                source: Source::File {
                    description: program.description.clone(),
                    path: program.path.clone(),
                    offset: page_floor(segment.offset),
                },
            });
        }
        let mem_end = start + segment.mem_len;
        let mem_end = page_ceil(mem_end).unwrap_or(mem_end);
        if mem_end > file_pages_end {
            self.requests.push(MapRequest {
                addr: file_pages_end,
                len: mem_end - file_pages_end,
                prot: segment.prot.bits(),
                flags: MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS,
                source: Source::Anonymous,
            });
        }
        let tail = usize::try_from(file_pages_end.saturating_sub(file_end)).unwrap_or(0);
        if segment.mem_len > segment.file_len
            && segment.prot.contains(Protection::WRITE)
            && tail > 0
            && segment.file_len > 0
        {
            self.clear.push((file_end, tail));
        }
    }

    /// Clears the rest of the last file page of each segment with zero memory behind it.
    ///
    /// # Errors
    /// `EFAULT` when the file ends before the page.
    pub(crate) fn clear_tails(&self, mm: &Mm) -> Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        for &(addr, len) in &self.clear {
            mm.write_bytes(addr, &ZEROS[..len.min(ZEROS.len())])?;
        }
        Ok(())
    }
}
