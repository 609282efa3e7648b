//! What is mapped where: the ranges of one address space with their protection and what is behind them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use platform_api::{Protection, Sharing};

use crate::files::Mapped;

/// What is behind an area.
#[derive(Clone, Debug)]
pub(crate) enum Behind {
    Zeros,
    File {
        mapped: Arc<Mapped>,
        /// Of the area's first byte.
        offset: u64,
        sharing: Sharing,
    },
}

/// One area without its start.
#[derive(Clone, Debug)]
pub(crate) struct Area {
    pub(crate) end: u64,
    pub(crate) prot: Protection,
    pub(crate) behind: Behind,
}

impl Area {
    /// What is behind the part that begins `skip` bytes later.
    fn behind_after(&self, skip: u64) -> Behind {
        match &self.behind {
            Behind::Zeros => Behind::Zeros,
            Behind::File {
                mapped,
                offset,
                sharing,
            } => Behind::File {
                mapped: mapped.clone(),
                offset: offset.saturating_add(skip),
                sharing: *sharing,
            },
        }
    }

    /// Whether `next`, which begins where this ends, could be one with it.
    fn continues(&self, start: u64, next: &Area) -> bool {
        let same = match (&self.behind, &next.behind) {
            (Behind::Zeros, Behind::Zeros) => true,
            (
                Behind::File {
                    mapped,
                    offset,
                    sharing,
                },
                Behind::File {
                    mapped: other,
                    offset: at,
                    sharing: how,
                },
            ) => {
                Arc::ptr_eq(mapped, other)
                    && sharing == how
                    && offset.saturating_add(self.end - start) == *at
            }
            _ => false,
        };
        same && self.prot == next.prot
    }
}

/// All areas by their start; none overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Areas(BTreeMap<u64, Area>);

impl Areas {
    /// The area that holds an address, with its start.
    pub(crate) fn at(&self, addr: u64) -> Option<(u64, &Area)> {
        let (start, area) = self.0.range(..=addr).next_back()?;
        (addr < area.end).then_some((*start, area))
    }

    /// Whether something is mapped everywhere in a range.
    pub(crate) fn cover(&self, range: &Range<u64>) -> bool {
        let mut at = range.start;
        while at < range.end {
            match self.at(at) {
                Some((_, area)) => at = area.end,
                None => return false,
            }
        }
        true
    }

    /// Whether nothing is mapped in a range.
    pub(crate) fn free(&self, range: &Range<u64>) -> bool {
        self.at(range.start).is_none() && self.0.range(range.clone()).next().is_none()
    }

    /// Parts of areas in a range, with their starts.
    pub(crate) fn parts(&self, range: &Range<u64>) -> Vec<(u64, Area)> {
        let first = self.at(range.start).map_or(range.start, |(start, _)| start);
        let cut = |(start, area): (&u64, &Area)| {
            let from = (*start).max(range.start);
            let part = Area {
                end: area.end.min(range.end),
                prot: area.prot,
                behind: area.behind_after(from - start),
            };
            (from, part)
        };
        self.0.range(first..range.end).map(cut).collect()
    }

    fn cut(&mut self, at: u64) {
        let Some((start, area)) = self.at(at) else {
            return;
        };
        if start == at {
            return;
        }
        let rest = Area {
            end: area.end,
            prot: area.prot,
            behind: area.behind_after(at - start),
        };
        if let Some(area) = self.0.get_mut(&start) {
            area.end = at;
        }
        self.0.insert(at, rest);
    }

    /// Takes everything in a range out.
    pub(crate) fn take(&mut self, range: &Range<u64>) -> Vec<(u64, Area)> {
        self.cut(range.start);
        self.cut(range.end);
        let starts: Vec<u64> = self
            .0
            .range(range.clone())
            .map(|(start, _)| *start)
            .collect();
        let taken = |start: u64| self.0.remove(&start).map(|area| (start, area));
        starts.into_iter().filter_map(taken).collect()
    }

    /// Puts an area where nothing is, joining it with equal neighbours.
    pub(crate) fn put(&mut self, start: u64, mut area: Area) {
        if let Some(next) = self.0.get(&area.end)
            && area.continues(start, next)
        {
            let next_start = area.end;
            area.end = next.end;
            self.0.remove(&next_start);
        }
        if let Some((before, previous)) = self.0.range_mut(..start).next_back()
            && previous.end == start
            && previous.continues(*before, &area)
        {
            previous.end = area.end;
            return;
        }
        self.0.insert(start, area);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zeros(end: u64, prot: Protection) -> Area {
        Area {
            end,
            prot,
            behind: Behind::Zeros,
        }
    }

    #[test]
    fn areas_are_cut_and_joined() {
        let mut areas = Areas::default();
        areas.put(0x1000, zeros(0x9000, Protection::READ));
        assert!(areas.cover(&(0x1000..0x9000)) && !areas.cover(&(0x1000..0xa000)));
        let middle = areas.take(&(0x3000..0x5000));
        assert_eq!(
            (middle.len(), middle[0].0, middle[0].1.end),
            (1, 0x3000, 0x5000)
        );
        assert!(areas.free(&(0x3000..0x5000)) && !areas.free(&(0x2000..0x4000)));
        assert_eq!(areas.parts(&(0x2000..0x6000)).len(), 2);
        areas.put(0x3000, zeros(0x5000, Protection::READ));
        assert_eq!(areas.0.len(), 1);
        assert!(areas.cover(&(0x1000..0x9000)));
    }
}
