//! Between the register formats of the machine and of the seam.

use kvm_bindings::kvm_regs;
use platform_api::Registers;

use crate::layout::LOWER_END;

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
