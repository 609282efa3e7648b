//! The system call table, its handlers by family, and the loop that every task runs.
//!
//! To add a system call: write its handler in the file of its family as
//! `fn(&mut Sys<'_>, Args) -> SysResult`, add one line to that file's `ENTRIES`
//! (number, name, argument shapes, handler, support level, caveat), run
//! `make docs` and commit the changed `docs/compat.md`.
//!
//! A handler never waits: it answers [`Stop::Block`] and is run again after a
//! wake-up with the same arguments and the same [`Restart`](kernel_core::task::Restart).
#![forbid(unsafe_code)]

mod account;
mod async_io;
mod attributes;
mod call;
mod clock;
mod clock_kind;
mod clone;
mod compat;
mod copying;
mod cpu_time;
mod credentials;
mod current;
mod descriptors;
mod dirents;
mod entry;
mod epoll;
mod event_files;
mod exec;
mod exit;
mod fds;
mod file_limit;
mod futex;
mod ids;
mod init;
mod inotify;
mod ioctl;
mod jobs;
#[cfg(test)]
mod lazy_tests;
mod locks;
mod machine;
mod membarrier;
mod memory;
mod memory_use;
mod messages;
mod names;
mod objects;
mod open;
mod paths;
mod pidfd;
mod poll;
mod prctl;
mod refused;
mod run;
mod rw;
mod scheduling;
mod sigcalls;
pub mod snapshot;
mod sockaddr;
mod socket_io;
mod sockets;
mod source;
mod splicing;
mod stat;
mod storage;
mod strace;
mod system;
mod table;
#[cfg(test)]
mod testing;
mod time;
mod timer;
mod timer_calls;
mod unshare;
mod usage;
mod vectors;
mod wait;
mod xattr;

/// What uname(2) calls our build.
pub const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC rekindle";
/// What uname(2) calls our release: the Linux whose interface is served.
pub const RELEASE: &str = "6.12.0-rekindle";

pub use account::{CountFiles, FilePages, Look, MemoryAccount, MemoryUse};
pub use call::{Args, StartTask, Stop, Sys, SysResult};
pub use compat::compat_page;
pub use entry::{Entry, Handler, Support};
pub use init::{Init, StartError, start_init};
pub use objects::Objects;
pub use run::spawn;
pub use system::{System, SystemConfig, Tracer};
pub use table::{entries, lookup};
