//! Frames: pages that belong to guests, counted by how many address spaces have them.

use parking_lot::Mutex;

use crate::layout::{FRAMES, FRAMES_LEN, PAGE};

/// The frame that is all zeros and stays so.
pub(crate) const ZERO_FRAME: u64 = FRAMES;

#[derive(Debug, Default)]
struct Pool {
    /// How many address spaces refer to each frame; its length is the first frame that was never used.
    references: Vec<u32>,
    free: Vec<u32>,
}

/// All frames of a machine. Lock order: after an address space, alone otherwise.
#[derive(Debug)]
pub(crate) struct Frames(Mutex<Pool>);

fn index(gpa: u64) -> usize {
    ((gpa - FRAMES) / PAGE) as usize
}

impl Frames {
    pub(crate) fn new() -> Frames {
        Frames(Mutex::new(Pool {
            references: vec![1],
            free: Vec::new(),
        }))
    }

    /// So many frames of zeros with one reference, or as many as there are.
    pub(crate) fn take(&self, wanted: u64) -> Vec<u64> {
        let mut pool = self.0.lock();
        let mut taken = Vec::with_capacity(wanted.min(FRAMES_LEN / PAGE) as usize);
        while (taken.len() as u64) < wanted {
            let frame = match pool.free.pop() {
                Some(frame) => frame as usize,
                None => {
                    if pool.references.len() as u64 >= FRAMES_LEN / PAGE {
                        break;
                    }
                    pool.references.push(0);
                    pool.references.len() - 1
                }
            };
            if let Some(count) = pool.references.get_mut(frame) {
                *count = 1;
            }
            taken.push(FRAMES + frame as u64 * PAGE);
        }
        taken
    }

    /// Bytes of frames that address spaces have.
    pub(crate) fn held_bytes(&self) -> u64 {
        let pool = self.0.lock();
        (pool.references.len() as u64)
            .saturating_sub(1)
            .saturating_sub(pool.free.len() as u64)
            * PAGE
    }

    /// Whether one address space alone has the frame.
    pub(crate) fn is_alone(&self, gpa: u64) -> bool {
        self.0.lock().references.get(index(gpa)) == Some(&1)
    }

    /// Another address space has these frames too.
    pub(crate) fn share(&self, frames: &[u64]) {
        let mut pool = self.0.lock();
        for gpa in frames {
            if let Some(count) = pool.references.get_mut(index(*gpa)) {
                *count += 1;
            }
        }
    }

    /// Gives references up; returns the frames that nobody has any more. They are
    /// [`reuse`](Frames::reuse)d once they are zeros again.
    pub(crate) fn release(&self, frames: &[u64]) -> Vec<u64> {
        let mut pool = self.0.lock();
        let mut last = |gpa: &u64| {
            let count = pool.references.get_mut(index(*gpa));
            count.is_some_and(|count| {
                *count = count.saturating_sub(1);
                *count == 0
            })
        };
        frames.iter().copied().filter(|gpa| last(gpa)).collect()
    }

    /// Takes back frames that are zeros.
    pub(crate) fn reuse(&self, frames: &[u64]) {
        let mut pool = self.0.lock();
        pool.free
            .extend(frames.iter().rev().map(|gpa| index(*gpa) as u32));
    }
}

/// Joins pages to runs; sorts them.
pub(crate) fn runs(pages: &mut Vec<u64>) -> Vec<std::ops::Range<u64>> {
    pages.sort_unstable();
    pages.dedup();
    let mut runs: Vec<std::ops::Range<u64>> = Vec::new();
    for page in pages {
        match runs.last_mut() {
            Some(run) if run.end == *page => run.end += PAGE,
            _ => runs.push(*page..*page + PAGE),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_and_none_is_lost() {
        let frames = Frames::new();
        // One is that of zeros.
        let all = frames.take(u64::MAX);
        assert_eq!(all.len() as u64, FRAMES_LEN / PAGE - 1);
        assert!(frames.take(1).is_empty());
        frames.share(&all[..1]);
        assert_eq!(frames.release(&all[..3]), all[1..3]);
        frames.reuse(&all[1..3]);
        assert_eq!(frames.take(512), all[1..3]);
        assert_eq!(frames.held_bytes(), FRAMES_LEN - PAGE);
        assert_eq!(frames.release(&all[..1]), all[..1]);
        frames.reuse(&all[..1]);
        assert_eq!(frames.held_bytes(), FRAMES_LEN - 2 * PAGE);
    }
}
