//! What the end of a run means for the guest: a call, a fault, or nothing.

use kvm_bindings::kvm_regs;
use platform_api::{Event, Fault, PlatformError, Syscall};

use super::{GuestThread, Mode};
use crate::faults;
use crate::layout::{GUEST_END, PAGE};
use crate::page_access::Refusal;
use crate::registers::take_general;
use crate::stub::{self, Place};
use crate::vcpu::Vcpu;

const ENOSYS: i64 = -38;
/// Bytes of the longest instruction.
const LONGEST: u64 = 15;
/// `__X32_SYSCALL_BIT`: numbers from here on are no calls of the 64-bit table.
const X32: u32 = 0x4000_0000;
/// Runs in a row that end because the host has no page, without the guest getting on.
const MAX_BLIND: u32 = 1000;

/// Whether a run goes on.
pub(super) enum Next {
    Again,
    /// As it is: the vCPU's registers are the guest's.
    AsItIs,
    Return(Event),
}

impl GuestThread {
    /// The stub stopped the machine.
    pub(super) fn halted(&mut self, vcpu: &Vcpu) -> Result<Next, PlatformError> {
        let regs = vcpu.registers();
        match stub::place(regs.rip) {
            Place::Syscall => {
                self.refused = false;
                take_general(&mut self.state.regs, &regs);
                self.state.regs.rsp = regs.rsp;
                Ok(self.call())
            }
            Place::Vector(vector) => self.exception(vcpu, vector),
            Place::Return | Place::Outside => {
                tracing::error!(
                    state = vcpu.describe(),
                    "the machine halted where it cannot"
                );
                Err(PlatformError::Gone)
            }
        }
    }

    /// `syscall` left its return address in `rcx` and the flags in `r11`.
    fn call(&mut self) -> Next {
        let regs = &mut self.state.regs;
        (regs.rip, regs.rflags) = (regs.rcx, regs.r11);
        let nr = regs.rax as u32;
        let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
        let ip = regs.rip;
        regs.rax = ENOSYS as u64;
        if nr >= X32 {
            return Next::Again;
        }
        self.mode = Mode::Call;
        Next::Return(Event::Syscall(Syscall {
            nr: u64::from(nr),
            args,
            ip,
        }))
    }

    fn exception(&mut self, vcpu: &Vcpu, vector: u8) -> Result<Next, PlatformError> {
        let Some(frame) = vcpu.exception(vector) else {
            tracing::error!(
                vector,
                state = vcpu.describe(),
                "an exception without a frame"
            );
            return Err(PlatformError::Gone);
        };
        if frame.cs & 3 != 3 {
            if frame.rip == stub::return_entry() {
                // The registers are still those that were to be loaded. An exception that was on its way when the vCPU was
                // taken from a thread reaches whoever has it next, here, before the first instruction; the one
                // whose it was will meet it again. Only a second one in a row says that the way out was refused.
                if !std::mem::replace(&mut self.refused, true) {
                    return Ok(Next::Again);
                }
                self.refused = false;
                self.mode = Mode::Stopped;
                return Ok(Next::Return(Event::Fault(faults::bad_return())));
            }
            tracing::error!(
                vector,
                ?frame,
                state = vcpu.describe(),
                "an exception in the stub"
            );
            return Err(PlatformError::Gone);
        }
        self.refused = false;
        take_general(&mut self.state.regs, &vcpu.registers());
        self.state.regs.rip = frame.rip;
        self.state.regs.rflags = frame.rflags;
        self.state.regs.rsp = frame.rsp;
        if stub::place(frame.rip) == Place::Syscall {
            // Some hosts (para-virtual ones without the guest's help) let `syscall` jump but leave ring 3 in force. The
            // jump faults, which nothing in ring 3 but `syscall` has a reason to provoke: whoever jumps here
            // by hand made a system call by other means, and gets no more from it.
            return Ok(self.call());
        }
        self.mode = Mode::Stopped;
        let fault = match vector {
            faults::PAGE_FAULT => {
                let (_, _, addr) = vcpu.bases_and_fault()?;
                // Nobody fetches an instruction from elsewhere: it is a fault that another thread left in the vCPU.
                if faults::is_fetch(frame.error_code) && addr.wrapping_sub(frame.rip) >= LONGEST {
                    return Ok(Next::Again);
                }
                match self.page_fault(addr, frame.error_code) {
                    Some(fault) => fault,
                    None => return Ok(Next::Again),
                }
            }
            faults::X87 | faults::SIMD => {
                let mut xstate = [0; 64];
                vcpu.read_xstate(&mut xstate)?;
                faults::other(vector, &frame, &xstate)
            }
            // `int 0x80` has no gate. Some para-virtual hosts say that there is no such instruction.
            faults::UNDEFINED if self.is_legacy_call(frame.rip) => faults::bad_return(),
            _ => faults::other(vector, &frame, &[]),
        };
        Ok(Next::Return(Event::Fault(fault)))
    }

    fn is_legacy_call(&self, rip: u64) -> bool {
        let mut code = [0; 2];
        self.space.read(rip, &mut code) == 2 && code == [0xcd, 0x80]
    }

    fn page_fault(&self, addr: u64, error_code: u64) -> Option<Fault> {
        let want = faults::want(error_code);
        let refusal = if addr >= GUEST_END {
            Refusal::Unmapped
        } else if faults::is_of_ring_0(error_code) {
            Refusal::Forbidden
        } else {
            let mut state = self.space.state.lock();
            match state.resolve(&self.space.machine, addr, want) {
                Ok(_) => return None,
                Err(refusal) => refusal,
            }
        };
        Some(faults::page(refusal, addr, error_code))
    }

    /// A trap that a kick kept from being delivered: its instruction is done and would not raise it again, as that of a fault does.
    fn trap_on_its_way(&self, vcpu: &Vcpu) -> Option<Fault> {
        let vector = vcpu.on_its_way().filter(|_| vcpu.is_in_guest())?;
        let regs = &self.state.regs;
        match vector {
            faults::DEBUG => {}
            // Where the host has gone back to before the instruction, it comes again.
            faults::BREAKPOINT if self.is_after_breakpoint(regs.rip) => {}
            _ => return None,
        }
        let frame = stub::Frame {
            rip: regs.rip,
            rflags: regs.rflags,
            rsp: regs.rsp,
            ..stub::Frame::default()
        };
        Some(faults::other(vector, &frame, &[]))
    }

    /// Whether the instruction before this one can have been an `int3`, by either of its names.
    fn is_after_breakpoint(&self, rip: u64) -> bool {
        let (mut short, mut long) = ([0; 1], [0; 2]);
        self.space.read(rip.wrapping_sub(1), &mut short) == 1 && short == [0xcc]
            || self.space.read(rip.wrapping_sub(2), &mut long) == 2 && long == [0xcd, 3]
    }

    /// A signal ended the run, which began with the registers `before`: wherever it was, the guest's state is made whole.
    pub(super) fn kicked(&mut self, vcpu: &Vcpu, before: &kvm_regs) -> Result<Next, PlatformError> {
        let regs = vcpu.registers();
        let place = match stub::place(regs.rip) {
            // Not the stub, but a guest that jumped there and has not faulted yet.
            Place::Return | Place::Vector(_) if vcpu.is_in_guest() => Place::Outside,
            place => place,
        };
        let next = match place {
            // The registers that were to be loaded are still here.
            Place::Return => Next::Again,
            Place::Syscall | Place::Vector(_) => match self.halted(vcpu)? {
                Next::Return(event) => return Ok(Next::Return(event)),
                next => next,
            },
            Place::Outside => {
                self.refused = false;
                take_general(&mut self.state.regs, &regs);
                self.state.regs.rip = regs.rip;
                self.state.regs.rflags = regs.rflags;
                self.state.regs.rsp = regs.rsp;
                self.mode = Mode::Stopped;
                if let Some(fault) = self.trap_on_its_way(vcpu) {
                    return Ok(Next::Return(Event::Fault(fault)));
                }
                Next::Again
            }
        };
        if self.holder.handle.must_stop() && self.holder.handle.take_interruption() {
            self.in_vain = if regs == *before {
                self.in_vain.saturating_add(1)
            } else {
                0
            };
            return Ok(Next::Return(Event::Interrupted));
        }
        Ok(next)
    }

    /// The host has no page where our tables say that there is one: a file became shorter. Its pages are taken out, so that
    /// the guest faults and the file is asked.
    pub(super) fn no_page(
        &mut self,
        vcpu: &Vcpu,
        gpa: Option<u64>,
        blind: u32,
    ) -> Result<Next, PlatformError> {
        if blind > MAX_BLIND {
            tracing::error!(?gpa, state = vcpu.describe(), "the host has no page");
            return Err(PlatformError::Gone);
        }
        let range = gpa.map_or(0..u64::MAX, |gpa| {
            let page = gpa & !(PAGE - 1);
            page..page + PAGE
        });
        self.space.state.lock().drop_borrowed(&range);
        Ok(Next::AsItIs)
    }
}
