//! The accept queue of a listening TCP socket.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use crate::limits::MAX_BACKLOG;

/// Connections on their way to accept(2).
pub(super) struct Listener<T> {
    backlog: usize,
    /// Established, not yet accepted.
    ready: VecDeque<Arc<T>>,
    /// Asked for while the queue was full; on a wire their SYN would be sent again and again.
    waiting: VecDeque<Waiting<T>>,
}

/// A connection that is not established for want of room.
pub(super) struct Waiting<T> {
    pub(super) client: Weak<T>,
    pub(super) child: Arc<T>,
}

/// Where a connection went.
pub(super) enum Queued {
    /// It is established.
    Ready,
    /// It waits for room.
    Waiting,
    /// Too many wait; it is refused.
    Refused,
}

impl<T> Listener<T> {
    pub(super) fn new(backlog: i32) -> Listener<T> {
        let mut listener = Listener {
            backlog: 0,
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
        };
        listener.set_backlog(backlog);
        listener
    }

    /// listen(2) again: negative is the most.
    pub(super) fn set_backlog(&mut self, backlog: i32) {
        self.backlog = usize::try_from(backlog)
            .unwrap_or(MAX_BACKLOG)
            .min(MAX_BACKLOG);
    }

    /// Established connections.
    pub(super) fn backlog(&self) -> usize {
        self.backlog
    }

    pub(super) fn len(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn push(&mut self, client: Weak<T>, child: Arc<T>) -> Queued {
        // Linux takes one more than the backlog.
        if self.ready.len() <= self.backlog {
            self.ready.push_back(child);
            return Queued::Ready;
        }
        if self.waiting.len() >= MAX_BACKLOG {
            return Queued::Refused;
        }
        self.waiting.push_back(Waiting { client, child });
        Queued::Waiting
    }

    /// The oldest connection, and the one that gets its room.
    pub(super) fn pop(&mut self) -> Option<(Arc<T>, Option<Waiting<T>>)> {
        let accepted = self.ready.pop_front()?;
        Some((accepted, self.waiting.pop_front()))
    }

    /// A connection that waited is established.
    pub(super) fn promote(&mut self, child: Arc<T>) {
        self.ready.push_back(child);
    }

    /// Everything, for closing.
    pub(super) fn drain(self) -> (VecDeque<Arc<T>>, VecDeque<Waiting<T>>) {
        (self.ready, self.waiting)
    }
}
