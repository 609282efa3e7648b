//! Between ptrace's register formats and the seam's.

use host_sys::ptrace::RawRegisters;
use platform_api::Registers;

use crate::layout::TASK_END;

/// Carry, parity, adjust, zero, sign, trap, direction, overflow, resume, alignment, identification.
const USER_FLAGS: u64 = 0x25_0dd5;
const ALWAYS_FLAGS: u64 = 0x202;

pub(crate) fn from_raw(raw: &RawRegisters) -> Registers {
    Registers {
        r15: raw.r15,
        r14: raw.r14,
        r13: raw.r13,
        r12: raw.r12,
        rbp: raw.rbp,
        rbx: raw.rbx,
        r11: raw.r11,
        r10: raw.r10,
        r9: raw.r9,
        r8: raw.r8,
        rax: raw.rax,
        rcx: raw.rcx,
        rdx: raw.rdx,
        rsi: raw.rsi,
        rdi: raw.rdi,
        rip: raw.rip,
        rflags: raw.eflags,
        rsp: raw.rsp,
        fs_base: raw.fs_base,
        gs_base: raw.gs_base,
    }
}

/// Puts `regs` into `raw`, which keeps the segments. What user mode cannot have is left out, and no system call is restarted.
pub(crate) fn into_raw(regs: &Registers, raw: &mut RawRegisters) {
    let base = |addr: u64| if addr < TASK_END { addr } else { 0 };
    *raw = RawRegisters {
        r15: regs.r15,
        r14: regs.r14,
        r13: regs.r13,
        r12: regs.r12,
        rbp: regs.rbp,
        rbx: regs.rbx,
        r11: regs.r11,
        r10: regs.r10,
        r9: regs.r9,
        r8: regs.r8,
        rax: regs.rax,
        rcx: regs.rcx,
        rdx: regs.rdx,
        rsi: regs.rsi,
        rdi: regs.rdi,
        orig_rax: u64::MAX,
        rip: regs.rip,
        eflags: (regs.rflags & USER_FLAGS) | ALWAYS_FLAGS,
        rsp: regs.rsp,
        fs_base: base(regs.fs_base),
        gs_base: base(regs.gs_base),
        ..*raw
    };
}
