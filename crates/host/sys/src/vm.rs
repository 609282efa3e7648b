//! Another process's memory (process_vm_readv(2)).

use std::io;

use crate::call::{check, syscall6};
use crate::process::Pid;

/// Copies from address `addr` of process `pid`; returns how many bytes were copied before the first page that the process cannot read.
///
/// # Errors
/// `EFAULT` when not even the first byte is readable, `ESRCH` when the process is gone, `EPERM` without the rights of ptrace.
#[inline]
pub fn read(pid: Pid, addr: u64, buf: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    let remote = libc::iovec {
        iov_base: addr as *mut libc::c_void,
        iov_len: buf.len(),
    };
    let args = [
        pid as u64,
        (&raw const local) as u64,
        1,
        (&raw const remote) as u64,
        1,
        0,
    ];
    // SAFETY: needed because it is a raw call; it writes at most iov_len bytes to iov_base, which is `buf`.
    // The remote address is never dereferenced in this process.
    check(unsafe { syscall6(libc::SYS_process_vm_readv, args) }).map(|n| n as usize)
}

/// Copies to address `addr` of process `pid`; returns how many bytes were copied before the first page that the process cannot write.
///
/// # Errors
/// As [`read`].
#[inline]
pub fn write(pid: Pid, addr: u64, data: &[u8]) -> io::Result<usize> {
    let local = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    let remote = libc::iovec {
        iov_base: addr as *mut libc::c_void,
        iov_len: data.len(),
    };
    let args = [
        pid as u64,
        (&raw const local) as u64,
        1,
        (&raw const remote) as u64,
        1,
        0,
    ];
    // SAFETY: needed because it is a raw call; it only reads `data`, and writes to the other process alone.
    check(unsafe { syscall6(libc::SYS_process_vm_writev, args) }).map(|n| n as usize)
}
