//! A counter that can be waited on (eventfd(2)).

use std::sync::Arc;

use base_abi::structs::Stat;
use kernel_vfs::save::{FileState, LoadError, Saved, Saver, Unsavable, decode};
use kernel_vfs::{Errno, Events, File, PollTable, Result, WaitQueue};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::anon::anon_stat;

/// The largest count that may be stored; one more would be the overflow mark.
const MAX: u64 = u64::MAX - 1;

/// How a read takes from the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFdMode {
    /// A read takes the whole count.
    Counter,
    /// `EFD_SEMAPHORE`: a read takes one.
    Semaphore,
}

/// An event file.
#[derive(Debug)]
pub struct EventFd {
    mode: EventFdMode,
    count: Mutex<u64>,
    queue: WaitQueue,
    ino: u64,
}

/// What a snapshot keeps.
#[derive(Serialize, Deserialize)]
struct EventFdState {
    ino: u64,
    semaphore: bool,
    count: u64,
}

impl EventFd {
    /// Kind of its saved state.
    pub const KIND: &'static str = "eventfd";

    /// Builds it from saved state.
    ///
    /// # Errors
    /// [`LoadError::Malformed`].
    pub fn load(state: &FileState) -> std::result::Result<Arc<EventFd>, LoadError> {
        let state: EventFdState = decode(&state.bytes, "an event file")?;
        let mode = if state.semaphore {
            EventFdMode::Semaphore
        } else {
            EventFdMode::Counter
        };
        let file = EventFd::new(0, mode, state.ino);
        *file.count.lock() = state.count.min(MAX);
        Ok(file)
    }

    /// A counter that starts at `initial`.
    #[must_use]
    pub fn new(initial: u32, mode: EventFdMode, ino: u64) -> Arc<EventFd> {
        Arc::new(EventFd {
            mode,
            count: Mutex::new(u64::from(initial)),
            queue: WaitQueue::new(),
            ino,
        })
    }
}

impl File for EventFd {
    fn stat(&self) -> Result<Stat> {
        Ok(anon_stat(self.ino))
    }

    fn read_at(&self, _offset: u64, buf: &mut [u8]) -> Result<usize> {
        let out = buf.first_chunk_mut::<8>().ok_or(Errno::EINVAL)?;
        let mut count = self.count.lock();
        if *count == 0 {
            return Err(Errno::EAGAIN);
        }
        let taken = match self.mode {
            EventFdMode::Counter => *count,
            EventFdMode::Semaphore => 1,
        };
        *count -= taken;
        drop(count);
        *out = taken.to_le_bytes();
        self.queue.wake(Events::OUT);
        Ok(8)
    }

    fn write_at(&self, _offset: u64, data: &[u8]) -> Result<usize> {
        let value = u64::from_le_bytes(*data.first_chunk::<8>().ok_or(Errno::EINVAL)?);
        if value > MAX {
            return Err(Errno::EINVAL);
        }
        let mut count = self.count.lock();
        let sum = count.checked_add(value).filter(|sum| *sum <= MAX);
        *count = sum.ok_or(Errno::EAGAIN)?;
        drop(count);
        self.queue.wake(Events::IN);
        Ok(8)
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.queue);
        let count = *self.count.lock();
        let mut ready = Events::empty();
        ready.set(Events::IN, count > 0);
        ready.set(Events::OUT, count < MAX);
        ready
    }

    fn fd_info(&self) -> String {
        let semaphore = u8::from(self.mode == EventFdMode::Semaphore);
        let count = *self.count.lock();
        format!(
            "eventfd-count: {count:16x}\neventfd-id: {}\neventfd-semaphore: {semaphore}\n",
            self.ino
        )
    }

    fn save(&self, _saver: &mut Saver) -> std::result::Result<Saved, Unsavable> {
        Saved::state(
            EventFd::KIND,
            &EventFdState {
                ino: self.ino,
                semaphore: self.mode == EventFdMode::Semaphore,
                count: *self.count.lock(),
            },
        )
    }

    fn anonymous_name(&self) -> String {
        String::from("anon_inode:[eventfd]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::EventfdFlags;

    /// Runs one sequence of operations on ours and on the host's and compares each answer.
    fn compare(initial: u32, mode: EventFdMode, writes: &[Option<u64>]) {
        let ours = EventFd::new(initial, mode, 1);
        let mut flags = EventfdFlags::NONBLOCK;
        flags.set(EventfdFlags::SEMAPHORE, mode == EventFdMode::Semaphore);
        let host = rustix::event::eventfd(initial, flags).unwrap();
        for (step, write) in writes.iter().enumerate() {
            let (mut a, mut b) = ([0u8; 8], [0u8; 8]);
            let (mine, theirs) = match write {
                Some(v) => (
                    ours.write_at(0, &v.to_le_bytes()),
                    rustix::io::write(&host, &v.to_le_bytes()),
                ),
                None => (ours.read_at(0, &mut a), rustix::io::read(&host, &mut b)),
            };
            let theirs = theirs.map_err(|e| Errno::from_raw(e.raw_os_error()));
            assert_eq!((mine, a), (theirs, b), "step {step}");
            let mut fds = [rustix::event::PollFd::new(
                &host,
                rustix::event::PollFlags::all(),
            )];
            rustix::event::poll(&mut fds, Some(&rustix::time::Timespec::default())).unwrap();
            let mine = ours.poll(&mut PollTable::look());
            assert_eq!(
                mine.bits(),
                u32::from(fds[0].revents().bits()),
                "step {step}"
            );
        }
    }

    #[test]
    fn counts_like_linux() {
        compare(
            3,
            EventFdMode::Counter,
            &[
                None,
                None,
                Some(0),
                None,
                Some(5),
                Some(u64::MAX),
                Some(u64::MAX - 6),
                Some(1),
                None,
            ],
        );
    }

    #[test]
    fn counts_like_linux_as_semaphore() {
        compare(
            2,
            EventFdMode::Semaphore,
            &[None, None, None, Some(2), None],
        );
    }

    #[test]
    fn small_buffers_are_invalid() {
        let file = EventFd::new(1, EventFdMode::Counter, 1);
        assert_eq!(file.read_at(0, &mut [0; 7]), Err(Errno::EINVAL));
        assert_eq!(file.write_at(0, &[0; 7]), Err(Errno::EINVAL));
    }
}
