//! Guest threads: running them, and their registers.
//!
//! ```text
//!            run                        system call                 set_return, run
//!  Stopped ───────────▶ (in run) ─────────────────────▶ Call ─────────────────────────▶ (in run)
//!     ▲   fault, interrupt │                              │ state, state_mut
//!     └────────────────────┴──────────────────────────────┘
//!  any ──address space dropped, machine broken──▶ Gone
//! ```
//!
//! General registers are here after every run. Segment bases and extended state stay in the vCPU until somebody
//! asks, or until the vCPU is given to another context ([`Held::give_up`]).

use std::sync::Arc;

use host_sys::process::{Pid, thread_id};
use kvm_bindings::kvm_regs;
use parking_lot::Mutex;
use platform_api::{
    Context, CpuState, Event, Exit as Reason, Fault, Interrupt, PlatformError, Syscall, processor,
};

use crate::faults;
use crate::layout::{GUEST_END, LOWER_END, PAGE};
use crate::pool::Turn;
use crate::registers::{sanitise, take_general};
use crate::seat::{Seat, unblock};
use crate::space::Space;
use crate::stub::{self, Place};
use crate::vcpu::{Exit, Vcpu};

const ENOSYS: i64 = -38;
/// Bytes of the longest instruction.
const LONGEST: u64 = 15;

/// `__X32_SYSCALL_BIT`: numbers from here on are no calls of the 64-bit table.
const X32: u32 = 0x4000_0000;
/// Interruptions in vain after which the guest is given a moment, and requests for its vCPU after which it
/// gives it up although the guest got nowhere with it.
const PATIENCE: u32 = 3;
/// Runs in a row that end because the host has no page, without the guest getting on.
const MAX_BLIND: u32 = 1000;

/// What a vCPU keeps of a context.
pub(crate) struct Rest {
    fs_base: u64,
    gs_base: u64,
    xstate: Vec<u8>,
}

/// What others see of a context that may hold a vCPU.
pub(crate) struct Holder {
    /// Locked while it runs.
    pub(crate) held: Mutex<Held>,
    pub(crate) seat: Arc<Seat>,
}

/// A context's vCPU, or what was in it.
pub(crate) struct Held {
    vcpu: Option<Vcpu>,
    /// Of the vCPU that was given up.
    rest: Option<Rest>,
    xstate_size: usize,
    xcr0: u64,
}

impl Held {
    fn read_rest(&self) -> Result<Option<Rest>, PlatformError> {
        let Some(vcpu) = &self.vcpu else {
            return Ok(None);
        };
        let (fs_base, gs_base, _) = vcpu.bases_and_fault()?;
        let mut xstate = vec![0; self.xstate_size];
        vcpu.read_xstate(&mut xstate)?;
        processor::without_others(&mut xstate, self.xcr0);
        Ok(Some(Rest {
            fs_base,
            gs_base,
            xstate,
        }))
    }

    /// Takes the vCPU from a context that does not run.
    pub(crate) fn give_up(&mut self) -> Result<Option<Vcpu>, PlatformError> {
        if let Some(rest) = self.read_rest()? {
            self.rest = Some(rest);
        }
        Ok(self.vcpu.take())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// In a system call.
    Call,
    /// Anywhere else.
    Stopped,
    Gone,
}

/// One guest thread.
pub(crate) struct GuestThread {
    space: Arc<Space>,
    holder: Arc<Holder>,
    mode: Mode,
    state: CpuState,
    /// Segment bases and extended state in `state` are those of the guest.
    whole: bool,
    /// They were handed out for changing, or the vCPU has others.
    changed: bool,
    /// The thread that ran it last.
    thread: Pid,
    /// Interruptions in a row before the guest got anywhere; after [`PATIENCE`], each moment is longer.
    in_vain: u32,
    /// The way to ring 3 was refused, and the guest got nowhere since.
    refused: bool,
}

/// How the use of a vCPU ended.
enum Used {
    Event(Event),
    /// Others wait for it.
    Wanted,
    /// It broke, and what the guest had in it is gone.
    Broken,
}

/// Whether a run goes on.
enum Next {
    Again,
    /// As it is: the vCPU's registers are the guest's.
    AsItIs,
    Return(Event),
}

impl GuestThread {
    pub(crate) fn new(space: Arc<Space>, mut state: CpuState) -> GuestThread {
        let xstate_size = space.machine.model.xstate_size;
        if state.xstate.len() != xstate_size {
            state.xstate = processor::initial_state(xstate_size);
        }
        let seat = Seat::new();
        space.enter(&seat);
        GuestThread {
            holder: Arc::new(Holder {
                held: Mutex::new(Held {
                    vcpu: None,
                    rest: None,
                    xstate_size,
                    xcr0: space.machine.model.xcr0,
                }),
                seat,
            }),
            space,
            mode: Mode::Stopped,
            state,
            whole: true,
            changed: true,
            thread: 0,
            in_vain: 0,
            refused: false,
        }
    }

    /// Makes `state` complete.
    fn complete(&mut self) -> Result<(), PlatformError> {
        if self.mode == Mode::Gone || self.space.is_dead() {
            return Err(PlatformError::Gone);
        }
        if !self.whole {
            let mut held = self.holder.held.lock();
            let rest = match held.read_rest()? {
                Some(rest) => Some(rest),
                None => {
                    // The vCPU was taken away; the next one gets it from us.
                    self.changed = true;
                    held.rest.take()
                }
            };
            let rest = rest.ok_or(PlatformError::Gone)?;
            self.state.regs.fs_base = rest.fs_base;
            self.state.regs.gs_base = rest.gs_base;
            self.state.xstate = rest.xstate;
            self.whole = true;
        }
        Ok(())
    }

    /// Puts everything that is not a general register into the vCPU.
    fn settle(&mut self, held: &mut Held, turn: Turn) -> Result<(), PlatformError> {
        let fresh = held.vcpu.is_none();
        if fresh {
            let vcpu = self.space.machine.pool.take(
                &self.space.machine,
                &self.holder,
                self.thread,
                turn,
            )?;
            held.vcpu = Some(vcpu);
            let rest = held.rest.take();
            if !self.whole
                && let Some(rest) = rest
            {
                self.state.regs.fs_base = rest.fs_base;
                self.state.regs.gs_base = rest.gs_base;
                self.state.xstate = rest.xstate;
            }
        }
        if !fresh && !self.changed {
            return Ok(());
        }
        let size = held.xstate_size;
        let vcpu = held.vcpu.as_mut().ok_or(PlatformError::Gone)?;
        sanitise(&mut self.state.regs);
        let regs = &self.state.regs;
        vcpu.place(self.space.root, regs.fs_base, regs.gs_base)?;
        let initial = processor::initial_state(size);
        if self.state.xstate.len() != size {
            self.state.xstate.clone_from(&initial);
        }
        vcpu.write_xstate(&self.state.xstate, &initial)
    }

    fn go(&mut self) -> Result<Event, PlatformError> {
        let holder = self.holder.clone();
        let mut held = holder.held.lock();
        let mut turn = Turn::Next;
        loop {
            self.settle(&mut held, turn)?;
            self.changed = false;
            self.whole = false;
            // It begins here: the vCPU may have been long in coming.
            if let Some(more) = self.in_vain.checked_sub(PATIENCE) {
                self.holder.seat.give_moment(more);
            }
            let vcpu = held.vcpu.as_mut().ok_or(PlatformError::Gone)?;
            let used = self.enter(vcpu)?;
            let machine = &self.space.machine;
            match used {
                Used::Event(event) => return Ok(event),
                Used::Wanted => {
                    if let Some(vcpu) = held.give_up()? {
                        machine.pool.give(vcpu);
                    }
                    turn = Turn::AfterOthers;
                }
                Used::Broken => {
                    if let Some(vcpu) = held.vcpu.take() {
                        machine.pool.give_broken(machine, vcpu);
                    }
                    return Err(PlatformError::Gone);
                }
            }
        }
    }

    /// Runs to the next event, or as long as the vCPU may and can be used.
    fn enter(&mut self, vcpu: &mut Vcpu) -> Result<Used, PlatformError> {
        let mut load = true;
        let mut blind = 0;
        let mut in_vain = 0;
        loop {
            if load {
                if let Some(event) = self.impossible() {
                    return Ok(Used::Event(event));
                }
                sanitise_flags(&mut self.state);
                vcpu.load(&self.state.regs);
            }
            let before = vcpu.registers();
            let exit = {
                let _gate = self.space.machine.gate.read();
                let (seat, space) = (&self.holder.seat, &self.space);
                vcpu.run(|| seat.must_stop() || space.is_dead())
            };
            if self.space.is_dead() {
                return Err(PlatformError::Gone);
            }
            let next = match exit {
                Exit::Halted => self.halted(vcpu)?,
                Exit::Kicked => self.kicked(vcpu, &before)?,
                Exit::NoPage(gpa) => {
                    blind += 1;
                    self.no_page(vcpu, gpa, blind)?
                }
                Exit::Broken(reason) => {
                    tracing::error!(reason, state = vcpu.describe(), "the machine broke");
                    return Ok(Used::Broken);
                }
            };
            if exit != Exit::Kicked && !matches!(exit, Exit::NoPage(_)) {
                blind = 0;
            }
            self.space.machine.exits.count(match (exit, &next) {
                (Exit::Halted, Next::Return(Event::Syscall(_))) => Reason::Call,
                (_, Next::Return(Event::Fault(_))) => Reason::Fault,
                (Exit::Halted, _) => Reason::Fill,
                (Exit::Kicked, _) => Reason::Interruption,
                _ => Reason::Host,
            });
            match next {
                Next::Again => load = true,
                Next::AsItIs => load = false,
                Next::Return(event) => return Ok(Used::Event(event)),
            }
            if exit == Exit::Kicked && self.space.machine.pool.is_wanted() {
                // Where entering takes longer than a turn, nobody would get anywhere.
                in_vain += 1;
                if vcpu.registers() != before || in_vain > PATIENCE {
                    return Ok(Used::Wanted);
                }
            }
        }
    }

    /// A state in which ring 3 cannot be entered faults at once.
    fn impossible(&mut self) -> Option<Event> {
        let rip = self.state.regs.rip;
        let canonical = rip < LOWER_END || rip >= LOWER_END.wrapping_neg();
        (!canonical).then(|| {
            self.mode = Mode::Stopped;
            Event::Fault(faults::bad_return())
        })
    }

    /// The stub stopped the machine.
    fn halted(&mut self, vcpu: &Vcpu) -> Result<Next, PlatformError> {
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
            crate::state::Refusal::Unmapped
        } else if faults::is_of_ring_0(error_code) {
            crate::state::Refusal::Forbidden
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
    fn kicked(&mut self, vcpu: &Vcpu, before: &kvm_regs) -> Result<Next, PlatformError> {
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
        if self.holder.seat.must_stop() && self.holder.seat.take_interruption() {
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
    fn no_page(
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

fn sanitise_flags(state: &mut CpuState) {
    let (fs_base, gs_base) = (state.regs.fs_base, state.regs.gs_base);
    sanitise(&mut state.regs);
    (state.regs.fs_base, state.regs.gs_base) = (fs_base, gs_base);
}

impl Context for GuestThread {
    fn run(&mut self) -> Event {
        if self.mode == Mode::Gone || self.space.is_dead() {
            self.mode = Mode::Gone;
            return Event::Gone;
        }
        if self.in_vain < PATIENCE && self.holder.seat.take_interruption() {
            self.in_vain += 1;
            return Event::Interrupted;
        }
        if self.thread == 0 {
            self.thread = thread_id();
            unblock();
        }
        self.holder.seat.begin(thread_id());
        let event = self.go();
        self.holder.seat.end();
        self.holder.seat.end_moment();
        if !matches!(event, Ok(Event::Interrupted)) {
            self.in_vain = 0;
        }
        event.unwrap_or_else(|error| {
            if !matches!(error, PlatformError::Gone) {
                tracing::error!(%error, "a guest thread is lost");
            }
            self.mode = Mode::Gone;
            Event::Gone
        })
    }

    fn set_return(&mut self, value: i64) {
        self.state.regs.rax = value as u64;
    }

    fn state(&mut self) -> Result<&CpuState, PlatformError> {
        self.complete()?;
        Ok(&self.state)
    }

    fn state_mut(&mut self) -> Result<&mut CpuState, PlatformError> {
        self.complete()?;
        self.changed = true;
        self.mode = Mode::Stopped;
        Ok(&mut self.state)
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.holder.seat.clone()
    }
}

impl Drop for GuestThread {
    fn drop(&mut self) {
        self.space.leave(&self.holder.seat);
        let vcpu = self.holder.held.lock().vcpu.take();
        if let Some(vcpu) = vcpu {
            self.space.machine.pool.give(vcpu);
        }
    }
}
