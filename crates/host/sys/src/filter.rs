//! System call filters: classic BPF programs as data, and their installation (seccomp(2)).

use std::io;

use crate::check;

/// One instruction of a filter: `struct sock_filter` of `linux/filter.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    /// Constant operand.
    pub operand: u32,
}

/// Which threads a filter binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The calling thread and what it starts from now on.
    Thread,
    /// All threads of this process (`SECCOMP_FILTER_FLAG_TSYNC`).
    Process,
}

/// Installs a filter for good. `no_new_privs` must be set, or the caller be privileged.
///
/// # Errors
/// `EINVAL` for a malformed program, `EACCES` without `no_new_privs`,
/// `ESRCH` when a thread could not be synchronised.
pub fn install(program: &[Instruction], scope: Scope) -> io::Result<()> {
    let len =
        u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let header = libc::sock_fprog {
        len,
        // The kernel only reads through this pointer.
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    let flags = match scope {
        Scope::Thread => 0,
        Scope::Process => libc::SECCOMP_FILTER_FLAG_TSYNC,
    };
    // SAFETY: needed because libc has no wrapper for seccomp(2). `header` points to `len`
    // instructions of the kernel's layout (`repr(C)`, same fields) that outlive the call, and the
    // kernel copies them. A filter can make later calls fail or kill the process, not break memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const header,
        )
    };
    match check(result)? {
        0 => Ok(()),
        // With TSYNC: the id of the thread that could not follow.
        _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// Whether the host knows a filter action (`SECCOMP_GET_ACTION_AVAIL`).
#[must_use]
pub fn action_available(action: u32) -> bool {
    // SAFETY: needed because libc has no wrapper; the kernel only reads one `u32` that outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    };
    result == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_has_the_kernels_layout() {
        assert_eq!(size_of::<Instruction>(), size_of::<libc::sock_filter>());
        assert_eq!(
            std::mem::offset_of!(Instruction, operand),
            std::mem::offset_of!(libc::sock_filter, k)
        );
    }

    #[test]
    fn the_host_can_kill_a_process_but_not_do_nonsense() {
        assert!(action_available(libc::SECCOMP_RET_KILL_PROCESS));
        assert!(!action_available(0x1234_0000));
    }
}
