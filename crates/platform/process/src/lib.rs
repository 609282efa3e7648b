//! Guest instructions in stub processes.
//!
//! ```text
//!   this process                                    a stub process (one per address space)
//!   ┌──────────────────────────┐                    ┌───────────────────────────────────────┐
//!   │ owner thread (one per    │ answer + receive   │ guest thread: every system call is    │
//!   │ guest thread)            ├───────────────────▶│ suspended by its own seccomp listener │
//!   │   Context::run           │ ptrace: registers, │ faults stop it for its owner          │
//!   │                          │ faults             │                                       │
//!   │ any thread               │ commands + answer  │ mapper: a few mapping calls, read     │
//!   │   AddressSpace::apply    ├───────────────────▶│ from a page it cannot write           │
//!   │                          │                    │                                       │
//!   │ tracer thread            │ ptrace             │ spawner: stopped, its registers hold  │
//!   │   forks, clones, reaps   ├───────────────────▶│ one call at a time                    │
//!   └──────────────────────────┘                    └───────────────────────────────────────┘
//! ```
//!
//! What a stub tells us comes in registers that the host kernel saved, never from memory that guest code
//! can write. A stub has no files but those it maps, no privileges, and an empty view of the host.

mod arena;
mod blob;
mod context;
mod fault;
mod filters;
mod interrupt;
mod layout;
mod mapper;
mod platform;
mod registers;
mod shared;
mod space;
mod spawn;
mod stub;
mod stub_threads;
mod template;
mod tracer;
mod wakeup;
mod xstate;

pub use platform::ProcessPlatform;
pub use template::Network;
