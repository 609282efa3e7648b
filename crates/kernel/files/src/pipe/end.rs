//! One end of a pipe as a file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base_abi::structs::Stat;
use kernel_vfs::{
    AccessMode, Errno, Events, File, Inode, PollTable, Result, SetAttr, StatusFlags, UserMemory,
};

use super::{Framing, Pipe};

/// An end of a pipe; both ends at once for a fifo opened `O_RDWR`.
pub struct PipeEnd {
    pub(super) pipe: Arc<Pipe>,
    pub(super) access: AccessMode,
    pub(super) inode: Option<Arc<dyn Inode>>,
    pub(super) packets: AtomicBool,
    pub(super) joined: AtomicBool,
    /// Writers that had come when this end was opened: a reader sees no `POLLHUP` before the first writer.
    pub(super) writers_at_open: u64,
    pub(super) readers_at_open: u64,
}

impl PipeEnd {
    /// Adds an end to the pipe; for a fifo, `inode` is where it lives.
    #[must_use]
    pub(super) fn join(
        pipe: &Arc<Pipe>,
        access: AccessMode,
        inode: Option<Arc<dyn Inode>>,
    ) -> Arc<PipeEnd> {
        let mut state = pipe.state.lock();
        // The unnamed pipe's reader must see a hang-up although its writer comes after it.
        let writers_at_open = if inode.is_some() {
            state.writers_ever
        } else {
            0
        };
        let readers_at_open = state.readers_ever;
        if access.readable() {
            state.readers += 1;
            state.readers_ever += 1;
        }
        if access.writable() {
            state.writers += 1;
            state.writers_ever += 1;
        }
        drop(state);
        pipe.queue.wake(Events::READABLE | Events::WRITABLE);
        Arc::new(PipeEnd {
            pipe: Arc::clone(pipe),
            access,
            inode,
            packets: AtomicBool::new(false),
            joined: AtomicBool::new(true),
            writers_at_open,
            readers_at_open,
        })
    }

    /// The pipe it is an end of.
    #[must_use]
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    fn framing(&self) -> Framing {
        if self.packets.load(Ordering::Relaxed) {
            Framing::Packets
        } else {
            Framing::Stream
        }
    }

    fn leave(&self) {
        if !self.joined.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut state = self.pipe.state.lock();
        if self.access.readable() {
            state.readers -= 1;
        }
        if self.access.writable() {
            state.writers -= 1;
        }
        let gone = state.readers == 0 || state.writers == 0;
        if state.readers == 0 && state.writers == 0 {
            // What a fifo held is lost with its last end (fifo(7)).
            while let Some(n) = state.buffer.front().map(<[u8]>::len) {
                state.buffer.consume(n);
            }
        }
        drop(state);
        if gone {
            let events = Events::READABLE | Events::WRITABLE | Events::ALWAYS;
            self.pipe.queue.wake(events);
        }
    }
}

impl File for PipeEnd {
    fn inode(&self) -> Option<&Arc<dyn Inode>> {
        self.inode.as_ref()
    }

    fn stat(&self) -> Result<Stat> {
        match &self.inode {
            Some(inode) => inode.attr().map(|a| a.to_stat()),
            None => Ok(self.pipe.stat()),
        }
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        self.pipe.owner.change(change);
        Ok(())
    }

    fn read_at(&self, _offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.pipe.read(buf)
    }

    fn put_back(&self, rest: &[u8]) {
        self.pipe.put_back(rest);
    }

    fn write_at(&self, _offset: u64, data: &[u8]) -> Result<usize> {
        self.pipe.write(data, self.framing())
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.pipe.queue);
        let state = self.pipe.state.lock();
        let mut ready = Events::empty();
        if self.access.readable() {
            ready.set(Events::READABLE, !state.buffer.is_empty());
            let came_and_went = state.writers == 0 && state.writers_ever != self.writers_at_open;
            ready.set(Events::HUP, came_and_went);
        }
        if self.access.writable() {
            ready.set(Events::WRITABLE, !state.buffer.is_full());
            ready.set(Events::ERR, state.readers == 0);
        }
        ready
    }

    fn ioctl(&self, memory: &dyn UserMemory, request: u32, arg: u64) -> Result<u64> {
        if request != base_abi::ioctl::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes = i32::try_from(self.pipe.len()).unwrap_or(i32::MAX);
        memory.write_bytes(arg, &bytes.to_le_bytes())?;
        Ok(0)
    }

    fn sync(&self) -> Result<()> {
        Err(Errno::EINVAL)
    }

    fn flags_changed(&self, flags: StatusFlags) {
        let packets = flags.contains(StatusFlags::DIRECT);
        self.packets.store(packets, Ordering::Relaxed);
    }

    fn release(&self) {
        self.leave();
    }

    fn reopen(&self, flags: u32) -> Result<Arc<dyn File>> {
        let access = AccessMode::from_flags(flags);
        Ok(PipeEnd::join(&self.pipe, access, self.inode.clone()))
    }

    fn save(
        &self,
        saver: &mut kernel_vfs::save::Saver,
    ) -> std::result::Result<kernel_vfs::save::Saved, kernel_vfs::save::Unsavable> {
        self.saved(saver)
    }

    fn anonymous_name(&self) -> String {
        format!("pipe:[{}]", self.pipe.ino)
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.leave();
    }
}

impl std::fmt::Debug for PipeEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PipeEnd({:?}, {:?})", self.pipe.ino, self.access)
    }
}
