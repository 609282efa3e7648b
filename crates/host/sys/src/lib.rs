//! Safe words for the host kernel's own interface.
//!
//! Every `unsafe` block here says why it is needed and why it is sound; the
//! crates above (except `platform/`) forbid `unsafe` altogether.

pub mod call;
pub mod call_stops;
pub mod cgroup;
pub mod clock;
pub mod descriptor;
pub mod dir;
pub mod filter;
pub mod memory_file;
pub mod namespace;
pub mod page_map;
pub mod privilege;
pub mod proc;
pub mod process;
pub mod ptrace;
pub mod rlimit;
pub mod schedule;
pub mod seal;
pub mod seccomp;
pub mod shared_words;
pub mod signal;
pub mod sparse;
pub mod trial;
pub mod vdso_code;
pub mod vm;

use std::io;

/// The result of a libc call that answers -1 on failure.
pub(crate) fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
