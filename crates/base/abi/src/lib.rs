//! Linux x86-64 as data: system call numbers, constants, structures that cross
//! guest memory, and error codes. No I/O and no `unsafe`.
//!
//! Constants are re-exported from `linux-raw-sys`, which is generated from the
//! kernel's own headers; structures that guests read and write are declared
//! here with `zerocopy` so that they convert to and from bytes safely.
#![forbid(unsafe_code)]

pub mod device;
pub mod errno;
pub mod page;
pub mod structs;

pub use errno::Errno;
/// Numbers straight from the kernel's headers.
pub use linux_raw_sys::{auxvec, general, ioctl, net, prctl, ptrace};
