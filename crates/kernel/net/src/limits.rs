//! What one network namespace may use, and who has how much of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base_abi::Errno;

use crate::Result;

/// Largest accept queue a listener gets (`net.core.somaxconn`).
pub const MAX_BACKLOG: usize = 4096;

/// Bounds of a network namespace.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes waiting in all socket buffers together; beyond it sending is `ENOBUFS`.
    pub buffer_bytes: usize,
    /// Sockets in all, queued connections included; beyond it making one is `ENFILE`. Not fewer than the
    /// descriptors that a process may have (`RLIMIT_NOFILE`), all of which can be sockets; their memory
    /// counts in the sandbox's limit.
    pub sockets: usize,
    /// Descriptors in flight in `SCM_RIGHTS` messages; beyond it sending is `ETOOMANYREFS`.
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            buffer_bytes: 256 << 20,
            sockets: 64 << 10,
            in_flight: 4096,
        }
    }
}

/// What is used of the limits.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    bytes: AtomicUsize,
    sockets: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Arc<Budget> {
        Arc::new(Budget {
            limits,
            bytes: AtomicUsize::new(0),
            sockets: AtomicUsize::new(0),
        })
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Buffer bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Sockets alive.
    pub(crate) fn sockets(&self) -> usize {
        self.sockets.load(Ordering::Relaxed)
    }

    /// Takes `n` bytes; they are given back with [`give_bytes`](Budget::give_bytes).
    pub(crate) fn take_bytes(&self, n: usize) -> Result<()> {
        take(&self.bytes, n, self.limits.buffer_bytes).ok_or(Errno::ENOBUFS)
    }

    pub(crate) fn give_bytes(&self, n: usize) {
        self.bytes.fetch_sub(n, Ordering::Relaxed);
    }

    /// A place for one more socket, held until dropped.
    pub(crate) fn socket(self: &Arc<Budget>) -> Result<SocketPlace> {
        take(&self.sockets, 1, self.limits.sockets).ok_or(Errno::ENFILE)?;
        Ok(SocketPlace(Arc::clone(self)))
    }
}

fn take(counter: &AtomicUsize, n: usize, limit: usize) -> Option<()> {
    let more = |used: usize| used.checked_add(n).filter(|total| *total <= limit);
    let taken = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    taken.ok().map(drop)
}

/// One socket's share of [`Limits::sockets`].
#[derive(Debug)]
pub(crate) struct SocketPlace(Arc<Budget>);

impl Drop for SocketPlace {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}
