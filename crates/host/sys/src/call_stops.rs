//! Stopping a tracee at its system calls (ptrace(2)): what the benchmark's plain ptrace stub is made of. No sandbox traces so, and
//! the filter of sandboxes forbids these requests.

use std::io;

use crate::check as check_libc;
use crate::process::Pid;

/// The signal shown in a stop at a system call, with [`crate::ptrace::Options::MARK_CALLS`].
pub const CALL_STOP: i32 = libc::SIGTRAP | 0x80;

type Ptr = *mut libc::c_void;

/// Resumes a stopped tracee until its next system call, which is not made: the tracer sets its result (`PTRACE_SYSEMU`).
///
/// # Errors
/// `ESRCH` when it is gone or not stopped.
pub fn resume_emulating(tid: Pid) -> io::Result<()> {
    let none: Ptr = std::ptr::null_mut();
    // SAFETY: needed because ptrace is variadic; this request touches no memory of ours.
    check_libc(unsafe { libc::ptrace(libc::PTRACE_SYSEMU, tid, none, none) })?;
    Ok(())
}

/// Resumes a stopped tracee until it enters or leaves a system call (`PTRACE_SYSCALL`).
///
/// # Errors
/// `ESRCH` when it is gone or not stopped.
pub fn resume_to_call(tid: Pid) -> io::Result<()> {
    let none: Ptr = std::ptr::null_mut();
    // SAFETY: needed because ptrace is variadic; this request touches no memory of ours.
    check_libc(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, tid, none, none) })?;
    Ok(())
}
