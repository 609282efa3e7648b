//! Pages of an image that guests write at once: what one clone wrote, the next one has copied ahead.

use std::ops::Range;

use base_abi::page::page_aligned;
use platform_api::{MapOp, Protection};

use crate::mm::Mm;

/// Most bytes that are copied ahead in one address space.
const MAX_TOUCHED: u64 = 64 << 20;

impl Mm {
    /// What was written of the pages that came from an image. Nothing may run.
    #[must_use]
    pub fn written_of_image(&self) -> Vec<Range<u64>> {
        let state = self.lock();
        let (Some(first), Some(last)) = state.image.bounds() else {
            return Vec::new();
        };
        let Ok(written) = self.space.written_pages(first..last) else {
            return Vec::new();
        };
        let mut parts: Vec<Range<u64>> = Vec::new();
        for range in written {
            for (start, end) in state.image.within(range.start, range.end) {
                match parts.last_mut() {
                    // Two runs of the image, one of what was written.
                    Some(last) if last.end == start => last.end = end,
                    _ => parts.push(start..end),
                }
            }
        }
        parts
    }

    /// Copies pages of the image ahead. A hint that may be wrong: what is not of the image, or not
    /// writable, is left alone.
    pub fn touch(&self, ranges: &[Range<u64>]) {
        let state = self.lock();
        let mut left = MAX_TOUCHED;
        let mut ops = Vec::with_capacity(ranges.len());
        for range in ranges {
            if !page_aligned(range.start) || !page_aligned(range.end) || range.start >= range.end {
                continue;
            }
            for (start, end) in state.image.within(range.start, range.end) {
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
        if let Err(error) = self.space.apply(&ops) {
            tracing::debug!(%error, "pages were not copied ahead");
        }
    }
}
