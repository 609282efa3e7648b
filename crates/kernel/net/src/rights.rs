//! Descriptors in flight: what `SCM_RIGHTS` messages hold, and the collection of cycles among them.
//!
//! A unix socket can be queued in its own receive queue, directly or through others; then no
//! descriptor table reaches it and reference counts never fall. As Linux's `unix_gc` does, a socket
//! whose only references are messages in flight is a candidate; candidates that no queue outside
//! the candidates holds are garbage, and their queues are emptied.
//!
//! Why it is sound without stopping the world: a reference is added to or removed from the ledger
//! under its lock, which the collection holds; receivers hold their own reference to a description
//! from before they unlink it from a queue until after it left the ledger; and the counts of what
//! looks like garbage are read again at the end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use base_abi::Errno;
use kernel_vfs::Description;
use parking_lot::Mutex;

use crate::Result;

/// A socket whose queue can hold descriptors.
pub(crate) trait Carrier {
    /// Shows the descriptors in its receive queue.
    fn visit_rights(&self, see: &mut dyn FnMut(&Arc<Description>));

    /// Takes the descriptors out of its receive queue.
    fn take_rights(&self) -> Vec<Rights>;
}

/// The carrier behind a description, if it is one: what is a socket is known above.
pub(crate) type FindCarrier = fn(&Description) -> Option<&dyn Carrier>;

/// All descriptors in flight of one namespace.
pub(crate) struct Ledger {
    limit: usize,
    carrier: FindCarrier,
    state: Mutex<State>,
    /// Descriptions of dropped messages, to be closed where no lock is held and not recursively.
    garbage: Mutex<Vec<Arc<Description>>>,
    collecting: AtomicBool,
    sweep_wanted: AtomicBool,
}

#[derive(Default)]
struct State {
    total: usize,
    /// Unix sockets among them by address of the description.
    sockets: HashMap<usize, Flight>,
}

struct Flight {
    description: Weak<Description>,
    count: usize,
}

/// The descriptors of one queued message.
pub(crate) struct Rights {
    ledger: Arc<Ledger>,
    descriptions: Vec<Arc<Description>>,
}

fn key(description: &Arc<Description>) -> usize {
    Arc::as_ptr(description).addr()
}

impl Ledger {
    pub(crate) fn new(limit: usize, carrier: FindCarrier) -> Arc<Ledger> {
        Arc::new(Ledger {
            limit,
            carrier,
            state: Mutex::default(),
            garbage: Mutex::default(),
            collecting: AtomicBool::new(false),
            sweep_wanted: AtomicBool::new(false),
        })
    }

    /// Puts descriptors in flight. The caller keeps its own references until they are queued.
    pub(crate) fn post(self: &Arc<Ledger>, descriptions: &[Arc<Description>]) -> Result<Rights> {
        let full = |state: &State| state.total.saturating_add(descriptions.len()) > self.limit;
        if full(&self.state.lock()) {
            self.collect();
        }
        let mut state = self.state.lock();
        if full(&state) {
            return Err(Errno::ETOOMANYREFS);
        }
        state.total += descriptions.len();
        for d in descriptions.iter().filter(|d| (self.carrier)(d).is_some()) {
            let flight = state.sockets.entry(key(d)).or_insert_with(|| Flight {
                description: Arc::downgrade(d),
                count: 0,
            });
            flight.count += 1;
        }
        Ok(Rights {
            ledger: Arc::clone(self),
            descriptions: descriptions.to_vec(),
        })
    }

    fn land(&self, descriptions: &[Arc<Description>]) {
        let mut state = self.state.lock();
        state.total -= descriptions.len();
        for d in descriptions {
            if let Some(flight) = state.sockets.get_mut(&key(d)) {
                flight.count -= 1;
                if flight.count == 0 {
                    state.sockets.remove(&key(d));
                }
            }
        }
    }

    /// Closes what dropped messages held. Called with no lock held; nested calls return at once, so
    /// that a chain of sockets queued in one another does not recurse.
    pub(crate) fn drop_garbage(&self) {
        let work = || self.sweep_wanted.load(Ordering::Acquire) || !self.garbage.lock().is_empty();
        while work() {
            if self.collecting.swap(true, Ordering::Acquire) {
                return;
            }
            loop {
                let next = self.garbage.lock().pop();
                let Some(next) = next else { break };
                drop(next);
            }
            if self.sweep_wanted.swap(false, Ordering::AcqRel) {
                self.sweep();
            }
            self.collecting.store(false, Ordering::Release);
        }
    }

    /// Looks for sockets that only their own messages keep alive, because one was closed. Of many
    /// closed in a row one look is enough.
    pub(crate) fn collect(&self) {
        self.sweep_wanted.store(true, Ordering::Release);
        self.drop_garbage();
    }

    fn sweep(&self) {
        let (held, garbage) = {
            let state = self.state.lock();
            if state.sockets.is_empty() {
                return;
            }
            find_garbage(&state, self.carrier)
        };
        drop(garbage);
        drop(held);
    }
}

struct Candidate {
    description: Arc<Description>,
    count: usize,
}

impl Candidate {
    /// Nobody but messages in flight (and this collection) refers to it.
    fn only_in_flight(&self) -> bool {
        Arc::strong_count(&self.description) - 1 <= self.count
    }
}

/// Returns references to drop after unlocking, and the messages of garbage queues.
fn find_garbage(state: &State, carrier: FindCarrier) -> (Vec<Candidate>, Vec<Rights>) {
    let flights = state.sockets.values();
    let all: Vec<Candidate> = flights
        .filter_map(|f| {
            Some(Candidate {
                description: f.description.upgrade()?,
                count: f.count,
            })
        })
        .collect();
    let candidates: Vec<&Candidate> = all.iter().filter(|c| c.only_in_flight()).collect();
    let numbers = candidates.iter().enumerate();
    let index: HashMap<usize, usize> = numbers.map(|(i, c)| (key(&c.description), i)).collect();

    let mut edges: Vec<Vec<usize>> = vec![Vec::new(); candidates.len()];
    let mut inside = vec![0usize; candidates.len()];
    for (from, candidate) in edges.iter_mut().zip(&candidates) {
        if let Some(socket) = carrier(&candidate.description) {
            socket.visit_rights(&mut |child| from.extend(index.get(&key(child))));
        }
        for to in from.iter() {
            if let Some(n) = inside.get_mut(*to) {
                *n += 1;
            }
        }
    }
    let counts = candidates.iter().zip(&inside);
    let mut live: Vec<bool> = counts.map(|(c, inside)| c.count > *inside).collect();
    let marked = live.iter().enumerate().filter(|(_, live)| **live);
    let mut work: Vec<usize> = marked.map(|(i, _)| i).collect();
    while let Some(from) = work.pop() {
        for to in edges.get(from).into_iter().flatten() {
            if let Some(seen) = live.get_mut(*to)
                && !*seen
            {
                *seen = true;
                work.push(*to);
            }
        }
    }
    let dead = candidates.iter().zip(&live).filter(|(_, live)| !**live);
    let dead: Vec<&Candidate> = dead.map(|(c, _)| *c).collect();
    let mut garbage = Vec::new();
    if dead.iter().all(|c| c.only_in_flight()) {
        for socket in dead.iter().filter_map(|c| carrier(&c.description)) {
            garbage.extend(socket.take_rights());
        }
    }
    (all, garbage)
}

impl Rights {
    /// The descriptors, still in flight (`MSG_PEEK`, collection).
    pub(crate) fn descriptions(&self) -> &[Arc<Description>] {
        &self.descriptions
    }

    /// Takes them out of flight. No lock may be held.
    pub(crate) fn receive(mut self) -> Vec<Arc<Description>> {
        let descriptions = std::mem::take(&mut self.descriptions);
        self.ledger.land(&descriptions);
        descriptions
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        if self.descriptions.is_empty() {
            return;
        }
        self.ledger.land(&self.descriptions);
        self.ledger.garbage.lock().append(&mut self.descriptions);
    }
}
