//! Faults out of signals: what the processor raised, as Linux told it to the tracer.

use host_sys::ptrace::SignalInfo;
use platform_api::{Fault, FaultKind};

/// The fault of a signal-delivery stop; `None` for signals that are no faults.
pub(crate) fn of(info: &SignalInfo) -> Option<Fault> {
    let kind = fault_kind(info)?;
    let trap = |trapno, error_code| Fault {
        kind,
        code: info.code,
        addr: info.addr,
        trapno,
        error_code,
    };
    // ptrace does not tell the trap number; what the signal implies is told (Intel SDM vol. 3, 6.15).
    Some(match (kind, info.code) {
        // SEGV_MAPERR, SEGV_ACCERR: page fault in user mode; whether it was a write is not known.
        (FaultKind::Segv, 1) => trap(14, 4),
        (FaultKind::Segv, 2) => trap(14, 5),
        (FaultKind::Segv, _) => trap(13, 0),
        (FaultKind::Bus, _) => trap(14, 4),
        (FaultKind::Ill, _) => trap(6, 0),
        // FPE_INTDIV, else x87 or SIMD.
        (FaultKind::Fpe, 1) => trap(0, 0),
        (FaultKind::Fpe, _) => trap(19, 0),
        // TRAP_TRACE, TRAP_HWBKPT: debug exception; else the breakpoint instruction.
        (FaultKind::Trap, 2 | 4) => trap(1, 0),
        (FaultKind::Trap, _) => trap(3, 0),
    })
}

/// What the processor, not another process, raised.
fn fault_kind(info: &SignalInfo) -> Option<FaultKind> {
    if info.code <= 0 {
        return None;
    }
    match info.signal {
        libc::SIGSEGV => Some(FaultKind::Segv),
        libc::SIGBUS => Some(FaultKind::Bus),
        libc::SIGILL => Some(FaultKind::Ill),
        libc::SIGFPE => Some(FaultKind::Fpe),
        libc::SIGTRAP => Some(FaultKind::Trap),
        _ => None,
    }
}
