//! Safe words for the host kernel's own interface.
//!
//! Every `unsafe` block here says why it is needed and why it is sound; the
//! crates above (except `platform/`) forbid `unsafe` altogether.

pub mod filter;
pub mod memory_file;
pub mod namespace;
pub mod privilege;
pub mod rlimit;
pub mod signal;
pub mod trial;

use std::io;

/// The result of a libc call that answers -1 on failure.
pub(crate) fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
