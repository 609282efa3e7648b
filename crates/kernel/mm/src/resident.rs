//! Figures of the memory that an address space has.

/// Bytes that an address space has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Pages of its own, as the platform counts them.
    pub own: u64,
    /// Private memory: its own pages, and those of its snapshot.
    pub private: u64,
    /// Shared memory that it maps. Which of the pages it has used itself is not known: all that are there count, up to what is mapped.
    pub shared: u64,
}

impl Resident {
    /// All of it.
    #[must_use]
    pub fn all(self) -> u64 {
        self.private.saturating_add(self.shared)
    }
}

/// What of an address space's private memory the platform does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromSnapshot {
    /// The same for all that were copied from one another by fork(2): they have the same pages.
    pub origin: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How many pages over those of a snapshot were counted last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Replaced {
    /// Private bytes, and bytes of the snapshot, at that time.
    pub(crate) at: (u64, u64),
    pub(crate) bytes: u64,
}
