//! Tracing threads (ptrace(2)).
//!
//! Every function must be called by the thread that attached: the kernel answers `ESRCH` to others.

use std::io;

use crate::check as check_libc;
use crate::process::Pid;

/// `user_regs_struct`: the general registers with the segments, as ptrace has them.
pub type RawRegisters = libc::user_regs_struct;

bitflags::bitflags! {
    /// `PTRACE_O_*`.
    #[derive(Clone, Copy, Debug)]
    pub struct Options: i32 {
        /// Kill the tracee when the tracer ends.
        const EXIT_KILL = libc::PTRACE_O_EXITKILL;
        /// Trace what it forks.
        const TRACE_FORK = libc::PTRACE_O_TRACEFORK;
        /// Trace what it clones.
        const TRACE_CLONE = libc::PTRACE_O_TRACECLONE;
        /// Show stops at system calls as [`crate::call_stops::CALL_STOP`].
        const MARK_CALLS = libc::PTRACE_O_TRACESYSGOOD;
    }
}

/// `PTRACE_EVENT_STOP`: answer to [`interrupt`], first stop of a new tracee, group stop.
pub const EVENT_STOP: i32 = libc::PTRACE_EVENT_STOP;
/// `PTRACE_EVENT_FORK`.
pub const EVENT_FORK: i32 = libc::PTRACE_EVENT_FORK;
/// `PTRACE_EVENT_CLONE`.
pub const EVENT_CLONE: i32 = libc::PTRACE_EVENT_CLONE;

const NT_X86_XSTATE: usize = 0x202;
type Ptr = *mut libc::c_void;

/// Attaches to a thread without stopping it.
///
/// # Errors
/// `EPERM` when not allowed, `ESRCH` when it is gone.
pub fn seize(tid: Pid, options: Options) -> io::Result<()> {
    let none: Ptr = std::ptr::null_mut();
    // SAFETY: needed because ptrace is variadic; this request takes flags in `data` and touches no memory of ours.
    check_libc(unsafe {
        libc::ptrace(
            libc::PTRACE_SEIZE,
            tid,
            none,
            options.bits() as usize as Ptr,
        )
    })?;
    Ok(())
}

/// Asks the tracee to stop; wait for the stop afterwards.
///
/// # Errors
/// `ESRCH` when it is gone.
pub fn interrupt(tid: Pid) -> io::Result<()> {
    let none: Ptr = std::ptr::null_mut();
    // SAFETY: needed because ptrace is variadic; this request touches no memory of ours.
    check_libc(unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, tid, none, none) })?;
    Ok(())
}

/// Resumes a stopped tracee without delivering a signal.
///
/// # Errors
/// `ESRCH` when it is gone or not stopped.
pub fn resume(tid: Pid) -> io::Result<()> {
    let none: Ptr = std::ptr::null_mut();
    // SAFETY: needed because ptrace is variadic; this request touches no memory of ours.
    check_libc(unsafe { libc::ptrace(libc::PTRACE_CONT, tid, none, none) })?;
    Ok(())
}

/// Resumes a stopped tracee and stops tracing it.
///
/// # Errors
/// `ESRCH` when it is gone or not stopped.
pub fn detach(tid: Pid) -> io::Result<()> {
    let none: Ptr = std::ptr::null_mut();
    // SAFETY: needed because ptrace is variadic; this request touches no memory of ours.
    check_libc(unsafe { libc::ptrace(libc::PTRACE_DETACH, tid, none, none) })?;
    Ok(())
}

/// The number that belongs to the event the tracee stopped for (the new thread's).
///
/// # Errors
/// `ESRCH` when it is gone or not stopped.
pub fn event_message(tid: Pid) -> io::Result<u64> {
    let mut message: libc::c_ulong = 0;
    let none: Ptr = std::ptr::null_mut();
    // SAFETY: needed because the request writes an unsigned long through `data`, which points to one.
    check_libc(unsafe {
        libc::ptrace(
            libc::PTRACE_GETEVENTMSG,
            tid,
            none,
            (&raw mut message).cast::<libc::c_void>(),
        )
    })?;
    Ok(message)
}

/// General registers of a stopped tracee.
///
/// # Errors
/// `ESRCH` when it is gone or not stopped.
pub fn registers(tid: Pid) -> io::Result<RawRegisters> {
    // SAFETY: needed to get a zeroed C structure of plain integers.
    let mut regs: RawRegisters = unsafe { std::mem::zeroed() };
    let none: Ptr = std::ptr::null_mut();
    // SAFETY: needed because the request writes a user_regs_struct through `data`, which points to one.
    check_libc(unsafe {
        libc::ptrace(
            libc::PTRACE_GETREGS,
            tid,
            none,
            (&raw mut regs).cast::<libc::c_void>(),
        )
    })?;
    Ok(regs)
}

/// Changes the general registers of a stopped tracee.
///
/// # Errors
/// `EIO` for segments or bases that user mode may not have, `ESRCH` when it is gone or not stopped.
pub fn set_registers(tid: Pid, regs: &RawRegisters) -> io::Result<()> {
    let none: Ptr = std::ptr::null_mut();
    let data: Ptr = std::ptr::from_ref(regs).cast_mut().cast();
    // SAFETY: needed because the request reads a user_regs_struct through `data`, which points to one; it does not write.
    check_libc(unsafe { libc::ptrace(libc::PTRACE_SETREGS, tid, none, data) })?;
    Ok(())
}

/// Extended state of a stopped tracee in standard XSAVE format; returns how many bytes of `area` it has.
///
/// # Errors
/// `ENODEV` on processors without XSAVE, `ESRCH` when it is gone or not stopped.
pub fn extended_state(tid: Pid, area: &mut [u8]) -> io::Result<usize> {
    let mut iov = libc::iovec {
        iov_base: area.as_mut_ptr().cast(),
        iov_len: area.len(),
    };
    let kind = NT_X86_XSTATE as Ptr;
    // SAFETY: needed because the request writes at most iov_len bytes to iov_base, which is `area`.
    check_libc(unsafe {
        libc::ptrace(
            libc::PTRACE_GETREGSET,
            tid,
            kind,
            (&raw mut iov).cast::<libc::c_void>(),
        )
    })?;
    Ok(iov.iov_len)
}

/// Changes the extended state of a stopped tracee.
///
/// # Errors
/// `EINVAL` when the area is not a well-formed XSAVE area, `ESRCH` when it is gone or not stopped.
pub fn set_extended_state(tid: Pid, area: &[u8]) -> io::Result<()> {
    let mut iov = libc::iovec {
        iov_base: area.as_ptr().cast_mut().cast(),
        iov_len: area.len(),
    };
    let kind = NT_X86_XSTATE as Ptr;
    // SAFETY: needed because the request reads iov_len bytes from iov_base, which is `area`; it does not write to it.
    check_libc(unsafe {
        libc::ptrace(
            libc::PTRACE_SETREGSET,
            tid,
            kind,
            (&raw mut iov).cast::<libc::c_void>(),
        )
    })?;
    Ok(())
}

/// Blocks every signal that can be blocked in a stopped tracee (`PTRACE_SETSIGMASK`).
///
/// # Errors
/// `ESRCH` when it is gone or not stopped.
pub fn block_signals(tid: Pid) -> io::Result<()> {
    let all = u64::MAX;
    let size = std::mem::size_of_val(&all) as Ptr;
    let data: Ptr = std::ptr::from_ref(&all).cast_mut().cast();
    // SAFETY: needed because ptrace is variadic; the request reads eight bytes through `data`, which points to as many.
    check_libc(unsafe { libc::ptrace(libc::PTRACE_SETSIGMASK, tid, size, data) })?;
    Ok(())
}

/// Why a tracee is in a signal-delivery stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalInfo {
    /// Signal number.
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`; meaningless for signals that processes send.
    pub addr: u64,
}

/// The signals that wait for a stopped tracee alone, at most eight (`PTRACE_PEEKSIGINFO`).
///
/// # Errors
/// `ESRCH` when it is gone or not stopped.
pub fn queued_signals(tid: Pid) -> io::Result<Vec<SignalInfo>> {
    #[repr(C)]
    struct Window {
        offset: u64,
        flags: u32,
        count: i32,
    }
    const MOST: usize = 8;
    // SAFETY: needed to get zeroed C structures of plain integers.
    let mut infos: [libc::siginfo_t; MOST] = unsafe { std::mem::zeroed() };
    let window = Window {
        offset: 0,
        flags: 0,
        count: MOST as i32,
    };
    let addr: Ptr = std::ptr::from_ref(&window).cast_mut().cast();
    let data = infos.as_mut_ptr().cast::<libc::c_void>();
    // SAFETY: needed because ptrace is variadic; the request reads the window through `addr` and writes at most
    // `count` structures through `data`, which has room for them.
    let got = check_libc(unsafe { libc::ptrace(libc::PTRACE_PEEKSIGINFO, tid, addr, data) })?;
    Ok(infos
        .iter()
        .take(usize::try_from(got).unwrap_or(0))
        .map(signal_from)
        .collect())
}

/// The signal of a signal-delivery stop.
///
/// # Errors
/// `EINVAL` in other stops, `ESRCH` when it is gone or not stopped.
pub fn signal_info(tid: Pid) -> io::Result<SignalInfo> {
    // SAFETY: needed to get a zeroed C structure of plain integers.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let none: Ptr = std::ptr::null_mut();
    // SAFETY: needed because the request writes a siginfo_t through `data`, which points to one.
    check_libc(unsafe {
        libc::ptrace(
            libc::PTRACE_GETSIGINFO,
            tid,
            none,
            (&raw mut info).cast::<libc::c_void>(),
        )
    })?;
    Ok(signal_from(&info))
}

fn signal_from(info: &libc::siginfo_t) -> SignalInfo {
    // SAFETY: needed to read a union; every bit pattern is an address.
    let addr = unsafe { info.si_addr() } as u64;
    SignalInfo {
        signal: info.si_signo,
        code: info.si_code,
        addr,
    }
}
