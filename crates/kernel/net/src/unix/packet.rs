//! One datagram on its way, charged to its sender's buffer until it is received.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kernel_vfs::{Events, WaitQueue};

use crate::limits::Budget;
use crate::rights::Rights;
use crate::{Result, Ucred, UnixName};

/// What a datagram costs beside its bytes.
const OVERHEAD: usize = 512;

/// How many bytes of one sender are still unread (`sk_wmem_alloc`).
pub(super) struct SendAccount {
    /// The sender's number.
    owner: u64,
    unread: AtomicUsize,
    /// The sender's own queue, woken when there is room again.
    queue: WaitQueue,
    budget: Arc<Budget>,
}

impl SendAccount {
    pub(super) fn new(owner: u64, queue: &WaitQueue, budget: &Arc<Budget>) -> Arc<SendAccount> {
        Arc::new(SendAccount {
            owner,
            unread: AtomicUsize::new(0),
            queue: queue.clone(),
            budget: Arc::clone(budget),
        })
    }

    pub(super) fn unread(&self) -> usize {
        self.unread.load(Ordering::Relaxed)
    }
}

/// A datagram's weight on its sender; dropped with no lock held, because it wakes the sender.
pub(super) struct Charge {
    account: Arc<SendAccount>,
    bytes: usize,
}

impl Charge {
    pub(super) fn new(account: &Arc<SendAccount>, data: usize) -> Result<Charge> {
        let bytes = data.saturating_add(OVERHEAD);
        account.budget.take_bytes(bytes)?;
        account.unread.fetch_add(bytes, Ordering::Relaxed);
        Ok(Charge {
            account: Arc::clone(account),
            bytes,
        })
    }
}

impl Charge {
    /// Whose buffer it counts against.
    pub(super) fn owner(&self) -> u64 {
        self.account.owner
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.unread.fetch_sub(self.bytes, Ordering::Relaxed);
        self.account.budget.give_bytes(self.bytes);
        self.account.queue.wake(Events::WRITABLE | Events::WRBAND);
    }
}

/// A queued datagram.
pub(super) struct Packet {
    pub(super) data: Box<[u8]>,
    pub(super) from: UnixName,
    pub(super) credentials: Ucred,
    pub(super) rights: Option<Rights>,
    /// Held until the datagram is received.
    pub(super) charge: Charge,
}
