//! What an exception means to the guest, as Linux has it (Intel SDM vol. 3, 6.15; `arch/x86` documentation of signals).

use platform_api::{Fault, FaultKind};

use crate::page_access::{Refusal, Want};
use crate::stub::Frame;

/// `si_code` of signals that the kernel sends without saying more.
const SI_KERNEL: i32 = 0x80;
const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
const BUS_ADRALN: i32 = 1;
const BUS_ADRERR: i32 = 2;
const ILL_ILLOPN: i32 = 2;
const FPE_INTDIV: i32 = 1;
const FPE_FLTDIV: i32 = 3;
const FPE_FLTOVF: i32 = 4;
const FPE_FLTUND: i32 = 5;
const FPE_FLTRES: i32 = 6;
const FPE_FLTINV: i32 = 7;
const TRAP_BRKPT: i32 = 1;
const TRAP_TRACE: i32 = 2;

/// A single step, or `int1`.
pub(crate) const DEBUG: u8 = 1;
/// `int3`.
pub(crate) const BREAKPOINT: u8 = 3;
/// Undefined instruction.
pub(crate) const UNDEFINED: u8 = 6;
/// Page fault.
pub(crate) const PAGE_FAULT: u8 = 14;
/// x87 and SIMD exceptions, whose reason is in the extended state.
pub(crate) const X87: u8 = 16;
/// See [`X87`].
pub(crate) const SIMD: u8 = 19;

const ERROR_PRESENT: u64 = 1;
const ERROR_WRITE: u64 = 1 << 1;
const ERROR_RING_3: u64 = 1 << 2;
const ERROR_EXECUTE: u64 = 1 << 4;
const TRAP_FLAG: u64 = 1 << 8;

/// What a page fault wanted.
pub(crate) fn want(error_code: u64) -> Want {
    if error_code & ERROR_WRITE != 0 {
        Want::Write
    } else if error_code & ERROR_EXECUTE != 0 {
        Want::Execute
    } else {
        Want::Read
    }
}

/// Whether it was an instruction that was wanted.
pub(crate) fn is_fetch(error_code: u64) -> bool {
    error_code & ERROR_EXECUTE != 0
}

/// Whether the processor refused an access of ring 0 to a page that is there, as SMAP has it. Whoever caused that from ring 3
/// would meet it again and again whatever our tables say.
pub(crate) fn is_of_ring_0(error_code: u64) -> bool {
    error_code & (ERROR_PRESENT | ERROR_RING_3) == ERROR_PRESENT
}

/// A page fault that cannot be resolved.
pub(crate) fn page(refusal: Refusal, addr: u64, error_code: u64) -> Fault {
    let (kind, code) = match refusal {
        Refusal::Unmapped => (FaultKind::Segv, SEGV_MAPERR),
        Refusal::Forbidden => (FaultKind::Segv, SEGV_ACCERR),
        Refusal::BeyondFile | Refusal::NoMemory => (FaultKind::Bus, BUS_ADRERR),
    };
    Fault {
        kind,
        code,
        addr,
        trapno: u64::from(PAGE_FAULT),
        error_code,
    }
}

/// General protection without more: a return to an address that ring 3 cannot have, a way in that does not exist.
pub(crate) fn bad_return() -> Fault {
    protection(0)
}

fn protection(error_code: u64) -> Fault {
    Fault {
        kind: FaultKind::Segv,
        code: SI_KERNEL,
        addr: 0,
        trapno: 13,
        error_code,
    }
}

/// Any other exception. `xstate` is the extended state where it matters.
pub(crate) fn other(vector: u8, frame: &Frame, xstate: &[u8]) -> Fault {
    let fault = |kind, code, addr| Fault {
        kind,
        code,
        addr,
        trapno: u64::from(vector),
        error_code: frame.error_code,
    };
    match vector {
        0 => fault(FaultKind::Fpe, FPE_INTDIV, frame.rip),
        DEBUG if frame.rflags & TRAP_FLAG != 0 => fault(FaultKind::Trap, TRAP_TRACE, frame.rip),
        DEBUG => fault(FaultKind::Trap, TRAP_BRKPT, frame.rip),
        BREAKPOINT => fault(FaultKind::Trap, SI_KERNEL, 0),
        4 | 5 => fault(FaultKind::Segv, SI_KERNEL, 0),
        UNDEFINED => fault(FaultKind::Ill, ILL_ILLOPN, frame.rip),
        11 | 12 => fault(FaultKind::Bus, SI_KERNEL, 0),
        X87 => fault(FaultKind::Fpe, x87_code(xstate), frame.rip),
        17 => fault(FaultKind::Bus, BUS_ADRALN, 0),
        SIMD => fault(FaultKind::Fpe, simd_code(xstate), frame.rip),
        _ => protection(frame.error_code),
    }
}

fn word(xstate: &[u8], at: usize) -> u32 {
    let bytes = xstate.get(at..at + 2).and_then(|b| b.try_into().ok());
    bytes.map_or(0, |b| u32::from(u16::from_le_bytes(b)))
}

/// FSW at 2, FCW at 0: exceptions that are not masked.
fn x87_code(xstate: &[u8]) -> i32 {
    float_code(word(xstate, 2) & !word(xstate, 0) & 0x3f)
}

/// MXCSR at 24: flags in bits 0-5, masks in 7-12.
fn simd_code(xstate: &[u8]) -> i32 {
    let mxcsr = word(xstate, 24);
    float_code(mxcsr & !(mxcsr >> 7) & 0x3f)
}

fn float_code(raised: u32) -> i32 {
    // Invalid, denormal, division, overflow, underflow, precision; in Linux' order of looking.
    match raised {
        r if r & 1 != 0 => FPE_FLTINV,
        r if r & 4 != 0 => FPE_FLTDIV,
        r if r & 8 != 0 => FPE_FLTOVF,
        r if r & 0x12 != 0 => FPE_FLTUND,
        r if r & 0x20 != 0 => FPE_FLTRES,
        _ => 0,
    }
}
