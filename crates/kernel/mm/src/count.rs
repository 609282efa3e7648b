//! What an address space has of memory: its own pages, those of a snapshot that nobody has replaced, those that it shares.
//!
//! Pages of a snapshot are a mapping of its file to the host, which tells of them only when they are used. To the guest
//! they are its memory as before, so they count, and each that is written counts as the copy that it is from then on. How many there
//! were is written down by the capture; how many were replaced is asked of the platform when its own pages have become more
//! or fewer by a [`step`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;

use host_sys::memory_file;
use platform_api::Protection;

use crate::mm::{Mm, State};
use crate::resident::{FromSnapshot, Replaced, Resident};
use crate::vma::{Vma, VmaBacking, VmaFlags};

/// Change of the private pages after which those over so much of a snapshot are counted again: more for larger ones, which take longer.
fn step(stored: u64) -> u64 {
    const LEAST: u64 = 256 << 10;
    LEAST.max(stored / 64)
}

impl Mm {
    /// What it has now, and the most that it ever had as far as somebody looked.
    #[must_use]
    pub fn resident(&self) -> (Resident, u64) {
        let state = self.lock();
        let own = self.space.resident_bytes();
        let resident = Resident {
            own,
            private: own.saturating_add(self.seen(&state, own)),
            shared: shared(&state),
        };
        drop(state);
        let all = resident.all();
        let highest = self.highest.fetch_max(all, Ordering::Relaxed).max(all);
        (resident, highest)
    }

    /// Private memory with the pages of its snapshot.
    pub(crate) fn private(&self, state: &State) -> u64 {
        let own = self.space.resident_bytes();
        own.saturating_add(self.seen(state, own))
    }

    /// What is still to be seen of the snapshot that it came from; nothing for one that came from none. Counts the pages
    /// over it again if `own`, what the platform says of its private pages, has changed much.
    #[must_use]
    pub fn from_snapshot(&self) -> Option<FromSnapshot> {
        let state = self.lock();
        let origin = state.snapshot.origin();
        if origin == 0 {
            return None;
        }
        let bytes = self.seen(&state, self.space.resident_bytes());
        Some(FromSnapshot { origin, bytes })
    }

    /// Bytes of the snapshot's pages that are still there. Pages of zeros are not in the file: they count until other pages of the
    /// guest's own have taken their place.
    fn seen(&self, state: &State, own: u64) -> u64 {
        let stored = state.snapshot.bytes();
        if stored == 0 && state.zeros == 0 {
            return 0;
        }
        let replaced = self.replaced(state, own).min(stored).min(own);
        let zeros = state.zeros.saturating_sub(own - replaced);
        stored - replaced + zeros
    }

    fn replaced(&self, state: &State, own: u64) -> u64 {
        let stored = state.snapshot.bytes();
        let last = *self.replaced.lock();
        if last.at.1 == stored && last.at.0.abs_diff(own) < step(stored) {
            return last.bytes;
        }
        let runs = state.snapshot.within(0, u64::MAX);
        let runs: Vec<Range<u64>> = runs.map(|(start, end)| start..end).collect();
        let bytes = self.space.private_within(&runs).unwrap_or_else(|error| {
            tracing::debug!(%error, "pages over a snapshot were not counted");
            last.bytes
        });
        let at = (own, stored);
        *self.replaced.lock() = Replaced { at, bytes };
        bytes
    }
}

/// Pages of shared memory that are mapped, each file's once.
fn shared(state: &State) -> u64 {
    let mut files = BTreeMap::new();
    for vma in state.tree.iter() {
        if let Some((identity, held)) = shared_file(vma) {
            files.entry(identity).or_insert((0u64, held)).0 += vma.len();
        }
    }
    files.into_values().fold(0, |sum, (mapped, held)| {
        sum.saturating_add(mapped.min(held()))
    })
}

/// Pages that are there behind a mapping, if it is one of shared memory.
pub(crate) fn shared_bytes(vma: &Vma) -> Option<u64> {
    shared_file(vma).map(|(_, held)| held().min(vma.len()))
}

/// The identity of the memory file behind a shared mapping, and what asks how much it has.
fn shared_file(vma: &Vma) -> Option<((u64, u64), impl Fn() -> u64)> {
    let VmaBacking::File { file, .. } = &vma.backing else {
        return None;
    };
    let writable = vma.max_prot.contains(Protection::WRITE);
    if !vma.shared() || vma.flags.contains(VmaFlags::SPECIAL) || !writable {
        return None;
    }
    Some((file.identity, || memory_file::held_bytes(&file.host)))
}
