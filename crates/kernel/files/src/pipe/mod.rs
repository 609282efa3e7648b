//! Pipes and fifos (pipe(7), fifo(7)).
//!
//! A [`Pipe`] holds the bytes and counts its ends; a [`PipeEnd`] is the file behind one
//! description. Ends leave when their description is released.

mod buffer;
mod end;
mod open;
mod saved;
mod splice;

use std::sync::Arc;

use base_abi::structs::Stat;
use kernel_vfs::{Errno, Events, Ownership, Result, WaitQueue};
use parking_lot::Mutex;

use crate::anon::{pipe_owned, pipe_stat};
use crate::budget::{Budget, Charge};
use buffer::{Buffer, PAGE};

pub use buffer::Framing;
pub use end::PipeEnd;
pub use open::FifoOpening;
pub use splice::{Moved, Stuck};

/// Bytes a new pipe holds (pipe(7)).
pub const DEFAULT_CAPACITY: usize = 16 * PAGE;
/// `/proc/sys/fs/pipe-max-size`: the most `F_SETPIPE_SZ` gives, in bytes.
pub const MAX_CAPACITY: usize = 1 << 20;
/// Pages of a pipe made when the sandbox's pages run low, as beyond Linux's `pipe-user-pages-soft`.
const SCARCE_PAGES: usize = 2;

#[derive(Debug)]
struct State {
    buffer: Buffer,
    readers: usize,
    writers: usize,
    /// Readers and writers that ever came: what a blocked open(2) of a fifo waits to change.
    readers_ever: u64,
    writers_ever: u64,
    charge: Charge,
}

/// The bytes between two ends.
#[derive(Debug)]
pub struct Pipe {
    state: Mutex<State>,
    queue: WaitQueue,
    ino: u64,
    owner: Ownership,
}

impl Pipe {
    /// An empty pipe of this user and group, whose pages are charged to `pages`. It has no ends yet.
    ///
    /// # Errors
    /// `ENFILE` when the sandbox's pipes hold all the pages they may.
    pub fn new(pages: &Budget, ino: u64, owner: [u32; 2]) -> Result<Arc<Pipe>> {
        let pages_of = |n: usize| pages.charge(n as u64).map(|charge| (n, charge));
        let (slots, charge) = pages_of(DEFAULT_CAPACITY / PAGE)
            .or_else(|_| pages_of(SCARCE_PAGES))
            .map_err(|_| Errno::ENFILE)?;
        Ok(Arc::new(Pipe {
            state: Mutex::new(State {
                buffer: Buffer::new(slots),
                readers: 0,
                writers: 0,
                readers_ever: 0,
                writers_ever: 0,
                charge,
            }),
            queue: WaitQueue::new(),
            ino,
            owner: Ownership::new(pipe_owned(owner)),
        }))
    }

    /// A pipe with a reading and a writing end (pipe2(2)).
    ///
    /// # Errors
    /// As [`Pipe::new`].
    pub fn pair(pages: &Budget, ino: u64, owner: [u32; 2]) -> Result<(Arc<PipeEnd>, Arc<PipeEnd>)> {
        let pipe = Pipe::new(pages, ino, owner)?;
        let reader = PipeEnd::join(&pipe, kernel_vfs::AccessMode::Read, None);
        let writer = PipeEnd::join(&pipe, kernel_vfs::AccessMode::Write, None);
        Ok((reader, writer))
    }

    /// Bytes it can hold (`F_GETPIPE_SZ`).
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.state.lock().buffer.slots() * PAGE
    }

    /// `F_SETPIPE_SZ`: at least `bytes`, rounded up to a power of two of pages. Returns the new capacity.
    ///
    /// # Errors
    /// `EPERM` above [`MAX_CAPACITY`] or the sandbox's pages, `EBUSY` when more is in it, `EINVAL` for nonsense.
    pub fn set_capacity(&self, bytes: u64) -> Result<usize> {
        if bytes > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let bytes = usize::try_from(bytes).map_err(|_| Errno::EINVAL)?;
        let bytes = bytes.max(PAGE).next_power_of_two();
        let slots = bytes / PAGE;
        let mut state = self.state.lock();
        if bytes > MAX_CAPACITY && slots > state.buffer.slots() {
            return Err(Errno::EPERM);
        }
        let before = state.charge.amount();
        state
            .charge
            .resize(slots as u64)
            .map_err(|_| Errno::EPERM)?;
        if !state.buffer.set_slots(slots) {
            // Shrinking was refused, so growing back to what was held cannot exceed the budget by more
            // than another pipe took meanwhile; keep the larger share.
            let _ = state.charge.resize(before);
            return Err(Errno::EBUSY);
        }
        drop(state);
        self.queue.wake(Events::WRITABLE);
        Ok(bytes)
    }

    /// Bytes waiting to be read (`FIONREAD`).
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().buffer.len()
    }

    /// Whether nothing waits to be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state.lock().buffer.is_empty()
    }

    pub(crate) fn stat(&self) -> Stat {
        pipe_stat(self.ino, &self.owner)
    }

    fn read(&self, buf: &mut [u8]) -> Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let mut state = self.state.lock();
        if state.buffer.is_empty() {
            return if state.writers == 0 {
                Ok(0)
            } else {
                Err(Errno::EAGAIN)
            };
        }
        let was_full = state.buffer.is_full();
        let n = state.buffer.pop(buf);
        self.after_read(state, was_full);
        Ok(n)
    }

    fn put_back(&self, bytes: &[u8]) {
        self.state.lock().buffer.unpop(bytes);
        self.queue.wake(Events::READABLE);
    }

    fn write(&self, data: &[u8], framing: Framing) -> Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let mut state = self.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        let n = state.buffer.push(data, framing);
        drop(state);
        if n == 0 {
            return Err(Errno::EAGAIN);
        }
        self.queue.wake(Events::READABLE);
        Ok(n)
    }

    /// Wakes writers when a slot became free.
    fn after_read(&self, state: parking_lot::MutexGuard<'_, State>, was_full: bool) {
        let freed = was_full && !state.buffer.is_full();
        drop(state);
        if freed {
            self.queue.wake(Events::WRITABLE);
        }
    }
}

#[cfg(test)]
mod tests;
