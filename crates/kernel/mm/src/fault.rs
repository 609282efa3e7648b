//! Page faults that are not the guest's mistakes: content of lazy files that comes when it is touched.
//!
//! ```text
//!   map: ABSENT, no access ─▶ fault ─▶ fetch ─┬─ there ─▶ access as the guest has it, run again
//!                                             ├─ not yet ─▶ wait for the file, run again
//!                                             └─ lost ─▶ SIGBUS
//! ```
//!
//! The kernel's own reads of absent memory fail with `EFAULT` and leave the address behind ([`take_missed`]): who made the
//! call for the guest waits and makes it again.

use std::cell::Cell;
use std::sync::Arc;

use base_abi::Errno;
use base_abi::page::{PAGE_SIZE, page_floor};
use kernel_vfs::{Description, Result};
use platform_api::{MapOp, Protection};

use crate::mm::Mm;
use crate::vma::{Vma, VmaFlags};

/// Bytes that are asked for around a fault: programs touch what is near, and each such part may be a mapping of its own.
const AROUND: u64 = 64 << 10;

thread_local! {
    /// Where this thread last read absent memory in vain, and whose it is.
    static MISSED: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

/// What the guest was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Fetching an instruction.
    Execute,
}

impl Access {
    /// From the error code of a page fault (Intel SDM volume 3, "Interrupt 14").
    #[must_use]
    pub fn from_error_code(code: u64) -> Access {
        const WRITE: u64 = 1 << 1;
        const INSTRUCTION: u64 = 1 << 4;
        if code & INSTRUCTION != 0 {
            Access::Execute
        } else if code & WRITE != 0 {
            Access::Write
        } else {
            Access::Read
        }
    }

    fn needs(self) -> Protection {
        match self {
            Access::Read => Protection::READ,
            Access::Write => Protection::WRITE,
            Access::Execute => Protection::EXEC,
        }
    }
}

/// What to do about a fault.
pub enum FaultAnswer {
    /// It is the guest's: a signal.
    Signal,
    /// The instruction may run again.
    Again,
    /// The content is not there yet: the instruction may run again when this file is ready ([`File::poll`](kernel_vfs::File::poll)).
    NotYet(Arc<Description>),
    /// The content cannot be had: `SIGBUS`, as for a disk that fails.
    Lost,
}

/// Takes the address at which this thread's last call missed absent memory of `mm`.
#[must_use]
pub fn take_missed(mm: &Mm) -> Option<u64> {
    let (id, addr) = MISSED.take()?;
    (id == mm.id()).then_some(addr)
}

/// Whether this thread's last call missed absent memory of `mm`: [`take_missed`] would give an address.
#[must_use]
pub fn missing(mm: &Mm) -> bool {
    MISSED.get().is_some_and(|(id, _)| id == mm.id())
}

impl Mm {
    /// Answers a protection fault at an address.
    pub fn fault(&self, addr: u64, access: Access) -> FaultAnswer {
        let Some(vma) = self.vma_at(addr) else {
            return FaultAnswer::Signal;
        };
        let absent = vma.flags.contains(VmaFlags::ABSENT);
        let lazy = || vma.opened().is_some_and(|(file, _)| file.file().lazy());
        if !(absent || lazy()) || !vma.prot.contains(access.needs()) {
            return FaultAnswer::Signal;
        }
        self.bring(&vma, addr)
    }

    /// Answers for an address that [`take_missed`] gave.
    pub fn missed(&self, addr: u64) -> FaultAnswer {
        match self.vma_at(addr) {
            Some(vma) => self.bring(&vma, addr),
            None => FaultAnswer::Signal,
        }
    }

    /// Has what is around an address there.
    fn bring(&self, vma: &Vma, addr: u64) -> FaultAnswer {
        let Some((file, offset)) = vma.opened() else {
            return FaultAnswer::Signal;
        };
        if !vma.flags.contains(VmaFlags::ABSENT) {
            // Another thread was quicker.
            return FaultAnswer::Again;
        }
        let around = page_floor(addr) / AROUND * AROUND;
        let (start, end) = (around.max(vma.start), (around + AROUND).min(vma.end));
        let at = |addr: u64| offset + (addr - vma.start);
        match file.file().fetch(at(start)..at(end)) {
            Ok(()) => match self.give_access(vma, start, end) {
                Ok(()) => FaultAnswer::Again,
                Err(_) => FaultAnswer::Lost,
            },
            Err(Errno::EAGAIN) => FaultAnswer::NotYet(Arc::clone(file)),
            Err(error) => {
                tracing::warn!(%error, "content of a mapped file is lost");
                FaultAnswer::Lost
            }
        }
    }

    /// Gives the guest what it may do with a part of a mapping that is there now, if the mapping is still what it was. The
    /// limit of mappings does not count: there are no more parts than [`AROUND`] makes of a file.
    fn give_access(&self, was: &Vma, start: u64, end: u64) -> Result<()> {
        let mut state = self.lock();
        let mut ops = Vec::new();
        for vma in state.tree.overlapping(start, end) {
            let (from, to) = (vma.start.max(start), vma.end.min(end));
            if same_part(was, vma, from) {
                ops.push(MapOp::Protect {
                    addr: from,
                    len: to - from,
                    prot: vma.prot,
                });
            }
        }
        if ops.is_empty() {
            return Ok(());
        }
        self.commit(&mut state, 0, &ops, None, |tree| {
            tree.update(start, end, |vma| {
                if same_part(was, vma, vma.start) {
                    vma.flags.remove(VmaFlags::ABSENT);
                }
            });
            Vec::new()
        })?;
        Ok(())
    }

    /// Has all absent parts of a range there, for a change that makes them writable.
    ///
    /// # Errors
    /// `EFAULT` with the address left behind while one is not there; `EIO` for what is lost.
    pub(crate) fn make_present(&self, start: u64, end: u64) -> Result<()> {
        loop {
            let absent = |vma: &&Vma| vma.flags.contains(VmaFlags::ABSENT);
            let first = self
                .lock()
                .tree
                .overlapping(start, end)
                .find(absent)
                .map(|v| v.start);
            let Some(first) = first else { return Ok(()) };
            self.read_through(first.max(start))?;
        }
    }

    /// Reads on after `got` bytes, where the platform gave no more.
    ///
    /// # Errors
    /// `EFAULT`; when it is for absent memory the address is left behind.
    pub(crate) fn read_absent(&self, addr: u64, buf: &mut [u8], mut got: usize) -> Result<()> {
        while let Some(rest) = buf.get_mut(got..).filter(|rest| !rest.is_empty()) {
            let at = addr.checked_add(got as u64).ok_or(Errno::EFAULT)?;
            self.read_through(at)?;
            match self.space.read(at, rest) {
                0 => return Err(Errno::EFAULT),
                n => got += n,
            }
        }
        Ok(())
    }

    /// Has the absent page of an address there.
    fn read_through(&self, addr: u64) -> Result<()> {
        let vma = self.vma_at(addr).ok_or(Errno::EFAULT)?;
        if !vma.flags.contains(VmaFlags::ABSENT) {
            return Err(Errno::EFAULT);
        }
        match self.bring(&vma, addr) {
            FaultAnswer::Again => Ok(()),
            FaultAnswer::NotYet(_) => {
                MISSED.set(Some((self.id(), addr)));
                Err(Errno::EFAULT)
            }
            FaultAnswer::Lost => Err(Errno::EIO),
            FaultAnswer::Signal => Err(Errno::EFAULT),
        }
    }
}

/// Whether a mapping that is now at `from` shows there what `was` showed, and is absent.
fn same_part(was: &Vma, now: &Vma, from: u64) -> bool {
    let place = |vma: &Vma| {
        let (file, offset) = vma.opened()?;
        let skip = from.checked_sub(vma.start)?;
        Some((Arc::as_ptr(file) as usize, offset + skip))
    };
    now.flags.contains(VmaFlags::ABSENT) && place(now) == place(was)
}

const _: () = assert!(AROUND.is_multiple_of(PAGE_SIZE));
