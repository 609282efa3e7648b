//! The pipes behind fifos in the file tree (fifo(7)), as the driver that open(2) asks.
//!
//! An open that has to wait for the other side answers `EAGAIN` and stays joined for the calling
//! thread until it asks again: the caller registers with [`FifoDriver::poll`] and repeats the open.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::thread::ThreadId;

use kernel_vfs::{AccessMode, Driver, Errno, File, Inode, InodeId, PollTable, Result};
use parking_lot::Mutex;

use crate::anon::AnonInodes;
use crate::budget::Budget;
use crate::pipe::{FifoOpening, Pipe};

struct Waiting {
    inode: InodeId,
    access: AccessMode,
    opening: FifoOpening,
}

#[derive(Default)]
struct State {
    pipes: HashMap<InodeId, Weak<Pipe>>,
    /// One open at a time per thread; each guest thread has a host thread of its own.
    waiting: HashMap<ThreadId, Waiting>,
}

/// The fifos of a sandbox.
pub struct FifoDriver {
    pages: Budget,
    inodes: AnonInodes,
    state: Mutex<State>,
}

impl FifoDriver {
    /// Fifos whose pipes are charged to `pages`.
    #[must_use]
    pub fn new(pages: &Budget, inodes: &AnonInodes) -> Arc<FifoDriver> {
        Arc::new(FifoDriver {
            pages: pages.clone(),
            inodes: inodes.clone(),
            state: Mutex::default(),
        })
    }

    /// Registers for what the calling thread's open waits for; true when it need not wait any more.
    #[must_use]
    pub fn poll(&self, table: &mut PollTable) -> bool {
        let state = self.state.lock();
        let waiting = state.waiting.get(&std::thread::current().id());
        waiting.is_none_or(|waiting| waiting.opening.poll(table))
    }

    /// Forgets the calling thread's open: it was interrupted.
    pub fn abandon(&self) {
        let gone = self
            .state
            .lock()
            .waiting
            .remove(&std::thread::current().id());
        drop(gone);
    }

    /// A restored pipe is the one behind this fifo.
    pub(crate) fn adopt(&self, id: InodeId, pipe: &Arc<Pipe>) {
        self.state.lock().pipes.insert(id, Arc::downgrade(pipe));
    }

    fn pipe(&self, id: InodeId) -> Result<Arc<Pipe>> {
        let mut state = self.state.lock();
        if let Some(pipe) = state.pipes.get(&id).and_then(Weak::upgrade) {
            return Ok(pipe);
        }
        state.pipes.retain(|_, pipe| pipe.strong_count() > 0);
        let pipe = Pipe::new(&self.pages, self.inodes.next(), [0; 2])?;
        state.pipes.insert(id, Arc::downgrade(&pipe));
        Ok(pipe)
    }
}

impl Driver for FifoDriver {
    fn open(&self, inode: &Arc<dyn Inode>, flags: u32) -> Result<Arc<dyn File>> {
        let thread = std::thread::current().id();
        let (id, access) = (inode.id()?, AccessMode::from_flags(flags));
        let earlier = self.state.lock().waiting.remove(&thread);
        let opening = match earlier {
            Some(w) if w.inode == id && w.access == access => w.opening,
            other => {
                drop(other);
                let nonblocking = flags & base_abi::general::O_NONBLOCK != 0;
                let pipe = self.pipe(id)?;
                FifoOpening::begin(&pipe, Arc::clone(inode), access, nonblocking)?
            }
        };
        if let Some(end) = opening.finish() {
            return Ok(end);
        }
        let waiting = Waiting {
            inode: id,
            access,
            opening,
        };
        self.state.lock().waiting.insert(thread, waiting);
        Err(Errno::EAGAIN)
    }
}

#[cfg(test)]
mod tests {
    use base_abi::general::{O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY};
    use kernel_vfs::{Attr, Events, FileSystem, FileType};

    use super::*;
    use crate::testing::Counter;

    struct Node;

    impl Inode for Node {
        fn fs(&self) -> Arc<dyn FileSystem> {
            crate::pty::DevPts::new(
                1,
                1,
                Arc::new(crate::pty::NoJobs),
                crate::testing::FakeClock::new(0),
            )
        }

        fn attr(&self) -> Result<Attr> {
            let mode = FileType::Fifo.mode_bits() | 0o600;
            Ok(Attr {
                dev: 1,
                ino: 7,
                mode,
                ..Attr::default()
            })
        }

        fn open(self: Arc<Self>, _flags: u32) -> Result<Arc<dyn File>> {
            Err(Errno::ENXIO)
        }
    }

    fn setup() -> (Arc<FifoDriver>, Arc<dyn Inode>) {
        let driver = FifoDriver::new(&Budget::new(64), &AnonInodes::new());
        (driver, Arc::new(Node))
    }

    #[test]
    fn a_reader_waits_for_a_writer() {
        let (fifos, node) = setup();
        assert_eq!(fifos.open(&node, O_RDONLY).err(), Some(Errno::EAGAIN));
        let waiter = Counter::new();
        let mut table = PollTable::waiting(waiter.clone(), Events::all());
        assert!(!fifos.poll(&mut table));
        let _kept = table.into_registrations();
        assert_eq!(fifos.open(&node, O_RDONLY).err(), Some(Errno::EAGAIN));
        let other = (Arc::clone(&fifos), Arc::clone(&node));
        let writer = std::thread::spawn(move || other.0.open(&other.1, O_WRONLY).unwrap());
        let writer = writer.join().unwrap();
        assert!(waiter.count() > 0);
        let reader = fifos.open(&node, O_RDONLY).unwrap();
        writer.write_at(0, b"x").unwrap();
        assert_eq!(reader.read_at(0, &mut [0; 4]), Ok(1));
        drop(writer);
        assert_eq!(reader.read_at(0, &mut [0; 4]), Ok(0));
    }

    #[test]
    fn opens_that_do_not_wait() {
        let (fifos, node) = setup();
        let refused = fifos.open(&node, O_WRONLY | O_NONBLOCK).err();
        assert_eq!(refused, Some(Errno::ENXIO));
        let reader = fifos.open(&node, O_RDONLY | O_NONBLOCK).unwrap();
        assert_eq!(reader.poll(&mut PollTable::look()), Events::empty());
        assert_eq!(reader.read_at(0, &mut [0; 4]), Ok(0));
        let writer = fifos.open(&node, O_WRONLY | O_NONBLOCK).unwrap();
        drop(writer);
        assert_eq!(reader.poll(&mut PollTable::look()), Events::HUP);
        let both = fifos.open(&node, O_RDWR).unwrap();
        both.write_at(0, b"abc").unwrap();
        assert_eq!(both.read_at(0, &mut [0; 4]), Ok(3));
    }

    #[test]
    fn an_abandoned_open_does_not_count() {
        let (fifos, node) = setup();
        assert_eq!(fifos.open(&node, O_RDONLY).err(), Some(Errno::EAGAIN));
        fifos.abandon();
        let refused = fifos.open(&node, O_WRONLY | O_NONBLOCK).err();
        assert_eq!(refused, Some(Errno::ENXIO));
    }
}
