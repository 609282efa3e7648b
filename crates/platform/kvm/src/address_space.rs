//! Address spaces as the kernel above sees them.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base_abi::Errno;
use platform_api::{
    AddressSpace, ApplyError, Backing, Context, CpuState, MapOp, PlatformError, Protection, Sharing,
};

use crate::areas::{Area, Areas, Behind};
use crate::context::GuestThread;
use crate::entry::Entry;
use crate::files;
use crate::guest_memory::Access;
use crate::layout::{GUEST_END, GUEST_START, PAGE};
use crate::machine::Machine;
use crate::page_access::{Refusal, Want};
use crate::space::{Space, no_room, shown, within};
use crate::state::State;
use crate::tables::change;
use crate::visit;

/// The handle of an address space; dropping it ends its contexts.
pub(crate) struct GuestSpace(Arc<Space>);

impl GuestSpace {
    pub(crate) fn new(machine: Arc<Machine>) -> Result<GuestSpace, PlatformError> {
        Space::new(machine, Areas::default()).map(GuestSpace)
    }

    /// The pages of a range whose entries are chosen, as runs.
    fn pages(&self, range: Range<u64>, chosen: impl Fn(Entry) -> bool) -> Vec<Range<u64>> {
        let state = self.0.state.lock();
        let mut found: Vec<Range<u64>> = Vec::new();
        let range = range.start.max(GUEST_START)..range.end.min(GUEST_END);
        state.tree.visit(range, |at, word| {
            if !chosen(Entry(word.load(Ordering::Acquire))) {
                return;
            }
            match found.last_mut() {
                Some(last) if last.end == at => last.end += PAGE,
                _ => found.push(at..at + PAGE),
            }
        });
        found
    }

    /// Bytes of a range that are this address space's own, and used.
    fn resident(&self, range: &Range<u64>) -> u64 {
        let range = range.start.max(GUEST_START)..range.end.min(GUEST_END);
        let state = self.0.state.lock();
        let mut pages = 0;
        state.tree.visit(range, |_, word| {
            pages += u64::from(Entry(word.load(Ordering::Relaxed)).is_resident());
        });
        pages * PAGE
    }

    fn change(&self, state: &mut State, op: &MapOp) -> Result<(), Errno> {
        let machine = &self.0.machine;
        match op {
            MapOp::Map {
                addr,
                len,
                prot,
                backing,
            } => {
                let range = check(*addr, *len)?;
                let behind = self.behind(*prot, backing)?;
                unmap(state, machine, &range);
                let area = Area {
                    end: range.end,
                    prot: *prot,
                    behind,
                };
                state.areas.put(range.start, area);
            }
            MapOp::Unmap { addr, len } => unmap(state, machine, &check(*addr, *len)?),
            MapOp::Protect { addr, len, prot } => {
                let range = check(*addr, *len)?;
                if !state.areas.cover(&range) {
                    return Err(Errno::ENOMEM);
                }
                may_write(state, &range, *prot)?;
                state.protect(machine, &range, *prot);
            }
            MapOp::Move {
                from,
                old_len,
                to,
                new_len,
            } => {
                let old = check(*from, *old_len)?;
                let new = check(*to, *new_len)?;
                shift(state, machine, &old, &new)?;
            }
            MapOp::Touch { addr, len } => {
                let range = check(*addr, *len)?;
                state
                    .touch(machine, &range)
                    .map_err(|refusal| match refusal {
                        Refusal::Unmapped | Refusal::NoMemory => Errno::ENOMEM,
                        Refusal::Forbidden | Refusal::BeyondFile => Errno::EFAULT,
                    })?;
            }
            MapOp::Prefault { addr, len } => state.prefault(machine, &check(*addr, *len)?),
            MapOp::Discard { addr, len } => {
                let range = check(*addr, *len)?;
                state.discard(&range).forget(machine);
                if !state.areas.cover(&range) {
                    return Err(Errno::ENOMEM);
                }
            }
        }
        Ok(())
    }

    fn behind(&self, prot: Protection, backing: &Backing) -> Result<Behind, Errno> {
        let Backing::File {
            file,
            offset,
            sharing,
        } = backing
        else {
            return Ok(Behind::Zeros);
        };
        if !offset.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        let access = match sharing {
            Sharing::Shared if files::is_writable(file) => Access::Write,
            Sharing::Shared if prot.contains(Protection::WRITE) => return Err(Errno::EACCES),
            _ => Access::Read,
        };
        Ok(Behind::File {
            mapped: self.0.machine.windows.of(file, access)?,
            offset: *offset,
            sharing: *sharing,
        })
    }
}

fn unmap(state: &mut State, machine: &Machine, range: &Range<u64>) {
    let gone = state.clear(range);
    gone.forget(machine);
    // Windows of files are closed with their last area, after no page shows them.
    drop(state.areas.take(range));
}

/// A shared mapping of a file that was opened for reading stays readable.
fn may_write(state: &State, range: &Range<u64>, prot: Protection) -> Result<(), Errno> {
    let refuses = |area: &Area| match &area.behind {
        Behind::File {
            mapped,
            sharing: Sharing::Shared,
            ..
        } => mapped.access() == Access::Read,
        _ => false,
    };
    if prot.contains(Protection::WRITE) && state.areas.parts(range).iter().any(|(_, a)| refuses(a))
    {
        return Err(Errno::EACCES);
    }
    Ok(())
}

fn shift(
    state: &mut State,
    machine: &Machine,
    old: &Range<u64>,
    new: &Range<u64>,
) -> Result<(), Errno> {
    if !state.areas.cover(old) {
        return Err(Errno::EFAULT);
    }
    let kept = (old.end - old.start).min(new.end - new.start);
    let grown = new.start + kept..new.end;
    if old.start == new.start {
        if !state.areas.free(&(old.end..new.end.max(old.end))) {
            return Err(Errno::ENOMEM);
        }
    } else {
        if old.start < new.end && new.start < old.end {
            return Err(Errno::EINVAL);
        }
        unmap(state, machine, new);
    }
    // What is cut off.
    if old.start + kept < old.end {
        unmap(state, machine, &(old.start + kept..old.end));
    }
    let old = old.start..old.start + kept;
    if old.start != new.start {
        state.move_pages(machine, &old, new.start)?;
        for (start, area) in state.areas.take(&old) {
            let moved = Area {
                end: new.start + (area.end - old.start),
                ..area
            };
            state.areas.put(new.start + (start - old.start), moved);
        }
    }
    if grown.start < grown.end
        && let Some((start, last)) = state.areas.at(grown.start - PAGE)
    {
        let skip = grown.start - start;
        let behind = match &last.behind {
            Behind::Zeros => Behind::Zeros,
            Behind::File {
                mapped,
                offset,
                sharing,
            } => Behind::File {
                mapped: mapped.clone(),
                offset: offset + skip,
                sharing: *sharing,
            },
        };
        let more = Area {
            end: grown.end,
            prot: last.prot,
            behind,
        };
        state.areas.put(grown.start, more);
    }
    Ok(())
}

impl AddressSpace for GuestSpace {
    fn apply(&self, ops: &[MapOp]) -> Result<(), ApplyError> {
        let mut state = self.0.state.lock();
        let mut hints = Vec::new();
        let mut result = Ok(());
        for (index, op) in ops.iter().enumerate() {
            if let Err(errno) = self.change(&mut state, op) {
                result = Err(ApplyError { index, errno });
                break;
            }
            if let MapOp::Touch { addr, len } | MapOp::Prefault { addr, len } = op {
                hints.push(*addr..addr + len);
            }
        }
        if !hints.is_empty() {
            visit::visit(&self.0.machine, &mut state, self.0.root, &hints);
        }
        result
    }

    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        self.0.read(addr, buf)
    }

    fn write(&self, addr: u64, data: &[u8]) -> usize {
        self.0
            .each_page(addr, data.len(), Want::Write, |state, at, entry, part| {
                let Some(data) = data.get(part) else {
                    return 0;
                };
                if entry.is_owned() {
                    self.0
                        .machine
                        .vm
                        .memory
                        .write(entry.page() + at % PAGE, data);
                    if !entry.is_written() {
                        // The processor does not see our writes.
                        if let Some(word) = state.tree.word(at) {
                            change(word, Entry::written);
                        }
                    }
                    return data.len();
                }
                let Some((mapped, offset)) = shown(state, at) else {
                    return 0;
                };
                // Bytes beyond the end of the file are in no file.
                let inside = mapped.len().saturating_sub(offset).min(data.len() as u64) as usize;
                let inside = data.get(..inside).unwrap_or_default();
                match mapped.file.write_all_at(inside, offset) {
                    Ok(()) => data.len(),
                    Err(_) => 0,
                }
            })
    }

    fn compare_exchange_u32(&self, addr: u64, current: u32, new: u32) -> Result<u32, Errno> {
        if !addr.is_multiple_of(4) || within(addr, 4) != 4 {
            return Err(Errno::EFAULT);
        }
        let mut state = self.0.state.lock();
        let entry = state
            .resolve(&self.0.machine, addr, Want::Write)
            .map_err(|_| Errno::EFAULT)?;
        if entry.is_owned() {
            if let Some(word) = state.tree.word(addr) {
                change(word, Entry::written);
            }
        } else {
            let beyond =
                shown(&state, addr).is_none_or(|(mapped, offset)| offset + 4 > mapped.len());
            if beyond {
                return Err(Errno::EFAULT);
            }
        }
        let word = self
            .0
            .machine
            .vm
            .memory
            .atomic_u32(entry.page() + addr % PAGE);
        let word = word.ok_or(Errno::EFAULT)?;
        let swapped = word.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst);
        Ok(swapped.unwrap_or_else(|found| found))
    }

    fn fork(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        let state = self.0.state.lock();
        let child = Space::new(self.0.machine.clone(), state.areas.clone())?;
        let mut shared = Vec::new();
        let mut narrowed = Vec::new();
        let mut failed = None;
        {
            let mut copy = child.state.lock();
            state.tree.visit(0..GUEST_END, |at, word| {
                let seen = Entry(word.load(Ordering::Acquire));
                if failed.is_some() || (seen.is_owned() && !seen.is_written()) {
                    // What is behind it so far: the child gets its own when it wants one.
                    return;
                }
                let old = if seen.is_owned() {
                    change(word, Entry::without_write)
                } else {
                    seen
                };
                match copy.tree.word_or_new(at) {
                    Ok(target) => {
                        let entry = if old.is_owned() {
                            old.without_write()
                        } else {
                            old
                        };
                        change(target, |_| entry);
                    }
                    Err(errno) => {
                        failed = Some(errno);
                        return;
                    }
                }
                if old.is_owned() {
                    shared.push(old.page());
                    if old.is_writable() {
                        narrowed.push(old.page());
                    }
                }
            });
        }
        // Before the child can be dropped, which gives these references up.
        self.0.machine.frames.share(&shared);
        self.0.machine.forget(&[], &narrowed);
        match failed {
            Some(errno) => Err(no_room(errno)),
            None => Ok(Arc::new(GuestSpace(child))),
        }
    }

    fn new_context(&self, state: CpuState) -> Result<Box<dyn Context>, PlatformError> {
        Ok(Box::new(GuestThread::new(self.0.clone(), state)))
    }

    fn written_pages(&self, range: Range<u64>) -> Result<Vec<Range<u64>>, PlatformError> {
        Ok(self.pages(range, Entry::is_written))
    }

    fn shared_pages(&self, range: Range<u64>) -> Result<Vec<Range<u64>>, PlatformError> {
        Ok(self.pages(range, Entry::shows_a_used_file))
    }

    fn private_within(&self, ranges: &[Range<u64>]) -> Result<u64, PlatformError> {
        Ok(ranges.iter().map(|range| self.resident(range)).sum())
    }

    fn resident_bytes(&self) -> u64 {
        self.resident(&(0..GUEST_END))
    }
}

impl Drop for GuestSpace {
    fn drop(&mut self) {
        self.0.kill();
    }
}

fn check(addr: u64, len: u64) -> Result<Range<u64>, Errno> {
    let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
    if addr < GUEST_START || end > GUEST_END || len == 0 || !(addr | len).is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    Ok(addr..end)
}
