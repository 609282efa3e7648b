//! Counting the memory of all guests, for the [account](crate::account).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kernel_mm::Mm;
use platform_api::{Counting, Held};

use crate::System;
use crate::account::{Count, Look, MemoryUse};

/// Looks after which pages are counted closely again whatever has changed: copies that are written stop being shared.
const LOOKS: u32 = 64;
/// Change of private memory that makes a close count out of date where one is asked for.
const STALE: u64 = 256 << 10;
/// The same where an estimate will do, at least; larger sandboxes allow more.
const DRIFT: u64 = 4 << 20;

impl System {
    /// What guests have now.
    pub fn memory_use(&self, look: Look) -> MemoryUse {
        let spaces = self.spaces();
        let held = self.held(&spaces, Counting::Quick);
        let (snapshot, shared) = (of_snapshots(&spaces), self.memory.shared.held_bytes());
        let files = self.memory.files();
        let rest = snapshot.saturating_add(shared).saturating_add(files.unpaid);
        let private = self.private(&spaces, held.private, rest, look);
        let host = private.saturating_add(held.tables).saturating_add(shared);
        let found = MemoryUse {
            guest: private.saturating_add(rest),
            private: private.saturating_add(snapshot),
            host: host.saturating_add(files.held),
            quota: files.paid,
        };
        self.memory
            .highest
            .fetch_max(found.guest, Ordering::Relaxed);
        found
    }

    /// Private pages by the last close count, or by a new one where that is called for.
    fn private(&self, spaces: &[Arc<Mm>], quick: u64, rest: u64, look: Look) -> u64 {
        let mut last = self.memory.last.lock();
        let limit = self.kernel.config.memory;
        let estimate = quick.saturating_sub(last.over);
        let drift = match look {
            Look::Passing => DRIFT.max(limit / 32),
            Look::Closely => STALE,
        };
        last.looks += 1;
        let known = last.quick.abs_diff(quick) < drift && last.looks < LOOKS;
        if known && estimate.saturating_add(rest) <= limit {
            return estimate;
        }
        let close = self.held(spaces, Counting::Close).private;
        // Frames that were given ahead are nobody's yet: an address space does not count them as its own.
        let used = spaces.iter().map(|mm| mm.resident().0.own).sum();
        let close = close.min(used).min(quick);
        *last = Count {
            quick,
            over: quick - close,
            looks: 0,
        };
        close
    }

    fn held(&self, spaces: &[Arc<Mm>], counting: Counting) -> Held {
        self.kernel.platform.held(counting).unwrap_or_else(|| Held {
            private: spaces.iter().map(|mm| mm.space().resident_bytes()).sum(),
            tables: 0,
        })
    }

    /// Every address space once.
    fn spaces(&self) -> Vec<Arc<Mm>> {
        let tasks: Vec<_> = self.kernel.tree.lock().tasks().cloned().collect();
        let spaces = tasks.iter().map(|task| task.mm());
        let spaces: BTreeMap<u64, Arc<Mm>> = spaces.map(|mm| (mm.id(), mm)).collect();
        spaces.into_values().collect()
    }
}

/// Bytes of snapshots that guests still see; copies of an address space see the same.
fn of_snapshots(spaces: &[Arc<Mm>]) -> u64 {
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    for from in spaces.iter().filter_map(|mm| mm.from_snapshot()) {
        let most = seen.entry(from.origin).or_insert(0);
        *most = from.bytes.max(*most);
    }
    seen.into_values().fold(0, u64::saturating_add)
}
