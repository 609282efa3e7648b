//! What a snapshot says about address spaces: plain data, and untrusted when it is read.

use serde::{Deserialize, Serialize};

use crate::layout::ExecLayout;

/// A run of pages in a snapshot file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extent {
    /// Where in the address space, or in the shared memory.
    pub(crate) addr: u64,
    pub(crate) len: u64,
    /// Which file: 0 is the snapshot's own, others are those that it lies over.
    pub(crate) snapshot: u32,
    /// Where in the snapshot file.
    pub(crate) at: u64,
}

/// What is behind a mapping.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum BackingState {
    Anonymous,
    /// A file of the guest's, by number of its entry in [`SpaceState::files`].
    File {
        file: u32,
        offset: u64,
        shared: bool,
    },
    /// Pages of the kernel's own, the same in every kernel of this version.
    Special {
        name: String,
        offset: u64,
    },
    /// Shared memory without a name, by number.
    Memory {
        number: u32,
        offset: u64,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct VmaState {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) prot: u32,
    pub(crate) max_prot: u32,
    pub(crate) flags: u32,
    pub(crate) backing: BackingState,
    pub(crate) name: Option<String>,
}

/// A file that is mapped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FileState {
    pub(crate) description: u32,
    pub(crate) name: String,
}

/// Limits in force, in the order of `MmLimits`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LimitsState {
    pub(crate) address_space: u64,
    pub(crate) data: u64,
    pub(crate) stack: u64,
    pub(crate) memlock: u64,
    pub(crate) max_map_count: u64,
}

/// Places that were drawn by lot when the address space was made.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LayoutState {
    pub(crate) stack_top: u64,
    pub(crate) mmap_base: u64,
    pub(crate) pie_base: u64,
    pub(crate) brk_gap: u64,
}

/// One address space.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SpaceState {
    pub(crate) vmas: Vec<VmaState>,
    pub(crate) files: Vec<FileState>,
    pub(crate) extents: Vec<Extent>,
    pub(crate) exe: Option<u32>,
    pub(crate) brk: u64,
    pub(crate) exec: ExecLayout,
    pub(crate) layout: LayoutState,
    pub(crate) limits: LimitsState,
    pub(crate) lock_future: bool,
    /// Bytes of private memory, pages of zeros included.
    pub(crate) resident: u64,
}

/// Shared memory without a name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MemoryState {
    pub(crate) len: u64,
    pub(crate) extents: Vec<Extent>,
}

/// All address spaces of a sandbox.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SavedState {
    pub(crate) spaces: Vec<SpaceState>,
    pub(crate) memories: Vec<MemoryState>,
}
