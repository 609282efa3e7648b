//! Which epoll files watch each other: no loops, at most five deep (epoll_ctl(2), `ELOOP`).

use std::sync::{Arc, Weak};

use kernel_vfs::{Errno, Result};
use parking_lot::{Mutex, MutexGuard};

use super::{Epoll, Shared};

/// Edges allowed on a path, `EP_MAX_NESTS` of Linux.
const MAX_NESTS: usize = 4;

/// Held while an edge is checked and added, so that two threads cannot close a loop together.
static NESTING: Mutex<()> = Mutex::new(());

/// The epoll files that watch this one.
#[derive(Debug, Default)]
pub(super) struct Graph {
    watchers: Mutex<Vec<Weak<Shared>>>,
}

/// Checks that `outer` may watch `inner` and notes the edge; hold the guard until the item is inserted.
pub(super) fn attach(outer: &Arc<Shared>, inner: &Arc<Shared>) -> Result<MutexGuard<'static, ()>> {
    let guard = NESTING.lock();
    let down = depth_below(inner, outer, 0)?;
    let up = depth_above(outer, 0)?;
    if down + up + 1 > MAX_NESTS {
        return Err(Errno::ELOOP);
    }
    let mut watchers = inner.graph.watchers.lock();
    watchers.retain(|w| w.strong_count() > 0);
    watchers.push(Arc::downgrade(outer));
    Ok(guard)
}

fn depth_below(from: &Arc<Shared>, forbidden: &Arc<Shared>, depth: usize) -> Result<usize> {
    if Arc::ptr_eq(from, forbidden) || depth > MAX_NESTS {
        return Err(Errno::ELOOP);
    }
    let items = from.interests.lock().all();
    let mut deepest = 0;
    for target in items.iter().filter_map(|item| item.target()) {
        if let Some(inner) = target.downcast::<Epoll>() {
            deepest = deepest.max(1 + depth_below(&inner.shared, forbidden, depth + 1)?);
        }
    }
    Ok(deepest)
}

fn depth_above(from: &Arc<Shared>, depth: usize) -> Result<usize> {
    if depth > MAX_NESTS {
        return Err(Errno::ELOOP);
    }
    let watchers: Vec<_> = {
        let watchers = from.graph.watchers.lock();
        watchers.iter().filter_map(Weak::upgrade).collect()
    };
    let mut deepest = 0;
    for outer in watchers.iter().filter(|outer| watches(outer, from)) {
        deepest = deepest.max(1 + depth_above(outer, depth + 1)?);
    }
    Ok(deepest)
}

/// Whether an edge noted earlier still is in the interest list.
fn watches(outer: &Arc<Shared>, inner: &Arc<Shared>) -> bool {
    let items = outer.interests.lock().all();
    items.iter().filter_map(|item| item.target()).any(|target| {
        let epoll = target.downcast::<Epoll>();
        epoll.is_some_and(|e| Arc::ptr_eq(&e.shared, inner))
    })
}
