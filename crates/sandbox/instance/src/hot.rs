//! Which pages of a snapshot a clone uses at once: told by the first, in place for those after it.

use std::ops::Range;
use std::sync::{Arc, Weak};

use kernel_mm::Mm;
use proto_sandbox::{HotPages, HotRun, HotUse};

/// The address spaces of a clone, as the snapshot numbers them.
#[derive(Default)]
pub(crate) struct ClonedSpaces(Vec<(u32, Weak<Mm>)>);

impl ClonedSpaces {
    pub(crate) fn add(&mut self, mm: &Arc<Mm>, number: u32) {
        self.0.push((number, Arc::downgrade(mm)));
    }

    /// Has pages in place that will be used at once.
    pub(crate) fn fill(&self, hot: &HotPages) {
        for (number, mm) in &self.0 {
            let Some(mm) = mm.upgrade() else { continue };
            let ranges = |usage| -> Vec<_> {
                let runs = hot.0.iter();
                let mine = runs.filter(|run| run.space == *number && run.usage == usage);
                mine.map(|run| run.addr..run.addr.saturating_add(run.len.into()))
                    .collect()
            };
            // First what each has of its own: the host maps the neighbours of what is read, and would copy them after that.
            mm.touch(&ranges(HotUse::Write));
            mm.read_ahead(&ranges(HotUse::Read));
        }
    }

    /// What was used of the snapshot's and other files' pages by now, while nothing runs.
    pub(crate) fn hot(&self) -> HotPages {
        let mut hot = HotPages::default();
        for (space, mm) in &self.0 {
            let Some(mm) = mm.upgrade() else { continue };
            let mut add = |ranges: Vec<Range<u64>>, usage| {
                hot.0.extend(ranges.iter().map(|range| HotRun {
                    space: *space,
                    addr: range.start,
                    len: u32::try_from(range.end - range.start).unwrap_or(0),
                    usage,
                }));
            };
            // What is written saves most, if not all has room.
            add(mm.written_of_snapshot(), HotUse::Write);
            add(mm.read_of_files(), HotUse::Read);
        }
        hot
    }
}
