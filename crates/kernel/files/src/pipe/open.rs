//! Opening a fifo, which waits for the other side (fifo(7)), without blocking.
//!
//! `Joined -> (partner comes) -> Open`. While joined, the end counts, so that the
//! two sides find each other; dropping the opening leaves again.

use std::sync::Arc;

use kernel_vfs::{AccessMode, Errno, Inode, PollTable, Result};

use super::{Pipe, PipeEnd};

/// An open(2) of a fifo under way.
#[derive(Debug)]
pub struct FifoOpening {
    end: Arc<PipeEnd>,
    access: AccessMode,
    waits: Waits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Never,
    ForPartner,
}

impl FifoOpening {
    /// Joins the pipe of the fifo `inode`. With `nonblocking`, nothing is waited for.
    ///
    /// # Errors
    /// `ENXIO` for a non-blocking `O_WRONLY` without a reader, `EINVAL` for `O_PATH`.
    pub fn begin(
        pipe: &Arc<Pipe>,
        inode: Arc<dyn Inode>,
        access: AccessMode,
        nonblocking: bool,
    ) -> Result<FifoOpening> {
        let (readers, writers) = {
            let state = pipe.state.lock();
            (state.readers, state.writers)
        };
        let alone = match access {
            AccessMode::Read => writers == 0,
            AccessMode::Write if nonblocking && readers == 0 => return Err(Errno::ENXIO),
            AccessMode::Write => readers == 0,
            AccessMode::ReadWrite => false,
            AccessMode::Path => return Err(Errno::EINVAL),
        };
        let waits = if alone && !nonblocking {
            Waits::ForPartner
        } else {
            Waits::Never
        };
        Ok(FifoOpening {
            end: PipeEnd::join(pipe, access, Some(inode)),
            access,
            waits,
        })
    }

    /// The open end, or nothing while the partner has not come.
    #[must_use]
    pub fn finish(&self) -> Option<Arc<PipeEnd>> {
        self.arrived().then(|| Arc::clone(&self.end))
    }

    /// Registers for the partner's coming; true when it has come.
    pub fn poll(&self, table: &mut PollTable) -> bool {
        table.add(&self.end.pipe.queue);
        self.arrived()
    }

    fn arrived(&self) -> bool {
        let state = self.end.pipe.state.lock();
        match (self.waits, self.access) {
            (Waits::Never, _) => true,
            (Waits::ForPartner, AccessMode::Read) => {
                state.writers > 0 || state.writers_ever != self.end.writers_at_open
            }
            (Waits::ForPartner, _) => {
                state.readers > 0 || state.readers_ever != self.end.readers_at_open
            }
        }
    }
}
