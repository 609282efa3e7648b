//! The frame that a handler runs on, and the way back (`arch/x86` `rt_sigframe`, sigreturn(2)).
//!
//! From the stack pointer upwards: the restorer's address, `ucontext`, `siginfo`;
//! above them the XSAVE area, 64-byte aligned, with the magic numbers of
//! `asm/sigcontext.h` that user space looks for.

use base_abi::structs::{SigAction, SigAltStack, SigInfo};
use kernel_vfs::UserMemory;
use platform_api::{CpuState, Features};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::SignalSet;

const UC_FLAGS: u64 = 1 | 2 | 4; // UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
const SW_RESERVED: usize = 464;
const FXSAVE_SIZE: usize = 512;
const RED_ZONE: u64 = 128;
const SS_ONSTACK: i32 = 1;
const SS_DISABLE: i32 = 2;
const SS_AUTODISARM: i32 = i32::MIN;
const SA_ONSTACK: u64 = 0x0800_0000;
/// Flags a guest may change by sigreturn: CF PF AF ZF SF TF DF OF RF AC ID.
const RFLAGS_USER: u64 = 0x0025_0dd5;

/// `struct sigcontext`, 256 bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SigContext {
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    eflags: u64,
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    err: u64,
    trapno: u64,
    oldmask: u64,
    cr2: u64,
    fpstate: u64,
    reserved: [u64; 8],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Frame {
    restorer: u64,
    uc_flags: u64,
    uc_link: u64,
    uc_stack: SigAltStack,
    context: SigContext,
    mask: u64,
    info: SigInfo,
}

const FRAME_SIZE: u64 = size_of::<Frame>() as u64;

/// What a handler call needs.
pub struct FrameRequest<'a> {
    /// The signal's action.
    pub action: SigAction,
    /// What goes to the handler's second argument.
    pub info: SigInfo,
    /// The mask to restore afterwards.
    pub mask: SignalSet,
    /// The task's alternate stack.
    pub alt_stack: &'a mut SigAltStack,
    /// Trap number, error code and address of a fault, zero otherwise.
    pub trap: [u64; 3],
}

/// The frame cannot be written or read: the task gets a fatal `SIGSEGV`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signal frame is not accessible")]
pub struct FrameError;

/// Writes the frame below the guest's stack pointer and points the registers at the handler.
///
/// # Errors
/// When the stack cannot be written or overflows the alternate stack.
pub fn write_frame(
    memory: &dyn UserMemory,
    features: &Features,
    cpu: &mut CpuState,
    request: FrameRequest<'_>,
) -> Result<(), FrameError> {
    let xstate = signal_xstate(features, cpu);
    let stack = *request.alt_stack;
    let on_stack = on_alt_stack(&stack, cpu.regs.rsp);
    let use_alt =
        request.action.flags & SA_ONSTACK != 0 && stack.size != 0 && stack.flags & SS_DISABLE == 0;
    let top = if use_alt && !on_stack {
        stack.sp.wrapping_add(stack.size)
    } else {
        cpu.regs.rsp.wrapping_sub(RED_ZONE)
    };
    let fpstate = top.wrapping_sub(xstate.len() as u64) & !63;
    let sp = (fpstate.wrapping_sub(FRAME_SIZE) & !15).wrapping_sub(8);
    if use_alt && !(stack.sp..stack.sp.wrapping_add(stack.size)).contains(&sp) {
        return Err(FrameError);
    }
    let saved_flags = if stack.size == 0 {
        SS_DISABLE
    } else {
        (stack.flags & SS_AUTODISARM) | if on_stack { SS_ONSTACK } else { 0 }
    };
    let frame = Frame {
        restorer: request.action.restorer,
        uc_flags: UC_FLAGS,
        uc_link: 0,
        uc_stack: SigAltStack {
            flags: saved_flags,
            ..stack
        },
        context: save_registers(cpu, request.trap, fpstate, request.mask),
        mask: request.mask.0,
        info: request.info,
    };
    memory
        .write_bytes(fpstate, &xstate)
        .map_err(|_| FrameError)?;
    memory
        .write_bytes(sp, frame.as_bytes())
        .map_err(|_| FrameError)?;
    if stack.flags & SS_AUTODISARM != 0 {
        *request.alt_stack = SigAltStack {
            flags: SS_DISABLE,
            ..SigAltStack::default()
        };
    }
    let regs = &mut cpu.regs;
    regs.rdi = u64::from(request.info.signo.cast_unsigned());
    regs.rsi = sp + std::mem::offset_of!(Frame, info) as u64;
    regs.rdx = sp + std::mem::offset_of!(Frame, uc_flags) as u64;
    regs.rax = 0;
    regs.rsp = sp;
    regs.rip = request.action.handler;
    regs.rflags &= !0x10500; // RF, TF and DF are clear in a handler.
    // It begins as after execve(2), whatever the interrupted code had set; the frame has that.
    cpu.xstate.clear();
    Ok(())
}

/// Reads the frame that a handler returns to and restores registers, mask and alternate stack.
///
/// # Errors
/// When the frame cannot be read.
pub fn restore_frame(
    memory: &dyn UserMemory,
    features: &Features,
    cpu: &mut CpuState,
    alt_stack: &mut SigAltStack,
) -> Result<SignalSet, FrameError> {
    let mut frame = Frame::new_zeroed();
    // `ret` of the handler popped the restorer's address.
    let base = cpu.regs.rsp.wrapping_sub(8);
    memory
        .read_bytes(base, frame.as_mut_bytes())
        .map_err(|_| FrameError)?;
    let context = frame.context;
    if context.fpstate != 0 {
        cpu.xstate = read_xstate(memory, features, context.fpstate)?;
    } else {
        cpu.xstate.clear();
    }
    restore_registers(cpu, &context);
    if frame.uc_stack.flags & SS_ONSTACK == 0 || !on_alt_stack(alt_stack, cpu.regs.rsp) {
        let flags = frame.uc_stack.flags & (SS_AUTODISARM | SS_DISABLE);
        *alt_stack = SigAltStack {
            flags,
            ..frame.uc_stack
        };
    }
    Ok(SignalSet(frame.mask).blockable())
}

fn on_alt_stack(stack: &SigAltStack, sp: u64) -> bool {
    stack.flags & SS_AUTODISARM == 0 && sp > stack.sp && sp.wrapping_sub(stack.sp) <= stack.size
}

/// The area as it stands in the frame: software bytes filled in, second magic at the end.
fn signal_xstate(features: &Features, cpu: &CpuState) -> Vec<u8> {
    let size = features.xstate_size.max(FXSAVE_SIZE + 64);
    let mut area = vec![0u8; size + 4];
    if cpu.xstate.is_empty() {
        area[0..2].copy_from_slice(&0x037fu16.to_le_bytes());
        area[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        area[FXSAVE_SIZE..FXSAVE_SIZE + 8].copy_from_slice(&3u64.to_le_bytes());
    } else {
        let n = cpu.xstate.len().min(size);
        area[..n].copy_from_slice(&cpu.xstate[..n]);
    }
    let total = u32::try_from(size + 4).unwrap_or(u32::MAX);
    area[SW_RESERVED..SW_RESERVED + 4].copy_from_slice(&FP_XSTATE_MAGIC1.to_le_bytes());
    area[SW_RESERVED + 4..SW_RESERVED + 8].copy_from_slice(&total.to_le_bytes());
    area[SW_RESERVED + 8..SW_RESERVED + 16].copy_from_slice(&features.xcr0.to_le_bytes());
    area[SW_RESERVED + 16..SW_RESERVED + 20].copy_from_slice(&(total - 4).to_le_bytes());
    area[size..].copy_from_slice(&FP_XSTATE_MAGIC2.to_le_bytes());
    area
}

fn read_xstate(
    memory: &dyn UserMemory,
    features: &Features,
    at: u64,
) -> Result<Vec<u8>, FrameError> {
    let size = features.xstate_size.max(FXSAVE_SIZE + 64);
    let mut area = vec![0u8; size];
    memory
        .read_bytes(at, &mut area[..FXSAVE_SIZE])
        .map_err(|_| FrameError)?;
    let magic1 = u32::from_le_bytes([
        area[SW_RESERVED],
        area[SW_RESERVED + 1],
        area[SW_RESERVED + 2],
        area[SW_RESERVED + 3],
    ]);
    let mut magic2 = [0u8; 4];
    let extended = magic1 == FP_XSTATE_MAGIC1
        && memory.read_bytes(at + size as u64, &mut magic2).is_ok()
        && u32::from_le_bytes(magic2) == FP_XSTATE_MAGIC2;
    if extended {
        memory.read_bytes(at, &mut area).map_err(|_| FrameError)?;
    } else {
        area[FXSAVE_SIZE..FXSAVE_SIZE + 8].copy_from_slice(&3u64.to_le_bytes());
    }
    area[SW_RESERVED..FXSAVE_SIZE].fill(0);
    sanitise_xstate(features, &mut area);
    Ok(area)
}

/// The header must name only components that exist and be zero elsewhere, MXCSR must have no
/// reserved bit, or restoring would fault (Intel SDM vol. 1, 13.8).
fn sanitise_xstate(features: &Features, area: &mut [u8]) {
    let mut bits = [0u8; 8];
    bits.copy_from_slice(&area[FXSAVE_SIZE..FXSAVE_SIZE + 8]);
    let xstate_bv = u64::from_le_bytes(bits) & features.xcr0;
    area[FXSAVE_SIZE..FXSAVE_SIZE + 8].copy_from_slice(&xstate_bv.to_le_bytes());
    area[FXSAVE_SIZE + 8..FXSAVE_SIZE + 64].fill(0);
    area[26..28].fill(0);
}

fn save_registers(cpu: &CpuState, trap: [u64; 3], fpstate: u64, mask: SignalSet) -> SigContext {
    let r = &cpu.regs;
    SigContext {
        r8: r.r8,
        r9: r.r9,
        r10: r.r10,
        r11: r.r11,
        r12: r.r12,
        r13: r.r13,
        r14: r.r14,
        r15: r.r15,
        rdi: r.rdi,
        rsi: r.rsi,
        rbp: r.rbp,
        rbx: r.rbx,
        rdx: r.rdx,
        rax: r.rax,
        rcx: r.rcx,
        rsp: r.rsp,
        rip: r.rip,
        eflags: r.rflags,
        cs: 0x33,
        gs: 0,
        fs: 0,
        ss: 0x2b,
        err: trap[1],
        trapno: trap[0],
        oldmask: mask.0,
        cr2: trap[2],
        fpstate,
        reserved: [0; 8],
    }
}

fn restore_registers(cpu: &mut CpuState, c: &SigContext) {
    let r = &mut cpu.regs;
    (r.r8, r.r9, r.r10, r.r11) = (c.r8, c.r9, c.r10, c.r11);
    (r.r12, r.r13, r.r14, r.r15) = (c.r12, c.r13, c.r14, c.r15);
    (r.rdi, r.rsi, r.rbp, r.rbx) = (c.rdi, c.rsi, c.rbp, c.rbx);
    (r.rdx, r.rax, r.rcx, r.rsp, r.rip) = (c.rdx, c.rax, c.rcx, c.rsp, c.rip);
    r.rflags = (r.rflags & !RFLAGS_USER) | (c.eflags & RFLAGS_USER);
}
