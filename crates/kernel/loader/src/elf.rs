//! The parts of an ELF file that loading needs (elf(5)), checked.

use base_abi::Errno;
use base_abi::page::{PAGE_SIZE, page_ceil, page_floor};
use kernel_vfs::{File, Result};
use platform_api::Protection;

use crate::read;

const HEADER_LEN: usize = 64;
const PROGRAM_HEADER_LEN: usize = 56;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PATH_MAX: u64 = 4096;

/// One `PT_LOAD`. Ends do not overflow, the file part is not longer than the memory part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) vaddr: u64,
    pub(crate) offset: u64,
    pub(crate) file_len: u64,
    pub(crate) mem_len: u64,
    pub(crate) prot: Protection,
}

impl Segment {
    pub(crate) fn page_start(&self) -> u64 {
        page_floor(self.vaddr)
    }

    pub(crate) fn end(&self) -> u64 {
        self.vaddr + self.mem_len
    }
}

/// A parsed image.
#[derive(Clone, Debug)]
pub(crate) struct Elf {
    /// `ET_DYN`.
    pub(crate) relocatable: bool,
    pub(crate) entry: u64,
    /// Ascending by address, at least one.
    pub(crate) segments: Vec<Segment>,
    /// Where `PT_INTERP` lies in the file.
    pub(crate) interp: Option<(u64, usize)>,
    pub(crate) executable_stack: bool,
    /// Largest `p_align` of a `PT_LOAD`, at least a page.
    pub(crate) align: u64,
    /// Address of the program headers, when a segment holds them.
    pub(crate) phdr: u64,
    pub(crate) phnum: u16,
}

impl Elf {
    /// First page and end of all segments, without the load bias.
    pub(crate) fn span(&self) -> (u64, u64) {
        let start = self.segments.iter().map(Segment::page_start).min();
        let end = self.segments.iter().map(Segment::end).max();
        let end = end.and_then(page_ceil);
        (start.unwrap_or(0), end.unwrap_or(0))
    }

    /// Parses the image whose first bytes are `head`.
    ///
    /// # Errors
    /// `ENOEXEC` for anything that is not a loadable x86-64 ELF file; the file's own errors.
    pub(crate) fn parse(file: &dyn File, head: &[u8]) -> Result<Elf> {
        let header = Header::parse(head)?;
        let len = usize::from(header.phnum) * PROGRAM_HEADER_LEN;
        let table = read::exactly(file, header.phoff, len)?;
        Elf::from_parts(&header, &table)
    }

    fn from_parts(header: &Header, table: &[u8]) -> Result<Elf> {
        let mut elf = Elf {
            relocatable: header.relocatable,
            entry: header.entry,
            segments: Vec::new(),
            interp: None,
            executable_stack: false,
            align: PAGE_SIZE,
            phdr: 0,
            phnum: header.phnum,
        };
        for raw in table.chunks_exact(PROGRAM_HEADER_LEN) {
            elf.take(&ProgramHeader::parse(raw)?, header.phoff)?;
        }
        let sorted = elf.segments.is_sorted_by_key(|segment| segment.vaddr);
        if elf.segments.is_empty() || !sorted {
            return Err(Errno::ENOEXEC);
        }
        Ok(elf)
    }

    fn take(&mut self, ph: &ProgramHeader, phoff: u64) -> Result<()> {
        match ph.kind {
            PT_LOAD if ph.mem_len > 0 => {
                let segment = ph.segment()?;
                if phoff >= ph.offset && phoff - ph.offset < ph.file_len {
                    self.phdr = phoff - ph.offset + ph.vaddr;
                }
                if ph.align.is_power_of_two() {
                    self.align = self.align.max(ph.align);
                }
                self.segments.push(segment);
            }
            PT_INTERP if self.interp.is_none() => {
                if !(2..=PATH_MAX).contains(&ph.file_len) {
                    return Err(Errno::ENOEXEC);
                }
                let len = usize::try_from(ph.file_len).map_err(|_| Errno::ENOEXEC)?;
                self.interp = Some((ph.offset, len));
            }
            PT_GNU_STACK => self.executable_stack = ph.flags & 1 != 0,
            _ => {}
        }
        Ok(())
    }

    /// The path in `PT_INTERP`.
    ///
    /// # Errors
    /// `ENOEXEC` when it is not a terminated string.
    pub(crate) fn interpreter(&self, file: &dyn File) -> Result<Option<Vec<u8>>> {
        let Some((offset, len)) = self.interp else {
            return Ok(None);
        };
        let mut path = read::exactly(file, offset, len)?;
        if path.pop() != Some(0) {
            return Err(Errno::ENOEXEC);
        }
        let end = path.iter().position(|&b| b == 0).unwrap_or(path.len());
        path.truncate(end);
        Ok(Some(path))
    }
}

struct Header {
    relocatable: bool,
    entry: u64,
    phoff: u64,
    phnum: u16,
}

impl Header {
    fn parse(head: &[u8]) -> Result<Header> {
        let head = head.get(..HEADER_LEN).ok_or(Errno::ENOEXEC)?;
        // Class 64 bits, little endian, version 1.
        if !head.starts_with(b"\x7fELF\x02\x01\x01") || u16_at(head, 18)? != EM_X86_64 {
            return Err(Errno::ENOEXEC);
        }
        let kind = u16_at(head, 16)?;
        let phnum = u16_at(head, 56)?;
        let table = usize::from(phnum) * PROGRAM_HEADER_LEN;
        if !matches!(kind, ET_EXEC | ET_DYN)
            || usize::from(u16_at(head, 54)?) != PROGRAM_HEADER_LEN
            || table == 0
            || table > 65_536
        {
            return Err(Errno::ENOEXEC);
        }
        Ok(Header {
            relocatable: kind == ET_DYN,
            entry: u64_at(head, 24)?,
            phoff: u64_at(head, 32)?,
            phnum,
        })
    }
}

struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    file_len: u64,
    mem_len: u64,
    align: u64,
}

impl ProgramHeader {
    fn parse(raw: &[u8]) -> Result<ProgramHeader> {
        Ok(ProgramHeader {
            kind: u32_at(raw, 0)?,
            flags: u32_at(raw, 4)?,
            offset: u64_at(raw, 8)?,
            vaddr: u64_at(raw, 16)?,
            file_len: u64_at(raw, 32)?,
            mem_len: u64_at(raw, 40)?,
            align: u64_at(raw, 48)?,
        })
    }

    fn segment(&self) -> Result<Segment> {
        let end = self.vaddr.checked_add(self.mem_len).and_then(page_ceil);
        let file_end = self.offset.checked_add(self.file_len).and_then(page_ceil);
        let congruent = self.vaddr % PAGE_SIZE == self.offset % PAGE_SIZE;
        if self.file_len > self.mem_len
            || end.is_none()
            || file_end.is_none()
            || (!congruent && self.file_len > 0)
        {
            return Err(Errno::ENOEXEC);
        }
        let mut prot = Protection::empty();
        prot.set(Protection::EXEC, self.flags & 1 != 0);
        prot.set(Protection::WRITE, self.flags & 2 != 0);
        prot.set(Protection::READ, self.flags & 4 != 0);
        Ok(Segment {
            vaddr: self.vaddr,
            offset: self.offset,
            file_len: self.file_len,
            mem_len: self.mem_len,
            prot,
        })
    }
}

fn array<const N: usize>(data: &[u8], at: usize) -> Result<[u8; N]> {
    data.get(at..at + N)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Errno::ENOEXEC)
}

fn u16_at(data: &[u8], at: usize) -> Result<u16> {
    array(data, at).map(u16::from_le_bytes)
}

fn u32_at(data: &[u8], at: usize) -> Result<u32> {
    array(data, at).map(u32::from_le_bytes)
}

fn u64_at(data: &[u8], at: usize) -> Result<u64> {
    array(data, at).map(u64::from_le_bytes)
}
