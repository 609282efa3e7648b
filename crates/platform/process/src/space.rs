//! Address spaces as the kernel above sees them.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use base_abi::Errno;
use host_sys::page_map::PageMap;
use host_sys::vm;
use platform_api::{
    AddressSpace, ApplyError, Backing, Context, CpuState, MapOp, PlatformError, Protection, Sharing,
};

use crate::arena::{COMMANDS_PER_BATCH, Command};
use crate::context::GuestThread;
use crate::layout::{GUEST_END, GUEST_START};
use crate::mapper::{Dead, Mapper};
use crate::shared::Shared;
use crate::stub::Stub;
use crate::xstate::Extended;

/// One stub; dropping this kills it, whatever contexts are left.
pub(crate) struct StubSpace {
    stub: Arc<Stub>,
    shared: Arc<Shared>,
}

impl StubSpace {
    pub(crate) fn new(stub: Arc<Stub>, shared: Arc<Shared>) -> StubSpace {
        shared.stubs.add(&stub);
        StubSpace { stub, shared }
    }

    /// What the host's page map of the stub says.
    fn pages<T>(&self, look: impl FnOnce(&PageMap) -> io::Result<T>) -> Result<T, PlatformError> {
        let map = self.shared.proc.page_map(self.stub.pid);
        map.and_then(|map| look(&map))
            .map_err(|source| PlatformError::Host {
                what: "read which pages a stub has",
                source,
            })
    }
}

impl Drop for StubSpace {
    fn drop(&mut self) {
        self.stub.kill();
    }
}

impl AddressSpace for StubSpace {
    fn apply(&self, ops: &[MapOp]) -> Result<(), ApplyError> {
        let mut mapper = self.stub.mapper.lock();
        Batch::new(&mut mapper).run(ops)
    }

    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        let len = within(addr, buf.len());
        let mut done = 0;
        while done < len {
            match vm::read(self.stub.pid, addr + done as u64, &mut buf[done..len]) {
                Ok(n) if n > 0 => done += n,
                _ => break,
            }
        }
        done
    }

    fn write(&self, addr: u64, data: &[u8]) -> usize {
        let len = within(addr, data.len());
        let mut done = 0;
        while done < len {
            match vm::write(self.stub.pid, addr + done as u64, &data[done..len]) {
                Ok(n) if n > 0 => done += n,
                _ => break,
            }
        }
        done
    }

    fn compare_exchange_u32(&self, addr: u64, current: u32, new: u32) -> Result<u32, Errno> {
        if !addr.is_multiple_of(4) || within(addr, 4) != 4 {
            return Err(Errno::EFAULT);
        }
        let done = self
            .stub
            .mapper
            .lock()
            .swap(addr, current, new)
            .map_err(|Dead| Errno::EFAULT)?;
        done.errno.map_or(Ok(done.value), Err)
    }

    fn fork(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        // Holding the mapper keeps its open files still while they are copied.
        let mapper = self.stub.mapper.lock();
        let stub = Stub::fork(self.stub.arena(), self.stub.threads(), Some(&mapper))?;
        Ok(Arc::new(StubSpace::new(stub, self.shared.clone())))
    }

    fn new_context(&self, state: CpuState) -> Result<Box<dyn Context>, PlatformError> {
        let parked = self.stub.thread()?;
        Ok(Box::new(GuestThread::new(
            self.stub.clone(),
            parked,
            state,
            Extended::of(&self.shared.template),
            self.shared.exits.clone(),
        )))
    }

    fn written_pages(&self, range: Range<u64>) -> Result<Vec<Range<u64>>, PlatformError> {
        self.pages(|map| map.private(guest_part(range)))
    }

    fn shared_pages(&self, range: Range<u64>) -> Result<Vec<Range<u64>>, PlatformError> {
        self.pages(|map| map.shared(guest_part(range)))
    }

    fn private_within(&self, ranges: &[Range<u64>]) -> Result<u64, PlatformError> {
        self.pages(|map| {
            let mut sum = 0;
            for window in windows(ranges) {
                let (Some(first), Some(last)) = (window.first(), window.last()) else {
                    continue;
                };
                let found = map.private(guest_part(first.start..last.end))?;
                sum += common(window, &found);
            }
            Ok(sum)
        })
    }

    fn resident_bytes(&self) -> u64 {
        self.shared.proc.private_bytes(self.stub.pid).unwrap_or(0)
    }
}

/// What of a range lies in the guest's part.
fn guest_part(range: Range<u64>) -> Range<u64> {
    range.start.max(GUEST_START)..range.end.min(GUEST_END)
}

/// Ranges that are looked up in one go: what lies between them is no more than this.
const NEAR: u64 = 1 << 20;

fn windows(ranges: &[Range<u64>]) -> impl Iterator<Item = &[Range<u64>]> {
    ranges.chunk_by(|one, next| next.start.saturating_sub(one.end) <= NEAR)
}

/// Bytes that are in both; each in order.
fn common(one: &[Range<u64>], other: &[Range<u64>]) -> u64 {
    let (mut sum, mut at) = (0, 0);
    for range in one {
        while let Some(found) = other.get(at) {
            let (start, end) = (range.start.max(found.start), range.end.min(found.end));
            sum += end.saturating_sub(start);
            if found.end > range.end {
                break;
            }
            at += 1;
        }
    }
    sum
}

/// How much of a range lies in the guest's part; never our own pages.
fn within(addr: u64, len: usize) -> usize {
    usize::try_from(GUEST_END.saturating_sub(addr)).map_or(0, |room| room.min(len))
}

/// Changes on their way to the mapper.
struct Batch<'a> {
    mapper: &'a mut Mapper,
    commands: Vec<Command>,
    /// For each command the change it belongs to; `None` for our own closing of files.
    origin: Vec<Option<usize>>,
    /// File numbers that queued commands use.
    busy: Vec<u32>,
}

impl Batch<'_> {
    fn new(mapper: &mut Mapper) -> Batch<'_> {
        let commands = mapper.close_unused();
        let origin = vec![None; commands.len()];
        // A number that is about to be closed cannot be opened in the same batch.
        let busy = commands.iter().map(|close| close.args[0] as u32).collect();
        Batch {
            mapper,
            commands,
            origin,
            busy,
        }
    }

    fn run(mut self, ops: &[MapOp]) -> Result<(), ApplyError> {
        for (index, op) in ops.iter().enumerate() {
            if self.commands.len() == COMMANDS_PER_BATCH {
                self.flush(index)?;
            }
            let command = self.command(index, op).or_else(|error| {
                // What comes before a bad change is still carried out.
                self.flush(index)?;
                Err(error)
            })?;
            self.commands.push(command);
            self.origin.push(Some(index));
        }
        self.flush(ops.len())
    }

    fn flush(&mut self, next: usize) -> Result<(), ApplyError> {
        if self.commands.is_empty() {
            return Ok(());
        }
        let done = self
            .mapper
            .execute(&self.commands)
            .map_err(|Dead| ApplyError {
                index: next.saturating_sub(1),
                errno: Errno::ENOMEM,
            })?;
        let failed = self.origin.get(done.done).copied().flatten();
        self.commands.clear();
        self.origin.clear();
        self.busy.clear();
        match (done.errno, failed) {
            (Some(errno), Some(index)) => Err(ApplyError { index, errno }),
            _ => Ok(()),
        }
    }

    fn command(&mut self, index: usize, op: &MapOp) -> Result<Command, ApplyError> {
        let bad = |errno| ApplyError { index, errno };
        let call = |nr: i64, args: [u64; 6]| Command {
            nr: nr as u64,
            args,
        };
        match op {
            MapOp::Map {
                addr,
                len,
                prot,
                backing,
            } => {
                check(*addr, *len).map_err(bad)?;
                let (flags, file, offset) = match backing {
                    Backing::Anonymous => (
                        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                        u64::MAX,
                        0,
                    ),
                    Backing::File {
                        file,
                        offset,
                        sharing,
                    } => {
                        let number = match self.mapper.find(file) {
                            Some(number) => number,
                            None => self.open(index, file)?,
                        };
                        self.busy.push(number);
                        let flags = match sharing {
                            Sharing::Private => libc::MAP_PRIVATE | libc::MAP_NORESERVE,
                            Sharing::Shared => libc::MAP_SHARED,
                        };
                        (flags, u64::from(number), *offset)
                    }
                };
                let flags = (flags | libc::MAP_FIXED) as u64;
                Ok(call(
                    libc::SYS_mmap,
                    [*addr, *len, bits(*prot), flags, file, offset],
                ))
            }
            MapOp::Unmap { addr, len } => {
                check(*addr, *len).map_err(bad)?;
                Ok(call(libc::SYS_munmap, [*addr, *len, 0, 0, 0, 0]))
            }
            MapOp::Protect { addr, len, prot } => {
                check(*addr, *len).map_err(bad)?;
                Ok(call(
                    libc::SYS_mprotect,
                    [*addr, *len, bits(*prot), 0, 0, 0],
                ))
            }
            MapOp::Move {
                from,
                old_len,
                to,
                new_len,
            } => {
                check(*from, *old_len).map_err(bad)?;
                check(*to, *new_len).map_err(bad)?;
                let flags = if from == to {
                    0
                } else {
                    libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED
                };
                Ok(call(
                    libc::SYS_mremap,
                    [*from, *old_len, *new_len, flags as u64, *to, 0],
                ))
            }
            MapOp::Touch { addr, len } => {
                check(*addr, *len).map_err(bad)?;
                Ok(call(
                    libc::SYS_madvise,
                    [*addr, *len, libc::MADV_POPULATE_WRITE as u64, 0, 0, 0],
                ))
            }
            MapOp::Prefault { addr, len } => {
                check(*addr, *len).map_err(bad)?;
                Ok(call(
                    libc::SYS_madvise,
                    [*addr, *len, libc::MADV_POPULATE_READ as u64, 0, 0, 0],
                ))
            }
            MapOp::Discard { addr, len } => {
                check(*addr, *len).map_err(bad)?;
                Ok(call(
                    libc::SYS_madvise,
                    [*addr, *len, libc::MADV_DONTNEED as u64, 0, 0, 0],
                ))
            }
        }
    }

    /// Opens a file in the stub, sending what is queued first when it would lose its files.
    fn open(&mut self, index: usize, file: &Arc<std::fs::File>) -> Result<u32, ApplyError> {
        loop {
            let opened = self
                .mapper
                .open(file, &self.busy)
                .map_err(|Dead| ApplyError {
                    index,
                    errno: Errno::ENOMEM,
                })?;
            match opened {
                Some(number) => return number.map_err(|errno| ApplyError { index, errno }),
                None => self.flush(index)?,
            }
        }
    }
}

fn bits(prot: Protection) -> u64 {
    u64::from(prot.bits())
}

/// The kernel above checked this; here it protects our own pages from its mistakes.
fn check(addr: u64, len: u64) -> Result<(), Errno> {
    let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
    if addr < GUEST_START || end > GUEST_END || len == 0 || !(addr | len).is_multiple_of(4096) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::common;

    #[test]
    fn what_two_lists_have_in_common() {
        let one = [0..10, 20..30, 40..50];
        assert_eq!(common(&one, &[]), 0);
        assert_eq!(common(&one, &[0..45, 45..100]), 30);
        assert_eq!(
            common(&one, &[5..25, 28..29, 45..46, 49..60]),
            5 + 5 + 1 + 1 + 1
        );
        assert_eq!(common(&[0..5, 5..10], &[0..3, 3..8]), 8);
    }
}
