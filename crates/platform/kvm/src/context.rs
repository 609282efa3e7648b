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
//! asks, or until the vCPU is given to another context ([`VcpuSlot::give_up`]).

mod exits;

use std::sync::Arc;

use host_sys::process::{Pid, thread_id};
use platform_api::{Context, CpuState, Event, Exit as Reason, Interrupt, PlatformError, processor};

use crate::faults;
use crate::holder::{Holder, VcpuSlot};
use crate::interrupt::{ThreadHandle, unblock};
use crate::layout::LOWER_END;
use crate::pool::Priority;
use crate::registers::sanitise;
use crate::space::Space;
use crate::vcpu::{Exit, Vcpu};
use exits::Next;

/// Interruptions in vain after which the guest is given a grace period, and requests for its vCPU after which it
/// gives it up although the guest got nowhere with it.
const PATIENCE: u32 = 3;

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
    /// Interruptions in a row before the guest got anywhere; after [`PATIENCE`], each of them is longer.
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

impl GuestThread {
    pub(crate) fn new(space: Arc<Space>, mut state: CpuState) -> GuestThread {
        let xstate_size = space.machine.vm.model.xstate_size;
        if state.xstate.len() != xstate_size {
            state.xstate = processor::initial_state(xstate_size);
        }
        let handle = ThreadHandle::new();
        space.enter(&handle);
        GuestThread {
            holder: Holder::new(&space.machine.vm.model, handle),
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
            let mut slot = self.holder.slot.lock();
            let rest = match slot.read_rest()? {
                Some(rest) => Some(rest),
                None => {
                    // The vCPU was taken away; the next one gets it from us.
                    self.changed = true;
                    slot.rest.take()
                }
            };
            let rest = rest.ok_or(PlatformError::Gone)?;
            rest.put_into(&mut self.state);
            self.whole = true;
        }
        Ok(())
    }

    /// Puts everything that is not a general register into the vCPU.
    fn settle(&mut self, slot: &mut VcpuSlot, priority: Priority) -> Result<(), PlatformError> {
        let fresh = slot.vcpu.is_none();
        if fresh {
            let vcpu = self.space.machine.pool.take(
                &self.space.machine.vm,
                &self.holder,
                self.thread,
                priority,
            )?;
            slot.vcpu = Some(vcpu);
            let rest = slot.rest.take();
            if !self.whole
                && let Some(rest) = rest
            {
                rest.put_into(&mut self.state);
            }
        }
        if !fresh && !self.changed {
            return Ok(());
        }
        let size = slot.xstate_size;
        let vcpu = slot.vcpu.as_mut().ok_or(PlatformError::Gone)?;
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
        let mut slot = holder.slot.lock();
        let mut priority = Priority::Next;
        loop {
            self.settle(&mut slot, priority)?;
            self.changed = false;
            self.whole = false;
            // It begins here: the vCPU may have been long in coming.
            if let Some(more) = self.in_vain.checked_sub(PATIENCE) {
                self.holder.handle.give_grace(more);
            }
            let vcpu = slot.vcpu.as_mut().ok_or(PlatformError::Gone)?;
            let used = self.enter(vcpu)?;
            let machine = &self.space.machine;
            match used {
                Used::Event(event) => return Ok(event),
                Used::Wanted => {
                    if let Some(vcpu) = slot.give_up()? {
                        machine.pool.give(vcpu);
                    }
                    priority = Priority::AfterOthers;
                }
                Used::Broken => {
                    if let Some(vcpu) = slot.vcpu.take() {
                        machine.pool.give_broken(&machine.vm, vcpu);
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
                let (handle, space) = (&self.holder.handle, &self.space);
                vcpu.run(|| handle.must_stop() || space.is_dead())
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
                // Where entering takes longer than a slice, nobody would get anywhere.
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
        if self.in_vain < PATIENCE && self.holder.handle.take_interruption() {
            self.in_vain += 1;
            return Event::Interrupted;
        }
        if self.thread == 0 {
            self.thread = thread_id();
            unblock();
        }
        self.holder.handle.begin(thread_id());
        let event = self.go();
        self.holder.handle.end();
        self.holder.handle.end_grace();
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
        self.holder.handle.clone()
    }
}

impl Drop for GuestThread {
    fn drop(&mut self) {
        self.space.leave(&self.holder.handle);
        let vcpu = self.holder.slot.lock().vcpu.take();
        if let Some(vcpu) = vcpu {
            self.space.machine.pool.give(vcpu);
        }
    }
}
