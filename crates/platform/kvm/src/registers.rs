//! Between the register formats of the machine and of the seam.

use kvm_bindings::kvm_regs;
use platform_api::Registers;

use crate::layout::LOWER_END;

/// Offset of `XSTATE_BV` in an XSAVE area (Intel SDM vol. 1, 13.4.2).
const XSTATE_BV: usize = 512;
const MXCSR: usize = 24;
const FCW_INITIAL: u16 = 0x37f;
const MXCSR_INITIAL: u32 = 0x1f80;
/// Carry, parity, adjust, zero, sign, trap, direction, overflow, resume, alignment, identification.
const USER_FLAGS: u64 = 0x25_0dd5;
/// The reserved one, and interrupts enabled as ring 3 always sees them.
const ALWAYS_FLAGS: u64 = 0x202;

/// Takes over all that `kvm_regs` has, except instruction pointer, stack pointer and flags.
pub(crate) fn take_general(regs: &mut Registers, from: &kvm_regs) {
    regs.r15 = from.r15;
    regs.r14 = from.r14;
    regs.r13 = from.r13;
    regs.r12 = from.r12;
    regs.rbp = from.rbp;
    regs.rbx = from.rbx;
    regs.r11 = from.r11;
    regs.r10 = from.r10;
    regs.r9 = from.r9;
    regs.r8 = from.r8;
    regs.rax = from.rax;
    regs.rcx = from.rcx;
    regs.rdx = from.rdx;
    regs.rsi = from.rsi;
    regs.rdi = from.rdi;
}

/// Makes registers ones that ring 3 can have; the instruction pointer is looked at elsewhere.
pub(crate) fn sanitise(regs: &mut Registers) {
    let base = |addr: u64| if addr < LOWER_END { addr } else { 0 };
    regs.rflags = (regs.rflags & USER_FLAGS) | ALWAYS_FLAGS;
    regs.fs_base = base(regs.fs_base);
    regs.gs_base = base(regs.gs_base);
}

/// The extended state after `execve`.
pub(crate) fn initial_xstate(size: usize) -> Vec<u8> {
    let mut area = vec![0u8; size];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = area.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, &FCW_INITIAL.to_le_bytes());
    put(MXCSR, &MXCSR_INITIAL.to_le_bytes());
    // x87 and SSE are present, with their initial values; without them MXCSR would not be taken.
    put(XSTATE_BV, &3u64.to_le_bytes());
    area
}
