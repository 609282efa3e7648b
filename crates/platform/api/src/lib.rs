//! The seam between our kernel and whatever runs guest instructions.
//!
//! The kernel holds all Linux state; a platform holds only what hardware would:
//! address spaces and register files. A platform never interprets a system
//! call, the kernel never learns how one reached it.
//!
//! ```text
//!   Platform ──new_address_space──▶ AddressSpace ──new_context──▶ Context
//!      one per sandbox                 one per guest mm             one per guest thread
//! ```
//!
//! Invariant: nothing here assumes that guest code runs in a host process. Guest
//! memory is made of ranges of host files and of anonymous memory, which a
//! process maps and a virtual machine's page tables map equally well.
//!
//! Invariant: everything a guest can write may lie. Implementations must not
//! let guest memory or guest registers decide anything but guest registers.
#![forbid(unsafe_code)]

mod context;
mod cpu;
mod exits;
mod memory;
pub mod processor;

pub use context::{Context, CpuClock, Event, Fault, FaultKind, Interrupt, Syscall};
pub use cpu::{CpuState, Registers};
pub use exits::{Exit, ExitCounts};
pub use memory::{AddressSpace, ApplyError, Backing, MapOp, Protection, Sharing};
pub use processor::ProcessorFeatures;

use std::sync::Arc;

/// What the platform's address spaces and contexts look like to the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// Lowest address a guest may map.
    pub min_address: u64,
    /// One past the highest address a guest may map. The platform may keep its own pages above.
    pub max_address: u64,
    /// Size in bytes of the XSAVE area in [`CpuState::xstate`] (standard, not compacted, format).
    pub xstate_size: usize,
    /// The XCR0 bits that area covers (Intel SDM vol. 1, chapter 13).
    pub xcr0: u64,
    /// What guests find of the listed features.
    pub processor: ProcessorFeatures,
}

/// What is known of an address space before it is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Contexts that it will have.
    pub contexts: usize,
    /// Those of them that run guest code as soon as they may; the others sleep in system calls.
    pub running: usize,
}

/// Memory of the host that address spaces have, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Pages of their own: no file that others see is behind them.
    pub private: u64,
    /// Page tables.
    pub tables: u64,
}

/// How closely pages are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// Quickly, and never too little: what copies of an address space share counts for each, what was given ahead counts.
    Quick,
    /// Each page once. Takes time for every page.
    Close,
}

/// A way to run guest instructions.
pub trait Platform: Send + Sync + 'static {
    /// Short lower-case name for people: `process`, `kvm`, `script`.
    fn name(&self) -> &'static str;

    /// Constant over the life of the platform.
    fn features(&self) -> Features;

    /// A new, empty address space.
    ///
    /// # Errors
    /// When the host refuses another one.
    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError>;

    /// How often guests were left since the platform was made; zeros where nobody counts.
    fn exits(&self) -> [(Exit, u64); Exit::ALL.len()] {
        ExitCounts::default().so_far()
    }

    /// What all address spaces together have of the host's memory. An estimate that may lag; `None` where nobody
    /// counts but the address spaces themselves.
    fn held(&self, counting: Counting) -> Option<Held> {
        let _ = counting;
        None
    }

    /// The next address spaces that will be asked for, in order: a platform may make them, or whatever their contexts
    /// need, now. What it does not make is made when it is asked for.
    fn prepare(&self, spaces: &[Expected]) {
        let _ = spaces;
    }
}

/// The host refused or the platform broke. Never caused by what a guest contains.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// A host call failed.
    #[error("{what}: {source}")]
    Host {
        /// What was attempted, lower case.
        what: &'static str,
        /// What the host said.
        source: std::io::Error,
    },
    /// The address space's host side is gone (killed, out of memory).
    #[error("the address space is gone")]
    Gone,
}

impl PlatformError {
    /// The nearest Linux error for the guest: `ENOMEM` unless the host said `EAGAIN`.
    #[must_use]
    pub fn errno(&self) -> base_abi::Errno {
        match self {
            PlatformError::Host { source, .. } => match base_abi::Errno::from_io(source) {
                base_abi::Errno::EAGAIN => base_abi::Errno::EAGAIN,
                _ => base_abi::Errno::ENOMEM,
            },
            PlatformError::Gone => base_abi::Errno::ENOMEM,
        }
    }
}
