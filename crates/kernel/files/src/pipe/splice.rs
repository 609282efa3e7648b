//! Moving bytes between a pipe and another file without guest memory
//! (splice(2), tee(2)).
//!
//! A pipe's lock is held while the other file takes or gives bytes, so that no other
//! reader comes between; that file must not be a pipe. Two pipes lock by address.

use std::sync::Arc;

use kernel_vfs::{Errno, Events, Result};
use parking_lot::MutexGuard;

use super::{Pipe, State};

/// Why nothing moved between a pipe and another file: which of the two has to change before something does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// There is nothing to take yet.
    #[error("the source is empty")]
    Source,
    /// There is no room yet.
    #[error("the target is full")]
    Target,
    /// It fails, however long one waits.
    #[error(transparent)]
    Failed(#[from] Errno),
}

/// What moving bytes gives.
pub type Moved = std::result::Result<usize, Stuck>;

/// Bytes moved in one step from a file into a pipe.
const CHUNK: usize = 64 << 10;

impl Pipe {
    /// Moves up to `max` bytes out of the pipe into `sink`, which returns how many it took.
    ///
    /// # Errors
    /// [`Stuck`] when nothing was moved: `Source` when empty with writers left, `Target` when the sink says `EAGAIN`. 0 is
    /// the end.
    pub fn splice_to(&self, max: usize, sink: &mut dyn FnMut(&[u8]) -> Result<usize>) -> Moved {
        let mut state = self.state.lock();
        if max > 0 && state.buffer.is_empty() && state.writers > 0 {
            return Err(Stuck::Source);
        }
        let was_full = state.buffer.is_full();
        let mut done = 0;
        let mut failure = None;
        while done < max {
            let Some(bytes) = state.buffer.front() else {
                break;
            };
            let part = bytes.get(..bytes.len().min(max - done)).unwrap_or(bytes);
            let offered = part.len();
            match sink(part) {
                Ok(n) => {
                    state.buffer.consume(n);
                    done += n;
                    if n < offered {
                        break;
                    }
                }
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        self.after_read(state, was_full);
        match failure {
            Some(Errno::EAGAIN) if done == 0 => Err(Stuck::Target),
            Some(error) if done == 0 => Err(Stuck::Failed(error)),
            _ => Ok(done),
        }
    }

    /// Moves up to `max` bytes from `source`, which fills a buffer and returns how many, into the pipe.
    ///
    /// # Errors
    /// `EPIPE` without readers; [`Stuck::Target`] when full, `Source` when the source says `EAGAIN`. 0 is its end.
    pub fn splice_from(
        &self,
        max: usize,
        source: &mut dyn FnMut(&mut [u8]) -> Result<usize>,
    ) -> Moved {
        let mut state = self.state.lock();
        if state.readers == 0 {
            return Err(Stuck::Failed(Errno::EPIPE));
        }
        let free = state.free();
        if free == 0 && max > 0 {
            return Err(Stuck::Target);
        }
        let mut chunk = vec![0; max.min(free).min(CHUNK)];
        let n = source(&mut chunk).map_err(|error| match error {
            Errno::EAGAIN => Stuck::Source,
            error => Stuck::Failed(error),
        })?;
        let pushed = state
            .buffer
            .push(chunk.get(..n).unwrap_or(&chunk), super::Framing::Stream);
        drop(state);
        if pushed > 0 {
            self.queue.wake(Events::READABLE);
        }
        Ok(pushed)
    }

    /// Moves up to `max` bytes to another pipe.
    ///
    /// # Errors
    /// `EINVAL` for a pipe and itself, `EPIPE`; [`Stuck`] when this is empty or the other full.
    pub fn splice_pipe(self: &Arc<Self>, to: &Arc<Pipe>, max: usize) -> Moved {
        self.transfer(to, max, Transfer::Move)
    }

    /// Copies up to `max` bytes to another pipe, leaving them here (tee(2)).
    ///
    /// # Errors
    /// As [`splice_pipe`](Pipe::splice_pipe).
    pub fn tee(self: &Arc<Self>, to: &Arc<Pipe>, max: usize) -> Moved {
        self.transfer(to, max, Transfer::Copy)
    }

    fn transfer(self: &Arc<Self>, to: &Arc<Pipe>, max: usize, how: Transfer) -> Moved {
        if Arc::ptr_eq(self, to) {
            return Err(Stuck::Failed(Errno::EINVAL));
        }
        if max == 0 {
            return Ok(0);
        }
        let (mut from, mut into) = lock_both(self, to);
        if from.buffer.is_empty() && from.writers > 0 {
            return Err(Stuck::Source);
        }
        if into.readers == 0 {
            return Err(Stuck::Failed(Errno::EPIPE));
        }
        if from.buffer.is_empty() {
            return Ok(0);
        }
        let mut copies = Vec::new();
        let mut total = 0;
        for (bytes, framing) in from.buffer.iter() {
            let n = bytes.len().min(max - total);
            copies.push((bytes.get(..n).unwrap_or(bytes).to_vec(), framing));
            total += n;
            if total >= max {
                break;
            }
        }
        let was_full = from.buffer.is_full();
        let mut done = 0;
        for (bytes, framing) in copies {
            let n = into.buffer.push(&bytes, framing);
            if how == Transfer::Move {
                from.buffer.consume(n);
            }
            done += n;
            if n < bytes.len() {
                break;
            }
        }
        drop(into);
        self.after_read(from, was_full);
        if done == 0 {
            return Err(Stuck::Target);
        }
        to.queue.wake(Events::READABLE);
        Ok(done)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transfer {
    Move,
    Copy,
}

impl State {
    /// Bytes that certainly fit.
    fn free(&self) -> usize {
        let slots = self
            .buffer
            .slots()
            .saturating_sub(self.buffer.iter().count());
        slots * super::PAGE
    }
}

fn lock_both<'a>(
    a: &'a Arc<Pipe>,
    b: &'a Arc<Pipe>,
) -> (MutexGuard<'a, State>, MutexGuard<'a, State>) {
    if Arc::as_ptr(a) < Arc::as_ptr(b) {
        let first = a.state.lock();
        (first, b.state.lock())
    } else {
        let second = b.state.lock();
        (a.state.lock(), second)
    }
}
