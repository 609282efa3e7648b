//! Pages that clones use at once: what one of them wrote and read, the next ones have in place ahead.

use std::ops::Range;

use base_abi::page::page_aligned;
use platform_api::{MapOp, Protection, Sharing};

use crate::mm::Mm;
use crate::{VmaBacking, VmaFlags};

/// Most bytes that are put in place ahead in one address space, written and read ones each.
const MAX_TOUCHED: u64 = 64 << 20;
/// Runs of read pages that are closer together than this are one: what lies between costs less than another run.
const GAP: u64 = 16 * 4096;

impl Mm {
    /// The pages of files, a snapshot among them, that are in place. Nothing may run.
    #[must_use]
    pub fn read_of_files(&self) -> Vec<Range<u64>> {
        let state = self.lock();
        let Ok(shared) = self.space.shared_pages(0..u64::MAX) else {
            return Vec::new();
        };
        let mut parts: Vec<Range<u64>> = Vec::new();
        for run in shared {
            for vma in state.tree.overlapping(run.start, run.end) {
                if !may_be_read_ahead(vma) {
                    continue;
                }
                let (start, end) = (run.start.max(vma.start), run.end.min(vma.end));
                match parts.last_mut() {
                    Some(last) if last.start >= vma.start && start - last.end <= GAP => {
                        last.end = end;
                    }
                    _ => parts.push(start..end),
                }
            }
        }
        parts
    }

    /// Has pages of files in place ahead. A hint that may be wrong, as for [`Mm::touch`].
    pub fn read_ahead(&self, ranges: &[Range<u64>]) {
        let state = self.lock();
        let mut left = MAX_TOUCHED;
        let mut ops = Vec::with_capacity(ranges.len());
        for range in ranges.iter().filter(|range| is_run(range)) {
            let Some(vma) = state
                .tree
                .at(range.start)
                .filter(|vma| may_be_read_ahead(vma))
            else {
                continue;
            };
            let len = (range.end.min(vma.end) - range.start).min(left);
            left -= len;
            if len > 0 {
                let addr = range.start;
                ops.push(MapOp::Prefault { addr, len });
            }
        }
        self.apply_hint(&ops);
    }

    /// What was written of the pages that came from a snapshot. Nothing may run.
    #[must_use]
    pub fn written_of_snapshot(&self) -> Vec<Range<u64>> {
        let state = self.lock();
        let (Some(first), Some(last)) = state.snapshot.bounds() else {
            return Vec::new();
        };
        let Ok(written) = self.space.written_pages(first..last) else {
            return Vec::new();
        };
        let mut parts: Vec<Range<u64>> = Vec::new();
        for range in written {
            for (start, end) in state.snapshot.within(range.start, range.end) {
                match parts.last_mut() {
                    // Two runs of the snapshot, one of what was written.
                    Some(last) if last.end == start => last.end = end,
                    _ => parts.push(start..end),
                }
            }
        }
        parts
    }

    /// Copies pages of the snapshot ahead. A hint that may be wrong: what is not of the snapshot, or not
    /// writable, is left alone.
    pub fn touch(&self, ranges: &[Range<u64>]) {
        let state = self.lock();
        let mut left = MAX_TOUCHED;
        let mut ops = Vec::with_capacity(ranges.len());
        for range in ranges.iter().filter(|range| is_run(range)) {
            for (start, end) in state.snapshot.within(range.start, range.end) {
                let writable = |vma: &&crate::Vma| vma.prot.contains(Protection::WRITE);
                let Some(vma) = state.tree.at(start).filter(writable) else {
                    continue;
                };
                let len = (end.min(vma.end) - start).min(left);
                left -= len;
                match ops.last_mut() {
                    Some(MapOp::Touch { addr, len: last }) if *addr + *last == start => {
                        *last += len;
                    }
                    _ if len > 0 => ops.push(MapOp::Touch { addr: start, len }),
                    _ => {}
                }
            }
        }
        self.apply_hint(&ops);
    }

    /// The state is locked by the caller. What cannot be done is left out.
    fn apply_hint(&self, mut ops: &[MapOp]) {
        while !ops.is_empty() {
            let Err(error) = self.space.apply(ops) else {
                return;
            };
            tracing::debug!(%error, "pages were not put in place ahead");
            ops = ops.get(error.index + 1..).unwrap_or_default();
        }
    }
}

/// Whether reading pages ahead brings none into being: those of private mappings of files and snapshots have theirs.
fn may_be_read_ahead(vma: &crate::Vma) -> bool {
    let shared = matches!(
        &vma.backing,
        VmaBacking::File {
            sharing: Sharing::Shared,
            ..
        }
    );
    vma.prot.contains(Protection::READ) && !shared && !vma.flags.contains(VmaFlags::SPECIAL)
}

fn is_run(range: &Range<u64>) -> bool {
    page_aligned(range.start) && page_aligned(range.end) && range.start < range.end
}
