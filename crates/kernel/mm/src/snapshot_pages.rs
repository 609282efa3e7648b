//! Private memory whose pages came from a snapshot: the platform has a range of the snapshot mapped there,
//! not what the mapping itself has behind it.
//!
//! To the guest such memory is what it was before the snapshot. So a change that would show what is
//! behind a page (a discard) maps the mapping's own backing again, and a move is made in the pieces that
//! the platform has. Everything else takes ranges out of the set as it replaces them.

use std::collections::BTreeMap;
use std::fs::File as HostFile;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use platform_api::MapOp;

use crate::tree::VmaTree;
use crate::vma::Vma;

/// Ranges that are mapped from snapshots, by start; neighbours stay apart, as the platform has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct SnapshotPages {
    ranges: BTreeMap<u64, Place>,
    snapshots: Arc<[Arc<HostFile>]>,
    /// Bytes of all ranges.
    bytes: u64,
    /// The address space that was loaded with them; copies of it have the same pages.
    origin: u64,
}

/// Where a range ends, and where its first byte lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    end: u64,
    /// Number of the snapshot.
    snapshot: u32,
    /// Where in the snapshot.
    at: u64,
}

/// A range with the pages that the platform has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotRun {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Number of the snapshot, as [`SnapshotPages::snapshot`] wants it.
    pub(crate) snapshot: u32,
    /// Where in the snapshot `start` is.
    pub(crate) at: u64,
}

impl SnapshotRun {
    /// The part of it from `start` to `end`, which lie inside.
    pub(crate) fn cut(self, start: u64, end: u64) -> SnapshotRun {
        SnapshotRun {
            start,
            end,
            at: self.at + (start - self.start),
            ..self
        }
    }
}

/// A batch of changes in the platform's terms.
pub(crate) struct Plan {
    pub(crate) ops: Vec<MapOp>,
    pub(crate) ranges: SnapshotPages,
    /// What is in doubt when the platform refuses in the middle.
    pub(crate) doubtful: Vec<(u64, u64)>,
}

impl SnapshotPages {
    /// No range yet of these snapshots.
    pub(crate) fn of(snapshots: &[Arc<HostFile>]) -> SnapshotPages {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        SnapshotPages {
            ranges: BTreeMap::new(),
            snapshots: snapshots.into(),
            bytes: 0,
            origin: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Bytes of all ranges.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A number that address spaces have in common which were copied from one another; 0 for those of no snapshot.
    pub(crate) fn origin(&self) -> u64 {
        self.origin
    }

    /// A snapshot by number.
    pub(crate) fn snapshot(&self, number: u32) -> Option<&Arc<HostFile>> {
        self.snapshots.get(usize::try_from(number).ok()?)
    }

    /// Adds a run that overlaps none.
    pub(crate) fn insert(&mut self, run: SnapshotRun) {
        let place = Place {
            end: run.end,
            snapshot: run.snapshot,
            at: run.at,
        };
        self.bytes += run.end - run.start;
        self.ranges.insert(run.start, place);
    }

    /// Ranges that share a byte with `start..end`, cut to it, in order.
    pub(crate) fn within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
        self.runs(start, end).map(|run| (run.start, run.end))
    }

    /// The same with the pages that are there.
    pub(crate) fn runs(&self, start: u64, end: u64) -> impl Iterator<Item = SnapshotRun> {
        let before = self
            .ranges
            .range(..start)
            .next_back()
            .filter(|(_, place)| place.end > start);
        before
            .into_iter()
            .chain(self.ranges.range(start..end.max(start)))
            .map(move |(from, place)| {
                let run = SnapshotRun {
                    start: *from,
                    end: place.end,
                    snapshot: place.snapshot,
                    at: place.at,
                };
                run.cut((*from).max(start), place.end.min(end))
            })
    }

    /// From the first byte of the first to behind the last.
    pub(crate) fn bounds(&self) -> (Option<u64>, Option<u64>) {
        let first = self.ranges.first_key_value().map(|(start, _)| *start);
        (
            first,
            self.ranges.last_key_value().map(|(_, place)| place.end),
        )
    }

    /// Takes `start..end` out.
    pub(crate) fn remove(&mut self, start: u64, end: u64) {
        if self.ranges.is_empty() || start >= end {
            return;
        }
        let before = self.ranges.range(..start).next_back();
        let before = before.filter(|(_, place)| place.end > start);
        let before = before.map(|(from, _)| *from);
        let inside = self.ranges.range(start..end).map(|(from, _)| *from);
        let keys: Vec<u64> = before.into_iter().chain(inside).collect();
        for from in keys {
            let Some(place) = self.ranges.remove(&from) else {
                continue;
            };
            self.bytes -= place.end - from;
            let whole = SnapshotRun {
                start: from,
                end: place.end,
                snapshot: place.snapshot,
                at: place.at,
            };
            if from < start {
                self.insert(whole.cut(from, start));
            }
            if whole.end > end {
                self.insert(whole.cut(end, whole.end));
            }
        }
    }

    /// What a batch becomes; none when no snapshot is concerned.
    pub(crate) fn plan(&self, tree: &VmaTree, ops: &[MapOp]) -> Option<Plan> {
        if self.ranges.is_empty() || !ops.iter().any(|op| self.concerns(op)) {
            return None;
        }
        let mut plan = Plan {
            ops: Vec::with_capacity(ops.len()),
            ranges: self.clone(),
            doubtful: Vec::new(),
        };
        for op in ops {
            plan.add(tree, op);
        }
        Some(plan)
    }

    fn concerns(&self, op: &MapOp) -> bool {
        let touches = |start: u64, len: u64| self.within(start, start + len).next().is_some();
        match op {
            MapOp::Protect { .. } | MapOp::Touch { .. } | MapOp::Prefault { .. } => false,
            MapOp::Map { addr, len, .. }
            | MapOp::Unmap { addr, len }
            | MapOp::Discard { addr, len } => touches(*addr, *len),
            MapOp::Move {
                from,
                old_len,
                to,
                new_len,
            } => touches(*from, *old_len) || touches(*to, *new_len),
        }
    }
}

impl Plan {
    fn add(&mut self, tree: &VmaTree, op: &MapOp) {
        match op {
            MapOp::Protect { .. } | MapOp::Touch { .. } | MapOp::Prefault { .. } => {
                self.ops.push(op.clone());
            }
            MapOp::Map { addr, len, .. } | MapOp::Unmap { addr, len } => {
                self.ranges.remove(*addr, addr + len);
                self.ops.push(op.clone());
            }
            MapOp::Discard { addr, len } => self.discard(tree, *addr, addr + len),
            MapOp::Move {
                from,
                old_len,
                to,
                new_len,
            } => self.relocate(tree, (*from, *old_len), (*to, *new_len)),
        }
    }

    fn discard(&mut self, tree: &VmaTree, start: u64, end: u64) {
        let mut at = start;
        let snapshots: Vec<_> = self.ranges.within(start, end).collect();
        for (from, to) in snapshots {
            self.drop_pages(at, from);
            for vma in tree.overlapping(from, to) {
                let part = vma.part(vma.start.max(from), vma.end.min(to));
                self.ops.push(part.map_op());
            }
            at = to;
        }
        self.drop_pages(at, end);
        self.ranges.remove(start, end);
    }

    fn drop_pages(&mut self, start: u64, end: u64) {
        if start < end {
            self.ops.push(MapOp::Discard {
                addr: start,
                len: end - start,
            });
        }
    }

    /// Piece by piece: the platform moves only what it has as one.
    fn relocate(&mut self, tree: &VmaTree, (from, old): (u64, u64), (to, new): (u64, u64)) {
        let snapshots: Vec<_> = self.ranges.runs(from, from + old).collect();
        self.ranges.remove(to, to + new);
        if snapshots.is_empty() {
            self.ops.push(MapOp::Move {
                from,
                old_len: old,
                to,
                new_len: new,
            });
            return;
        }
        self.ranges.remove(from, from + old);
        self.doubtful.extend([(from, from + old), (to, to + new)]);
        let mut at = from;
        for run in snapshots {
            self.piece(from, to, at, run.start);
            self.piece(from, to, run.start, run.end);
            self.ranges.insert(SnapshotRun {
                start: to + (run.start - from),
                end: to + (run.end - from),
                ..run
            });
            at = run.end;
        }
        self.piece(from, to, at, from + old);
        if let Some(vma) = tree.at(from).filter(|_| new > old) {
            let moved = vma.part(from, from + old);
            let tail = Vma {
                start: to + old,
                end: to + new,
                backing: moved.backing.advanced(old),
                ..moved
            };
            self.ops.push(tail.map_op());
        }
    }

    fn piece(&mut self, from: u64, to: u64, start: u64, end: u64) {
        if start < end {
            self.ops.push(MapOp::Move {
                from: start,
                old_len: end - start,
                to: to + (start - from),
                new_len: end - start,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SnapshotPages, SnapshotRun};

    #[test]
    fn ranges_are_cut() {
        let mut ranges = SnapshotPages::default();
        let mut insert = |start: u64, end: u64, snapshot: u32| {
            let at = 1000 * u64::from(snapshot) + start;
            ranges.insert(SnapshotRun {
                start,
                end,
                snapshot,
                at,
            });
        };
        insert(10, 20, 0);
        insert(20, 30, 1);
        insert(40, 50, 0);
        let all = |r: &SnapshotPages| r.within(0, 100).collect::<Vec<_>>();
        assert_eq!(
            ranges.within(15, 45).collect::<Vec<_>>(),
            [(15, 20), (20, 30), (40, 45)]
        );
        ranges.remove(12, 14);
        assert_eq!(all(&ranges), [(10, 12), (14, 20), (20, 30), (40, 50)]);
        ranges.remove(18, 42);
        assert_eq!(all(&ranges), [(10, 12), (14, 18), (42, 50)]);
        ranges.remove(15, 15);
        ranges.remove(15, 16);
        assert_eq!(
            all(&ranges),
            [(10, 12), (14, 15), (16, 18), (42, 50)],
            "a hole in one range"
        );
        for run in ranges.runs(0, 100) {
            assert_eq!(run.at, run.start, "what is left lies where it lay");
        }
        ranges.remove(0, 100);
        assert_eq!(all(&ranges), []);
    }

    /// Pages one by one: what holds each.
    type Model = std::collections::BTreeMap<u64, (u32, u64)>;

    fn told(ranges: &SnapshotPages) -> Model {
        let page = |run: SnapshotRun| {
            let one = move |at: u64| (at, (run.snapshot, run.at + (at - run.start)));
            (run.start..run.end).map(one)
        };
        ranges.runs(0, 100).flat_map(page).collect()
    }

    proptest::proptest! {
        #[test]
        fn ranges_are_what_their_pages_are(
            steps in proptest::collection::vec((proptest::bool::ANY, 0u64..60, 1u64..20, 0u32..3), 1..40),
        ) {
            let (mut ranges, mut model) = (SnapshotPages::default(), Model::new());
            for (adds, start, len, snapshot) in steps {
                let end = start + len;
                ranges.remove(start, end);
                model.retain(|at, _| !(start..end).contains(at));
                if adds {
                    let at = 1000 * u64::from(snapshot) + start;
                    ranges.insert(SnapshotRun { start, end, snapshot, at });
                    model.extend((start..end).map(|page| (page, (snapshot, at + (page - start)))));
                }
                proptest::prop_assert_eq!(told(&ranges), model.clone());
                let bounds = (model.keys().next().copied(), model.keys().last().map(|last| last + 1));
                proptest::prop_assert_eq!(ranges.bounds(), bounds);
            }
        }
    }
}
