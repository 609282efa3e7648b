//! Readiness: who waits on what, and how they are told.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

bitflags::bitflags! {
    /// Readiness with the bit values of poll(2) and epoll(7).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Events: u32 {
        /// `POLLIN`: reading will not block.
        const IN = 0x001;
        /// `POLLPRI`.
        const PRI = 0x002;
        /// `POLLOUT`: writing will not block.
        const OUT = 0x004;
        /// `POLLERR`; always reported.
        const ERR = 0x008;
        /// `POLLHUP`; always reported.
        const HUP = 0x010;
        /// `POLLNVAL`.
        const NVAL = 0x020;
        /// `POLLRDNORM`.
        const RDNORM = 0x040;
        /// `POLLRDBAND`.
        const RDBAND = 0x080;
        /// `POLLWRNORM`.
        const WRNORM = 0x100;
        /// `POLLWRBAND`.
        const WRBAND = 0x200;
        /// `POLLRDHUP`: the peer shut down its writing half.
        const RDHUP = 0x2000;
    }
}

impl Events {
    /// Readable in every sense a plain reader asks for.
    pub const READABLE: Events = Events::IN.union(Events::RDNORM);
    /// Writable in every sense a plain writer asks for.
    pub const WRITABLE: Events = Events::OUT.union(Events::WRNORM);
    /// Reported whether asked for or not.
    pub const ALWAYS: Events = Events::ERR.union(Events::HUP);
}

/// Told when a queue it registered with is woken. Must be quick and must not take
/// locks that are held while waking (see the lock order of the crate).
pub trait Notify: Send + Sync {
    /// Something of interest happened; the events are a hint, look again.
    fn notify(&self, events: Events);
}

struct Entry {
    id: u64,
    interest: Events,
    target: Weak<dyn Notify>,
}

#[derive(Default)]
struct Queue {
    next_id: u64,
    entries: Vec<Entry>,
}

/// The list of those who wait for one condition. Cheap to clone: clones share the list.
#[derive(Clone, Default)]
pub struct WaitQueue(Arc<Mutex<Queue>>);

impl WaitQueue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> WaitQueue {
        WaitQueue::default()
    }

    /// Adds a waiter until the registration is dropped. Register first, look at the condition afterwards.
    #[must_use]
    pub fn register(&self, target: &Arc<dyn Notify>, interest: Events) -> Registration {
        let mut queue = self.0.lock();
        let id = queue.next_id;
        queue.next_id += 1;
        queue.entries.push(Entry {
            id,
            interest: interest | Events::ALWAYS,
            target: Arc::downgrade(target),
        });
        Registration {
            queue: Arc::downgrade(&self.0),
            id,
        }
    }

    /// Tells everyone interested in any of the events.
    pub fn wake(&self, events: Events) {
        for target in self.matching(events) {
            target.notify(events);
        }
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.lock().entries.is_empty()
    }

    fn matching(&self, events: Events) -> Vec<Arc<dyn Notify>> {
        let queue = self.0.lock();
        let hit = queue
            .entries
            .iter()
            .filter(|e| e.interest.intersects(events));
        hit.filter_map(|e| e.target.upgrade()).collect()
    }
}

impl std::fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WaitQueue({} waiting)", self.0.lock().entries.len())
    }
}

/// One waiter's place in one queue; leaving is dropping.
#[derive(Debug)]
pub struct Registration {
    queue: Weak<Mutex<Queue>>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.upgrade() {
            queue.lock().entries.retain(|e| e.id != self.id);
        }
    }
}

/// What a call of [`File::poll`](crate::File::poll) may register with: nothing for a look,
/// or a waiter that collects its registrations here.
#[derive(Default)]
pub struct PollTable {
    target: Option<Arc<dyn Notify>>,
    interest: Events,
    registrations: Vec<Registration>,
}

impl PollTable {
    /// Only looks; registers nothing.
    #[must_use]
    pub fn look() -> PollTable {
        PollTable::default()
    }

    /// Registers `target` with each queue that a polled file names.
    #[must_use]
    pub fn waiting(target: Arc<dyn Notify>, interest: Events) -> PollTable {
        PollTable {
            target: Some(target),
            interest,
            registrations: Vec::new(),
        }
    }

    /// Called by implementations of `poll`, before they look at their state.
    pub fn add(&mut self, queue: &WaitQueue) {
        if let Some(target) = &self.target {
            self.registrations
                .push(queue.register(target, self.interest));
        }
    }

    /// Sets the interest for the files polled from now on (`poll(2)` over many descriptors).
    pub fn set_interest(&mut self, interest: Events) {
        self.interest = interest;
    }

    /// The registrations made so far; dropping them stops the notifications.
    #[must_use]
    pub fn into_registrations(self) -> Vec<Registration> {
        self.registrations
    }
}
