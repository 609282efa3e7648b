//! Pipes in a snapshot: the pipe once, and each end with what it saw when it was opened.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kernel_vfs::save::{
    FileState, LoadError, Loader, ObjectId, Saved, Saver, Unsavable, decode, encode,
};
use kernel_vfs::{Owned, Path};
use serde::{Deserialize, Serialize};

use super::buffer::{BEYOND, PAGE};
use super::{Framing, MAX_CAPACITY, Pipe, PipeEnd};
use crate::budget::Budget;
use crate::fifo::FifoDriver;

#[derive(Serialize, Deserialize)]
struct PipeState {
    ino: u64,
    owned: Owned,
    slots: u32,
    /// Bytes of each page and whether it is a packet.
    pages: Vec<(Vec<u8>, bool)>,
    readers_ever: u64,
    writers_ever: u64,
}

#[derive(Serialize, Deserialize)]
struct EndState {
    pipe: ObjectId,
    readable: bool,
    writable: bool,
    writers_at_open: u64,
    readers_at_open: u64,
}

impl Pipe {
    fn saved(&self) -> PipeState {
        let state = self.state.lock();
        let pages = state.buffer.iter();
        PipeState {
            ino: self.ino,
            owned: self.owner.get(),
            slots: u32::try_from(state.buffer.slots()).unwrap_or(u32::MAX),
            pages: pages
                .map(|(bytes, framing)| (bytes.to_vec(), framing == Framing::Packets))
                .collect(),
            readers_ever: state.readers_ever,
            writers_ever: state.writers_ever,
        }
    }

    fn load(bytes: &[u8], budget: &Budget) -> Result<Arc<Pipe>, LoadError> {
        let saved: PipeState = decode(bytes, "a pipe")?;
        let slots = u64::from(saved.slots);
        if slots * PAGE as u64 > MAX_CAPACITY as u64
            || saved.pages.len() > MAX_CAPACITY / PAGE + BEYOND
        {
            return Err(LoadError::Malformed("size of a pipe"));
        }
        let failed = || LoadError::failed("pipe");
        let owner = [saved.owned.uid, saved.owned.gid];
        let pipe = Pipe::new(budget, saved.ino, owner).map_err(failed())?;
        pipe.owner.restore(saved.owned);
        pipe.set_capacity(slots * PAGE as u64).map_err(failed())?;
        let mut state = pipe.state.lock();
        for (bytes, packet) in saved.pages {
            if bytes.len() > PAGE {
                return Err(LoadError::Malformed("page of a pipe"));
            }
            state.buffer.push_page(bytes, packet);
        }
        state.readers_ever = saved.readers_ever;
        state.writers_ever = saved.writers_ever;
        drop(state);
        Ok(pipe)
    }
}

impl PipeEnd {
    /// Kind of its saved state.
    pub const KIND: &'static str = "pipe";

    pub(super) fn saved(&self, saver: &mut Saver) -> Result<Saved, Unsavable> {
        let pipe = saver.shared(&self.pipe, |_| encode(&self.pipe.saved()))?;
        let state = EndState {
            pipe,
            readable: self.access.readable(),
            writable: self.access.writable(),
            writers_at_open: self.writers_at_open,
            readers_at_open: self.readers_at_open,
        };
        Saved::state(PipeEnd::KIND, &state)
    }

    /// Builds an end, and with the first one the pipe. A fifo is found again by its inode.
    ///
    /// # Errors
    /// What is wrong with the state; no room for another pipe.
    pub fn load(
        state: &FileState,
        place: Option<&Path>,
        loader: &mut Loader,
        budget: &Budget,
        fifos: &FifoDriver,
    ) -> Result<Arc<PipeEnd>, LoadError> {
        use kernel_vfs::AccessMode::{Path as Nothing, Read, ReadWrite, Write};
        let saved: EndState = decode(&state.bytes, "an end of a pipe")?;
        let pipe = loader.shared(saved.pipe, |bytes, _| Pipe::load(bytes, budget))?;
        let access = match (saved.readable, saved.writable) {
            (true, true) => ReadWrite,
            (true, false) => Read,
            (false, true) => Write,
            (false, false) => Nothing,
        };
        let inode = place.map(|place| Arc::clone(place.inode()));
        if let Some(inode) = &inode {
            let id = inode.id().map_err(LoadError::failed("fifo"))?;
            fifos.adopt(id, &pipe);
        }
        let mut counts = pipe.state.lock();
        counts.readers += usize::from(saved.readable);
        counts.writers += usize::from(saved.writable);
        drop(counts);
        Ok(Arc::new(PipeEnd {
            pipe,
            access,
            inode,
            packets: AtomicBool::new(false),
            joined: AtomicBool::new(true),
            writers_at_open: saved.writers_at_open,
            readers_at_open: saved.readers_at_open,
        }))
    }
}
