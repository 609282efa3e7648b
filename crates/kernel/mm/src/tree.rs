//! The ordered set of mappings, with running totals.

use std::collections::BTreeMap;
use std::ops::Bound;

use platform_api::Protection;

use crate::vma::{Vma, VmaFlags};

/// Sums over all mappings, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Mapped in all (`VmSize`).
    pub mapped: u64,
    /// Private writable (`VmData`, `RLIMIT_DATA`).
    pub data: u64,
    /// Stacks (`VmStk`).
    pub stack: u64,
    /// Executable file mappings (`VmExe` and `VmLib` together).
    pub exec: u64,
    /// Locked (`VmLck`).
    pub locked: u64,
    /// Charged to the commit budget.
    pub accounted: u64,
}

impl Totals {
    fn apply(&mut self, vma: &Vma, f: impl Fn(u64, u64) -> u64) {
        let len = vma.len();
        let on = |what: &mut u64, yes: bool| {
            if yes {
                *what = f(*what, len);
            }
        };
        on(&mut self.mapped, true);
        on(&mut self.data, vma.is_data());
        on(&mut self.stack, vma.flags.contains(VmaFlags::STACK));
        let text = vma.prot.contains(Protection::EXEC) && vma.file().is_some();
        on(&mut self.exec, text);
        on(&mut self.locked, vma.flags.contains(VmaFlags::LOCKED));
        on(&mut self.accounted, vma.flags.contains(VmaFlags::ACCOUNTED));
    }
}

/// Mappings by start address; never overlapping, neighbours that could be one are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct VmaTree {
    by_start: BTreeMap<u64, Vma>,
    totals: Totals,
}

impl VmaTree {
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    pub(crate) fn count(&self) -> usize {
        self.by_start.len()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Vma> {
        self.by_start.values()
    }

    /// The mapping that holds `addr`.
    pub(crate) fn at(&self, addr: u64) -> Option<&Vma> {
        self.last_before(addr).filter(|v| addr < v.end)
    }

    /// The last mapping that starts at or below `addr`.
    pub(crate) fn last_before(&self, addr: u64) -> Option<&Vma> {
        self.by_start.range(..=addr).next_back().map(|(_, v)| v)
    }

    /// Mappings that share a byte with the range, in order.
    pub(crate) fn overlapping(
        &self,
        start: u64,
        end: u64,
    ) -> impl DoubleEndedIterator<Item = &Vma> {
        let first = self.at(start).map_or(start, |v| v.start);
        self.by_start.range(first..end.max(first)).map(|(_, v)| v)
    }

    /// Whether nothing is mapped in the range.
    pub(crate) fn free(&self, start: u64, end: u64) -> bool {
        self.overlapping(start, end).next().is_none()
    }

    /// How far from `start` the range is mapped without a hole, at most to `end`.
    pub(crate) fn covered_to(&self, start: u64, end: u64) -> u64 {
        let mut at = start;
        for vma in self.overlapping(start, end) {
            if vma.start > at {
                break;
            }
            at = vma.end.min(end);
        }
        at
    }

    /// Takes the range out and returns what was there, cut to the range.
    pub(crate) fn remove(&mut self, start: u64, end: u64) -> Vec<Vma> {
        let keys: Vec<u64> = self.overlapping(start, end).map(|v| v.start).collect();
        let mut taken = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(vma) = self.take(key) else { continue };
            if vma.start < start {
                self.put(vma.part(vma.start, start));
            }
            if vma.end > end {
                self.put(vma.part(end, vma.end));
            }
            taken.push(vma.part(vma.start.max(start), vma.end.min(end)));
        }
        taken
    }

    /// Puts a mapping where nothing is and joins it with its neighbours.
    pub(crate) fn insert(&mut self, mut vma: Vma) {
        if vma.is_empty() {
            return;
        }
        if let Some(before) = vma.start.checked_sub(1).and_then(|b| self.at(b))
            && before.joins(&vma)
        {
            let key = before.start;
            if let Some(before) = self.take(key) {
                vma = Vma {
                    end: vma.end,
                    ..before
                };
            }
        }
        if let Some(after) = self.by_start.get(&vma.end)
            && vma.joins(after)
        {
            let key = after.start;
            if let Some(after) = self.take(key) {
                vma.end = after.end;
            }
        }
        self.put(vma);
    }

    /// Replaces every mapping in the range by what `change` makes of it.
    pub(crate) fn update(&mut self, start: u64, end: u64, change: impl Fn(&mut Vma)) {
        for mut vma in self.remove(start, end) {
            change(&mut vma);
            self.insert(vma);
        }
    }

    /// How many mappings there will be more after cutting at both ends of the range.
    pub(crate) fn cuts(&self, start: u64, end: u64) -> usize {
        let cut = |at: u64| self.at(at).is_some_and(|v| v.start != at);
        usize::from(cut(start)) + usize::from(cut(end))
    }

    /// The highest free range of `len` bytes that ends at or below `high` and starts at or above `low`.
    pub(crate) fn gap_below(&self, low: u64, high: u64, len: u64) -> Option<u64> {
        let mut top = high;
        let below = self
            .by_start
            .range((Bound::Unbounded, Bound::Excluded(high)));
        for (_, vma) in below.rev() {
            if let Some(start) = fit(vma.end.max(low), top, len) {
                return Some(start);
            }
            top = top.min(vma.start);
            if top <= low {
                return None;
            }
        }
        fit(low, top, len)
    }

    /// The lowest free range of `len` bytes within `low..high`.
    pub(crate) fn gap_above(&self, low: u64, high: u64, len: u64) -> Option<u64> {
        let mut bottom = self.at(low).map_or(low, |v| v.end);
        for (_, vma) in self.by_start.range(bottom..high.max(bottom)) {
            if fit(bottom, vma.start, len).is_some() {
                return Some(bottom);
            }
            bottom = vma.end;
        }
        fit(bottom, high, len).map(|_| bottom)
    }

    fn take(&mut self, key: u64) -> Option<Vma> {
        let vma = self.by_start.remove(&key)?;
        self.totals.apply(&vma, u64::saturating_sub);
        Some(vma)
    }

    fn put(&mut self, vma: Vma) {
        self.totals.apply(&vma, u64::saturating_add);
        self.by_start.insert(vma.start, vma);
    }
}

/// The start of the last `len` bytes of `low..high`.
fn fit(low: u64, high: u64, len: u64) -> Option<u64> {
    high.checked_sub(len).filter(|&start| start >= low)
}
