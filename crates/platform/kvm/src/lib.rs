//! Guest instructions in ring 3 of a virtual machine.
//!
//! ```text
//!   this process                                  the machine (one per sandbox)
//!   ┌────────────────────────────┐                ┌────────────────────────────────────────────┐
//!   │ Context::run, on the       │ registers,     │ vCPU ─ ring 3: the guest's instructions     │
//!   │ guest thread's host thread │ KVM_RUN        │      └ ring 0: `stub`, a hlt for each way   │
//!   │   vCPUs are kept between   ├───────────────▶│        in and one iretq                     │
//!   │   runs, and multiplexed    │◀───────────────┤                                             │
//!   │                            │ halt           │ CR3: page tables of one address space       │
//!   │ AddressSpace::apply        │ words of page  │      (`tables`), written by us alone        │
//!   │   areas, page tables       ├───────────────▶│                                             │
//!   │                            │ zapped pages   │ guest-physical memory (`layout`): frames    │
//!   └────────────────────────────┘                │ of the guests' own, windows on files        │
//!                                                 └────────────────────────────────────────────┘
//! ```
//!
//! Everything the machine can reach is in one reservation of host addresses (`guest_memory`): **frames**, pages that belong to guests, counted by
//! how many address spaces have them; and **windows on files**, which show the host's page cache, so that what no
//! guest wrote of a snapshot or a library is shared by all sandboxes. Page tables name pages of both; they are filled when the guest
//! faults, with what lies around. Copying on write, forks and dirty pages are the entries' matter (`state`), never the host's.
//!
//! A right that is taken away is gone when the call returns, in every vCPU and on every kind of machine: the entry is
//! changed, and then the *page* is dropped from the host's view of that memory, which makes the host forget each translation that
//! ends in it. It does not count on the processor seeing our writes to page tables, since machines with shadow paging do not.
//! docs/adr/0004-kvm-memory.md says why.
//!
//! What comes out of the machine: registers that the host saved, and the frame that the processor pushed on a page which
//! ring 3 cannot reach. Guest memory decides nothing.
//!
//! Needs KVM with `KVM_CAP_SYNC_REGS` and four-level page tables; nothing of it depends on the maker of the processor.

mod address_space;
mod ahead;
mod areas;
mod context;
mod cost;
mod cpuid;
mod entry;
mod error;
mod faults;
mod files;
mod frames;
mod guest_memory;
mod holder;
mod interrupt;
mod layout;
mod machine;
mod page_access;
mod platform;
mod pool;
mod registers;
mod slots;
mod space;
mod state;
mod streams;
mod stub;
mod tables;
mod vcpu;
mod visit;
mod vm;

pub use cost::exit_cost;
pub use platform::{KvmPlatform, open};
