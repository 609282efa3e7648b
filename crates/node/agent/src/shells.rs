//! Sandboxes made ahead of the events that will need them: their guests are loaded, have the pages that clones use at
//! once, and have not run.
//!
//! A shell knows which snapshot it is for: its jail lets it see that function's files and no others.
//! Taking one has another made in the background, a moment later, so that it does not take the
//! processor from the event. The functions that were started last have theirs; there is a limit to all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use node_sandboxes::{SandboxProcess, Sandboxes};
use node_snapshots::{Opened, SnapshotKey};
use parking_lot::Mutex;
use proto_node::Revision;
use proto_sandbox::StartSpec;
use tokio::sync::Semaphore;

use crate::restore;

/// Most shells of all functions; each has about two megabytes to itself.
const LIMIT: usize = 32;
/// Most shells of one function.
const EACH: usize = 8;
/// One in so many shells has no pages in place ahead: what clones use at once may have changed.
const LEARN_EVERY: u64 = 256;
/// How long the event that took a shell has the processor to itself.
const LATER: Duration = Duration::from_millis(5);
/// Starts closer together than this want a shell more, those farther apart than [`FAR`] one less.
const NEAR: Duration = Duration::from_millis(200);
const FAR: Duration = Duration::from_secs(10);

/// How many shells a function should have, from how its starts follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Between 1 and [`EACH`].
    pub(crate) wanted: usize,
    /// Time of the last start, since some fixed moment.
    last: Duration,
}

impl Demand {
    /// The first start, or the first snapshot.
    pub(crate) fn first(now: Duration) -> Demand {
        Demand {
            wanted: 1,
            last: now,
        }
    }

    /// One more start.
    pub(crate) fn another(self, now: Duration) -> Demand {
        let since = now.saturating_sub(self.last);
        let wanted = if since < NEAR {
            (self.wanted + 1).min(EACH)
        } else if since > FAR {
            (self.wanted / 2).max(1)
        } else {
            self.wanted
        };
        Demand { wanted, last: now }
    }
}

/// The shells of one snapshot.
struct Shelf {
    /// The checked files that the shells hold. A snapshot of the same name may be made anew when this one was found
    /// to be damaged: its shells are of no use then.
    snapshot: Opened,
    ready: VecDeque<SandboxProcess>,
    demand: Demand,
    /// Being made.
    coming: usize,
    /// That were made, of this snapshot.
    made: u64,
}

#[derive(Default)]
struct State {
    shelves: BTreeMap<SnapshotKey, Shelf>,
    closed: bool,
}

/// All shells of this machine.
pub(crate) struct Shells {
    sandboxes: Arc<Sandboxes>,
    state: Mutex<State>,
    /// One is made at a time.
    making: Semaphore,
    began: tokio::time::Instant,
}

impl Shells {
    pub(crate) fn new(sandboxes: Arc<Sandboxes>) -> Arc<Shells> {
        Arc::new(Shells {
            sandboxes,
            state: Mutex::default(),
            making: Semaphore::new(1),
            began: tokio::time::Instant::now(),
        })
    }

    /// A shell for this snapshot if there is one; more are made in the background.
    pub(crate) fn take(
        self: &Arc<Self>,
        key: &SnapshotKey,
        spec: &StartSpec,
        snapshot: &Opened,
    ) -> Option<SandboxProcess> {
        let (taken, outdated) = {
            let mut state = self.state.lock();
            let now = self.began.elapsed();
            let (shelf, outdated) = state.shelf(key, snapshot, now);
            shelf.demand = shelf.demand.another(now);
            (shelf.ready.pop_front(), outdated)
        };
        drop(outdated);
        self.refill(key, spec, snapshot);
        taken
    }

    /// Has shells made until there are as many as wanted.
    pub(crate) fn refill(self: &Arc<Self>, key: &SnapshotKey, spec: &StartSpec, snapshot: &Opened) {
        let (missing, outdated) = {
            let mut state = self.state.lock();
            if state.closed {
                return;
            }
            let now = self.began.elapsed();
            let (shelf, outdated) = state.shelf(key, snapshot, now);
            let have = shelf.ready.len() + shelf.coming;
            let missing = shelf.demand.wanted.saturating_sub(have);
            shelf.coming += missing;
            (missing, outdated)
        };
        drop(outdated);
        if missing == 0 {
            return;
        }
        let (shells, key) = (Arc::clone(self), key.clone());
        let (spec, snapshot) = (spec.clone(), snapshot.clone());
        tokio::spawn(async move {
            tokio::time::sleep(LATER).await;
            for _ in 0..missing {
                shells.make(&key, &spec, &snapshot).await;
            }
        });
    }

    async fn make(&self, key: &SnapshotKey, spec: &StartSpec, snapshot: &Opened) {
        let Ok(_turn) = self.making.acquire().await else {
            return;
        };
        let hot = self.hot_pages(key, snapshot);
        let made = restore::shell(&self.sandboxes, spec, snapshot, &hot).await;
        // Dropped without the lock: ending a process takes a while.
        let mut dropped = Vec::new();
        let mut state = self.state.lock();
        let closed = state.closed;
        let Some(shelf) = state.shelves.get_mut(key) else {
            dropped.extend(made.ok());
            return;
        };
        if !same(&shelf.snapshot, snapshot) {
            // Of a snapshot that was replaced meanwhile.
            dropped.extend(made.ok());
            return;
        }
        shelf.coming = shelf.coming.saturating_sub(1);
        match made {
            Ok(shell) if !closed => {
                tracing::debug!(%key, pid = shell.pid(), "a shell waits");
                shelf.ready.push_back(shell);
                dropped.extend(state.over_the_limit());
            }
            Ok(shell) => dropped.push(shell),
            // The start that needs it will find out, and act on it.
            Err(refusal) => tracing::debug!(%refusal, "no shell was made"),
        }
        drop(state);
    }

    /// What the next shell has in place: once in a while nothing, so that its clone tells anew.
    fn hot_pages(&self, key: &SnapshotKey, snapshot: &Opened) -> Arc<[u8]> {
        let mut state = self.state.lock();
        let anew = state.shelves.get_mut(key).is_some_and(|shelf| {
            shelf.made += 1;
            shelf.made.is_multiple_of(LEARN_EVERY)
        });
        match anew {
            true => Arc::default(),
            false => Arc::clone(&snapshot.hot),
        }
    }

    /// The snapshot is no more.
    pub(crate) fn forget(&self, key: &SnapshotKey) {
        let gone = self.state.lock().shelves.remove(key);
        drop(gone);
    }

    /// No instance of this revision will be made any more.
    pub(crate) fn forget_revision(&self, revision: &Revision) {
        let mut gone = Vec::new();
        self.state.lock().shelves.retain(|_, shelf| {
            let stays = shelf.snapshot.manifest.parts.subject != revision.0;
            if !stays {
                gone.extend(shelf.ready.drain(..));
            }
            stays
        });
        drop(gone);
    }

    /// No more shells; those there are end.
    pub(crate) fn close(&self) {
        let gone = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.shelves)
        };
        drop(gone);
    }
}

/// Whether both are the same files, checked at the same time.
fn same(one: &Opened, other: &Opened) -> bool {
    let pairs = one.files.iter().zip(&other.files);
    one.files.len() == other.files.len() && pairs.into_iter().all(|(a, b)| Arc::ptr_eq(a, b))
}

impl State {
    /// The shelf for this snapshot, and what stood there for another of the same name, to be dropped without the lock.
    fn shelf(
        &mut self,
        key: &SnapshotKey,
        snapshot: &Opened,
        now: Duration,
    ) -> (&mut Shelf, VecDeque<SandboxProcess>) {
        let shelf = self.shelves.entry(key.clone()).or_insert_with(|| Shelf {
            snapshot: snapshot.clone(),
            ready: VecDeque::new(),
            demand: Demand::first(now),
            coming: 0,
            made: 0,
        });
        let mut outdated = VecDeque::new();
        if !same(&shelf.snapshot, snapshot) {
            shelf.snapshot = snapshot.clone();
            shelf.coming = 0;
            shelf.made = 0;
            outdated = std::mem::take(&mut shelf.ready);
        }
        (shelf, outdated)
    }

    /// Takes out what is too much, of the functions whose last start is longest ago.
    fn over_the_limit(&mut self) -> Vec<SandboxProcess> {
        let mut out = Vec::new();
        loop {
            let all: usize = self.shelves.values().map(|shelf| shelf.ready.len()).sum();
            if all <= LIMIT {
                break;
            }
            let full = self.shelves.values_mut().filter(|s| !s.ready.is_empty());
            let Some(oldest) = full.min_by_key(|shelf| shelf.demand.last) else {
                break;
            };
            out.extend(oldest.ready.pop_front());
        }
        self.shelves
            .retain(|_, shelf| shelf.coming > 0 || !shelf.ready.is_empty());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_follows_how_close_starts_are() {
        let at = Duration::from_millis;
        let mut demand = Demand::first(at(0));
        assert_eq!(demand.wanted, 1);
        for n in 1..20 {
            demand = demand.another(at(n * 10));
        }
        assert_eq!(demand.wanted, EACH);
        demand = demand.another(at(1_000));
        assert_eq!(demand.wanted, EACH);
        for n in 1..10 {
            demand = demand.another(at(1_000 + n * 20_000));
        }
        assert_eq!(demand.wanted, 1);
    }
}
