//! Contents of a regular file: pages on the heap while small, a memory file once mapped or big,
//! or still those of a lower layer.

use std::collections::BTreeMap;
use std::fs::File as HostFile;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use host_sys::{memory_file, sparse};
use kernel_vfs::{Errno, File, Result, Whence};

use crate::Budget;

const PAGE: u64 = base_abi::page::PAGE_SIZE;
const PAGE_BYTES: usize = 4096;
/// Contents above this move to a memory file.
const HEAP_MAX: u64 = 1 << 20;
/// Largest file offset (`MAX_LFS_FILESIZE`).
const MAX_SIZE: u64 = i64::MAX.cast_unsigned();

enum Store {
    Pages(BTreeMap<u64, Box<[u8; PAGE_BYTES]>>),
    Memory(Arc<HostFile>),
    Lower(Arc<dyn File>),
}

/// The bytes of one file and its share of the budget.
pub(super) struct Content {
    budget: Budget,
    store: Store,
    size: u64,
    /// Bytes taken from the budget.
    charged: u64,
}

impl Content {
    pub(super) fn empty(budget: Budget) -> Content {
        Content {
            budget,
            store: Store::Pages(BTreeMap::new()),
            size: 0,
            charged: 0,
        }
    }

    /// Contents that stay in a lower layer until they are changed.
    pub(super) fn lower(budget: Budget, file: Arc<dyn File>, size: u64) -> Content {
        Content {
            budget,
            store: Store::Lower(file),
            size,
            charged: 0,
        }
    }

    /// The lower file that still holds them.
    pub(super) fn lower_file(&self) -> Option<&Arc<dyn File>> {
        match &self.store {
            Store::Lower(file) => Some(file),
            Store::Pages(_) | Store::Memory(_) => None,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// 512-byte blocks in use.
    pub(super) fn blocks(&self) -> u64 {
        match &self.store {
            Store::Pages(pages) => pages.len() as u64 * (PAGE / 512),
            Store::Memory(file) => file.metadata().map_or(0, |m| m.blocks()),
            Store::Lower(_) => self.size.div_ceil(512),
        }
    }

    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let left = self.size.saturating_sub(offset);
        let len = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let buf = &mut buf[..len];
        match &self.store {
            Store::Pages(pages) => {
                copy_out(pages, offset, buf);
                Ok(len)
            }
            Store::Memory(file) => Ok(file.read_at(buf, offset)?),
            Store::Lower(file) => file.read_at(offset, buf),
        }
    }

    /// Writes as much as the budget allows; `ENOSPC` only when that is nothing.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let room = MAX_SIZE.checked_sub(offset).filter(|room| *room > 0);
        let room = usize::try_from(room.ok_or(Errno::EFBIG)?).unwrap_or(usize::MAX);
        let data = &data[..data.len().min(room)];
        self.own()?;
        if offset.saturating_add(data.len() as u64) > HEAP_MAX {
            self.leave_heap();
        }
        let written = match &mut self.store {
            Store::Pages(_) => self.write_pages(offset, data)?,
            Store::Memory(file) => {
                let file = Arc::clone(file);
                self.write_memory(&file, offset, data)?
            }
            Store::Lower(_) => return Err(Errno::EIO),
        };
        self.size = self.size.max(offset + written as u64);
        Ok(written)
    }

    fn write_pages(&mut self, offset: u64, data: &[u8]) -> Result<usize> {
        let Store::Pages(pages) = &mut self.store else {
            return Err(Errno::EIO);
        };
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (index, within) = (at / PAGE, (at % PAGE) as usize);
            let len = (PAGE_BYTES - within).min(data.len() - done);
            let page = match pages.entry(index) {
                std::collections::btree_map::Entry::Occupied(page) => page.into_mut(),
                std::collections::btree_map::Entry::Vacant(hole) => {
                    if self.budget.take_bytes(PAGE).is_err() {
                        break;
                    }
                    self.charged += PAGE;
                    hole.insert(Box::new([0; PAGE_BYTES]))
                }
            };
            page[within..within + len].copy_from_slice(&data[done..done + len]);
            done += len;
        }
        if done == 0 {
            Err(Errno::ENOSPC)
        } else {
            Ok(done)
        }
    }

    fn write_memory(&mut self, file: &HostFile, offset: u64, data: &[u8]) -> Result<usize> {
        // Only the host knows which pages exist; take the worst case first, then settle.
        let first = offset / PAGE;
        let last = (offset + data.len() as u64 - 1) / PAGE;
        let worst = (last - first + 1) * PAGE;
        if self.budget.take_memory(worst).is_err() {
            self.settle(file);
            return self.write_within_budget(file, offset, data);
        }
        self.charged += worst;
        let written = file.write_at(data, offset);
        self.settle(file);
        Ok(written?)
    }

    /// Writes while each page exists or the budget has room for it.
    fn write_within_budget(&mut self, file: &HostFile, offset: u64, data: &[u8]) -> Result<usize> {
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            let part = Part::at(file, offset + done as u64, rest.len());
            let rest = &rest[..part.len];
            let written = match part.kind {
                PartKind::Data => file.write_at(rest, part.start)?,
                PartKind::Hole if self.budget.take_memory(PAGE).is_ok() => {
                    self.charged += PAGE;
                    let written = file.write_at(rest, part.start);
                    self.settle(file);
                    written?
                }
                PartKind::Hole => self.write_reserved(file, part.start, rest)?,
            };
            if written == 0 {
                break;
            }
            done += written;
            self.size = self.size.max(part.start + written as u64);
        }
        match done {
            0 => Err(Errno::ENOSPC),
            _ => Ok(done),
        }
    }

    /// Writes to a page that is there only if fallocate(2) reserved it: no bytes otherwise. The host tells such pages from holes
    /// by nothing but what it says of the whole file.
    fn write_reserved(&mut self, file: &HostFile, at: u64, data: &[u8]) -> Result<usize> {
        let before = file.metadata()?.blocks();
        let written = file.write_at(data, at)?;
        if file.metadata()?.blocks() > before {
            memory_file::punch_hole(file, at / PAGE * PAGE, PAGE)?;
            file.set_len(self.size)?;
            return Ok(0);
        }
        Ok(written)
    }

    /// Makes the share of the budget what the host says the file uses.
    fn settle(&mut self, file: &HostFile) {
        let used = file.metadata().map_or(self.charged, |m| m.blocks() * 512);
        if used > self.charged {
            self.budget.force_memory(used - self.charged);
        } else {
            self.budget.give_memory(self.charged - used);
        }
        self.charged = used;
    }

    /// Counts pages that appeared through mappings.
    pub(super) fn refresh(&mut self) {
        if let Store::Memory(file) = &self.store {
            let file = Arc::clone(file);
            self.settle(&file);
        }
    }

    pub(super) fn truncate(&mut self, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        if size == 0 && matches!(self.store, Store::Lower(_)) {
            self.store = Store::Pages(BTreeMap::new());
        }
        self.own()?;
        match &mut self.store {
            Store::Pages(pages) => {
                let whole = size.div_ceil(PAGE);
                let dropped = pages.split_off(&whole).len() as u64 * PAGE;
                self.budget.give_bytes(dropped);
                self.charged -= dropped;
                let within = (size % PAGE) as usize;
                if let Some(page) = pages.get_mut(&(size / PAGE))
                    && within > 0
                {
                    page[within..].fill(0);
                }
            }
            Store::Memory(file) => {
                file.set_len(size)?;
                let file = Arc::clone(file);
                self.settle(&file);
            }
            Store::Lower(_) => return Err(Errno::EIO),
        }
        self.size = size;
        Ok(())
    }

    /// Reserves a range; the length grows to hold it unless `keep_size`.
    pub(super) fn reserve(&mut self, offset: u64, len: u64, grow: Grow) -> Result<()> {
        let end = offset.checked_add(len).filter(|e| *e <= MAX_SIZE);
        let end = end.ok_or(Errno::EFBIG)?;
        self.own()?;
        if end > HEAP_MAX {
            self.leave_heap();
        }
        let pages = end.div_ceil(PAGE) - offset / PAGE;
        match &mut self.store {
            Store::Pages(map) => {
                let missing = pages - map.range(offset / PAGE..end.div_ceil(PAGE)).count() as u64;
                self.budget.take_bytes(missing.saturating_mul(PAGE))?;
                self.charged += missing * PAGE;
                for index in offset / PAGE..end.div_ceil(PAGE) {
                    map.entry(index)
                        .or_insert_with(|| Box::new([0; PAGE_BYTES]));
                }
            }
            Store::Memory(file) => {
                let worst = pages.saturating_mul(PAGE);
                self.budget.take_memory(worst)?;
                self.charged += worst;
                let file = Arc::clone(file);
                let done = match grow {
                    Grow::Size => sparse::allocate(&file, offset, len),
                    Grow::Nothing => sparse::reserve(&file, offset, len),
                };
                self.settle(&file);
                done?;
            }
            Store::Lower(_) => return Err(Errno::EIO),
        }
        if grow == Grow::Size {
            self.size = self.size.max(end);
        }
        Ok(())
    }

    /// Makes a range read as zero and frees its pages.
    pub(super) fn punch(&mut self, offset: u64, len: u64) -> Result<()> {
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        self.own()?;
        match &mut self.store {
            Store::Pages(pages) => {
                let whole = offset.div_ceil(PAGE)..end / PAGE;
                let first = whole.start;
                let doomed: Vec<u64> = if whole.is_empty() {
                    Vec::new()
                } else {
                    pages.range(whole).map(|(index, _)| *index).collect()
                };
                for index in &doomed {
                    pages.remove(index);
                }
                let freed = doomed.len() as u64 * PAGE;
                self.budget.give_bytes(freed);
                self.charged -= freed;
                zero(pages, offset, end.min(first.saturating_mul(PAGE)));
                zero(pages, (end / PAGE * PAGE).max(offset), end);
            }
            Store::Memory(file) => {
                let file = Arc::clone(file);
                memory_file::punch_hole(&file, offset, len)?;
                self.settle(&file);
            }
            Store::Lower(_) => return Err(Errno::EIO),
        }
        Ok(())
    }

    pub(super) fn seek(&self, offset: u64, whence: Whence) -> Result<u64> {
        if offset >= self.size {
            return Err(Errno::ENXIO);
        }
        match &self.store {
            Store::Pages(pages) if whence == Whence::Data => {
                let index = offset / PAGE;
                let next = pages.range(index..).next().map(|(i, _)| *i);
                let data = next.ok_or(Errno::ENXIO)? * PAGE;
                let data = data.max(offset);
                (data < self.size).then_some(data).ok_or(Errno::ENXIO)
            }
            Store::Pages(pages) => {
                let mut index = offset / PAGE;
                while pages.contains_key(&index) {
                    index += 1;
                }
                Ok((index * PAGE).max(offset).min(self.size))
            }
            Store::Memory(file) if whence == Whence::Data => Ok(sparse::next_data(file, offset)?),
            Store::Memory(file) => Ok(sparse::next_hole(file, offset)?),
            Store::Lower(file) => file.seek_data_or_hole(offset, whence),
        }
    }

    /// The host file to map for a reader, or for somebody who may write.
    pub(super) fn memory_file(&mut self, use_: MapUse) -> Result<Arc<HostFile>> {
        if let (Store::Lower(file), MapUse::Read) = (&self.store, use_) {
            return file.memory_file();
        }
        self.own()?;
        self.move_to_memory()?;
        match &self.store {
            Store::Memory(file) => Ok(Arc::clone(file)),
            _ => Err(Errno::ENODEV),
        }
    }

    /// Whether the contents are no longer a lower layer's.
    pub(super) fn is_own(&self) -> bool {
        !matches!(self.store, Store::Lower(_))
    }

    /// Moves to a memory file if the host gives one; otherwise the heap still serves.
    fn leave_heap(&mut self) {
        if let Err(error) = self.move_to_memory() {
            tracing::debug!(%error, "no memory file for a growing file");
        }
    }

    fn move_to_memory(&mut self) -> Result<()> {
        let Store::Pages(pages) = &mut self.store else {
            return Ok(());
        };
        let file = memory_file::create("tmpfs", self.size)?;
        for (index, page) in pages.iter() {
            let at = index * PAGE;
            // Space may be reserved beyond the end; writing there would lengthen the file.
            let len = self.size.saturating_sub(at).min(PAGE);
            let len = usize::try_from(len).unwrap_or(PAGE_BYTES);
            if len > 0 {
                file.write_all_at(&page[..len], at)?;
            }
        }
        let file = Arc::new(file);
        self.store = Store::Memory(Arc::clone(&file));
        self.budget.add_memory_file(&file, self.charged);
        self.settle(&file);
        Ok(())
    }

    /// Copies a lower layer's contents before they change.
    fn own(&mut self) -> Result<()> {
        let Store::Lower(lower) = &self.store else {
            return Ok(());
        };
        let lower = Arc::clone(lower);
        let mut copy = Content::empty(self.budget.clone());
        if self.size > HEAP_MAX {
            copy.leave_heap();
        }
        let mut buf = vec![0; (256 * 1024).min(usize::try_from(self.size).unwrap_or(0).max(1))];
        let mut at = 0;
        while at < self.size {
            let n = lower.read_at(at, &mut buf)?;
            if n == 0 {
                break;
            }
            let mut rest = &buf[..n];
            while !rest.is_empty() {
                let written = copy.write(at, rest)?;
                at += written as u64;
                rest = &rest[written..];
            }
        }
        copy.truncate(self.size)?;
        *self = copy;
        Ok(())
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        match self.store {
            Store::Memory(_) => self.budget.give_memory(self.charged),
            Store::Pages(_) | Store::Lower(_) => self.budget.give_bytes(self.charged),
        }
    }
}

/// Whether reserving space changes the length (`FALLOC_FL_KEEP_SIZE`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Grow {
    Size,
    Nothing,
}

/// What of a memory file is at an offset.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PartKind {
    /// Pages that exist.
    Data,
    /// One page that does not, or that is only reserved.
    Hole,
}

/// The first part of a write that is of one kind.
struct Part {
    kind: PartKind,
    start: u64,
    len: usize,
}

impl Part {
    fn at(file: &HostFile, start: u64, len: usize) -> Part {
        let page = start / PAGE * PAGE;
        let exists = sparse::next_data(file, page).is_ok_and(|data| data < page + PAGE);
        let (kind, end) = if exists {
            let hole = sparse::next_hole(file, page).unwrap_or(page);
            let end = hole.next_multiple_of(PAGE).max(page + PAGE);
            (PartKind::Data, end)
        } else {
            (PartKind::Hole, page + PAGE)
        };
        let room = usize::try_from(end - start).unwrap_or(usize::MAX);
        Part {
            kind,
            start,
            len: len.min(room),
        }
    }
}

/// Who maps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MapUse {
    Read,
    Write,
}

fn copy_out(pages: &BTreeMap<u64, Box<[u8; PAGE_BYTES]>>, offset: u64, buf: &mut [u8]) {
    let mut done = 0;
    while done < buf.len() {
        let at = offset + done as u64;
        let within = (at % PAGE) as usize;
        let len = (PAGE_BYTES - within).min(buf.len() - done);
        let out = &mut buf[done..done + len];
        match pages.get(&(at / PAGE)) {
            Some(page) => out.copy_from_slice(&page[within..within + len]),
            None => out.fill(0),
        }
        done += len;
    }
}

/// Zeroes part of one page, if it exists.
fn zero(pages: &mut BTreeMap<u64, Box<[u8; PAGE_BYTES]>>, from: u64, to: u64) {
    if from >= to {
        return;
    }
    if let Some(page) = pages.get_mut(&(from / PAGE)) {
        let start = (from % PAGE) as usize;
        let len = usize::try_from(to - from).unwrap_or(PAGE_BYTES);
        let end = (start + len).min(PAGE_BYTES);
        page[start..end].fill(0);
    }
}
