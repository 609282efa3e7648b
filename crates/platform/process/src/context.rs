//! Guest threads: the loop of system calls, and registers by ptrace.
//!
//! ```text
//!            run                      suspended call                 set_return, run
//!  Fresh ───────────▶ (in run) ─────────────────────▶ Call ─────────────────────────▶ (in run)
//!                        │  ▲                          │
//!      fault, interrupt  │  │ run                      │ state, state_mut
//!                        ▼  │                          ▼
//!                      Stopped ◀───────────────────────┘
//!  any ──stub died──▶ Gone
//! ```

use std::os::fd::AsRawFd;
use std::sync::Arc;

use host_sys::process::{Change, Patience, Pid, thread_id, wait};
use host_sys::ptrace::{self, RawRegisters};
use host_sys::seccomp::{Listener, Notification};
use platform_api::{
    Context, CpuClock, CpuState, Event, Exit, ExitCounts, Interrupt, PlatformError, Syscall,
};

use crate::blob;
use crate::fault;
use crate::interrupt::ThreadHandle;
use crate::registers::{from_raw, into_raw};
use crate::stub::Stub;
use crate::stub_threads::Parked;
use crate::wakeup;
use crate::xstate::Extended;

/// `ERESTARTSYS`: what a cancelled suspended call leaves in `rax` until it is restarted.
const RESTART: u64 = -512i64 as u64;
const NO_CALL: i64 = -1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Never ran; nobody traces it.
    Fresh,
    /// In a suspended call with this cookie.
    Call(u64),
    /// In a ptrace stop.
    Stopped,
    /// No longer there.
    Gone,
}

/// How a suspended call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Value(i64),
    Natively,
}

/// What a look at the thread's stops found.
enum Found {
    Event(Event),
    /// The stop that [`ptrace::interrupt`] asked for.
    Halt,
    Nothing,
}

/// One guest thread.
pub(crate) struct GuestThread {
    stub: Arc<Stub>,
    tid: Pid,
    listener: Listener,
    handle: Arc<ThreadHandle>,
    /// Number of the thread that traces it; 0 while fresh.
    owner: Pid,
    mode: Mode,
    reply: Option<Reply>,
    /// Number and address of the suspended call.
    call: (i32, u64),
    raw: RawRegisters,
    state: CpuState,
    /// `state` and `raw` are those of the current stop.
    loaded: bool,
    /// `state` was handed out for changing, or differs from what the host has.
    changed: bool,
    /// The extended state as the host has it, to see whether it was changed.
    host_xstate: Vec<u8>,
    extended: Extended,
    exits: Arc<ExitCounts>,
    /// It counts as its owner's: undone once.
    bound: bool,
    /// The host already reaped it.
    reaped: bool,
}

impl GuestThread {
    pub(crate) fn new(
        stub: Arc<Stub>,
        parked: Parked,
        mut state: CpuState,
        extended: Extended,
        exits: Arc<ExitCounts>,
    ) -> GuestThread {
        if state.xstate.len() != extended.len {
            state.xstate = extended.initial();
        }
        // SAFETY: needed to get a zeroed C structure of plain integers.
        let raw: RawRegisters = unsafe { std::mem::zeroed() };
        GuestThread {
            stub,
            tid: parked.tid,
            listener: parked.listener,
            handle: ThreadHandle::new(parked.tid),
            owner: 0,
            mode: Mode::Fresh,
            reply: None,
            call: (0, 0),
            raw,
            state,
            loaded: true,
            changed: true,
            host_xstate: Vec::new(),
            extended,
            exits,
            bound: false,
            reaped: false,
        }
    }

    /// Makes the calling thread the owner: traces the thread and stops it.
    fn bind(&mut self) -> Result<(), PlatformError> {
        if ptrace::seize(self.tid, ptrace::Options::EXIT_KILL).is_err() {
            // It is ours to trace unless it died.
            self.mode = Mode::Gone;
            self.reaped = true;
            return Err(PlatformError::Gone);
        }
        self.owner = thread_id();
        wakeup::bind();
        self.bound = true;
        self.handle.register();
        self.halt()?;
        self.raw = ptrace::registers(self.tid).map_err(|_| self.lost())?;
        // The parked call of the code page is not the guest's.
        (self.raw.ds, self.raw.es, self.raw.fs, self.raw.gs) = (0, 0, 0, 0);
        Ok(())
    }

    /// Stops the thread wherever it is; a fault that comes first is lost only in that it will happen again.
    fn halt(&mut self) -> Result<(), PlatformError> {
        if ptrace::interrupt(self.tid).is_err() {
            return Err(self.lost());
        }
        match wait(self.tid, Patience::Block) {
            Ok(Some(Change::Stopped { .. })) => {
                self.mode = Mode::Stopped;
                Ok(())
            }
            _ => {
                self.reaped = true;
                Err(self.lost())
            }
        }
    }

    fn lost(&mut self) -> PlatformError {
        self.mode = Mode::Gone;
        PlatformError::Gone
    }

    /// Makes `state` that of the stopped thread.
    fn load(&mut self) -> Result<(), PlatformError> {
        match self.mode {
            Mode::Gone => return Err(PlatformError::Gone),
            Mode::Fresh => return Ok(()),
            Mode::Call(_) => {
                self.halt()?;
                self.read_registers()?;
                self.state.regs.rax = match self.reply.take() {
                    Some(Reply::Value(value)) => value as u64,
                    _ => -i64::from(libc::ENOSYS) as u64,
                };
                self.changed = true;
            }
            Mode::Stopped if self.loaded => return Ok(()),
            Mode::Stopped => {
                self.read_registers()?;
                if self.raw.orig_rax as i64 > NO_CALL && self.raw.rax == RESTART {
                    // It was about to ask, and its call was cancelled before we received it: show it before the call.
                    self.state.regs.rax = self.raw.orig_rax;
                    self.state.regs.rip = self.raw.rip.wrapping_sub(2);
                    self.changed = true;
                }
            }
        }
        let read = self.extended.read(self.tid, &mut self.state.xstate);
        read.map_err(|_| self.lost())?;
        self.host_xstate.clone_from(&self.state.xstate);
        self.loaded = true;
        Ok(())
    }

    fn read_registers(&mut self) -> Result<(), PlatformError> {
        self.raw = ptrace::registers(self.tid).map_err(|_| self.lost())?;
        self.state.regs = from_raw(&self.raw);
        Ok(())
    }

    /// Gives the stopped thread its changed state, and lets it run.
    fn resume(&mut self) -> Result<(), PlatformError> {
        if self.loaded && self.changed {
            into_raw(&self.state.regs, &mut self.raw);
            ptrace::set_registers(self.tid, &self.raw).map_err(|_| self.lost())?;
            if self.state.xstate.len() != self.extended.len {
                self.state.xstate = self.extended.initial();
            }
            if self.state.xstate != self.host_xstate {
                let written = self.extended.write(self.tid, &self.state.xstate);
                written.map_err(|_| self.lost())?;
            }
        }
        self.loaded = false;
        self.changed = false;
        ptrace::resume(self.tid).map_err(|_| self.lost())
    }

    /// Ends the suspended call or the stop, so that guest code runs.
    fn release(&mut self) -> Result<(), PlatformError> {
        match self.mode {
            Mode::Call(id) => {
                let reply = self.reply.unwrap_or(Reply::Value(-i64::from(libc::ENOSYS)));
                let sent = match reply {
                    Reply::Value(value) => self.listener.answer(id, value),
                    Reply::Natively => self.listener.continue_call(id),
                };
                if sent.is_err() {
                    // Cancelled by a stop from outside: the call must not be made again, so its end is written into the registers.
                    self.load()?;
                    return self.resume();
                }
                self.reply = None;
                Ok(())
            }
            Mode::Stopped => self.resume(),
            Mode::Fresh => {
                self.bind()?;
                self.resume()
            }
            Mode::Gone => Err(PlatformError::Gone),
        }
    }

    /// Blocks until the running thread does something.
    fn wait_event(&mut self) -> Event {
        let mut got = Notification::default();
        loop {
            match wakeup::receive(self.listener.as_raw_fd(), &mut got) {
                Ok(()) => {
                    self.mode = Mode::Call(got.id);
                    self.call = (got.nr, got.ip);
                    return Event::Syscall(Syscall {
                        nr: u64::from(got.nr as u32),
                        args: got.args,
                        ip: got.ip,
                    });
                }
                Err(_) => {
                    wakeup::clear();
                    match self.look(Patience::Poll) {
                        Found::Event(event) => return event,
                        Found::Halt => {
                            // A stop from outside (SIGSTOP to the stub): guests do not stop that way.
                            if ptrace::resume(self.tid).is_err() {
                                self.mode = Mode::Gone;
                                return Event::Gone;
                            }
                        }
                        Found::Nothing => {}
                    }
                    if self.handle.is_interrupted() {
                        return self.interrupted();
                    }
                }
            }
        }
    }

    /// Stops the running thread for an interruption.
    fn interrupted(&mut self) -> Event {
        if ptrace::interrupt(self.tid).is_err() {
            self.mode = Mode::Gone;
            return Event::Gone;
        }
        let mut found = self.look(Patience::Block);
        if matches!(found, Found::Halt) && self.has_queued_fault() {
            // The guest faulted at the same moment. Its signal is delivered before any instruction; left in
            // the queue it would hit whatever state the kernel gives the thread now.
            if ptrace::resume(self.tid).is_ok() {
                found = self.look(Patience::Block);
            }
        }
        match found {
            // A fault or death came first; the interruption stays for the next time.
            Found::Event(event) => event,
            Found::Halt | Found::Nothing => {
                self.mode = Mode::Stopped;
                self.handle.take_interruption();
                Event::Interrupted
            }
        }
    }

    /// What the running thread's ptrace stops say.
    fn look(&mut self, patience: Patience) -> Found {
        loop {
            match wait(self.tid, patience) {
                Ok(None) => return Found::Nothing,
                Ok(Some(Change::Stopped { event: 0, .. })) => {
                    if let Some(fault) = ptrace::signal_info(self.tid)
                        .ok()
                        .and_then(|info| fault::of(&info))
                    {
                        self.mode = Mode::Stopped;
                        return Found::Event(Event::Fault(fault));
                    }
                    // A signal that some process sent; guests never see those.
                    if ptrace::resume(self.tid).is_err() {
                        self.mode = Mode::Gone;
                        return Found::Event(Event::Gone);
                    }
                }
                Ok(Some(Change::Stopped { .. })) => return Found::Halt,
                Ok(Some(Change::Exited(_) | Change::Killed(_))) | Err(_) => {
                    self.reaped = true;
                    self.mode = Mode::Gone;
                    return Found::Event(Event::Gone);
                }
            }
        }
    }

    fn has_queued_fault(&self) -> bool {
        let queued = ptrace::queued_signals(self.tid).unwrap_or_default();
        queued.iter().any(|info| fault::of(info).is_some())
    }

    /// Makes the thread exit on the host, on its owner.
    fn end(&mut self) -> Result<(), PlatformError> {
        let exiting =
            matches!(self.mode, Mode::Call(_)) && i64::from(self.call.0) == libc::SYS_exit;
        if exiting {
            self.reply = Some(Reply::Natively);
        } else {
            self.load()?;
            if self.mode == Mode::Fresh {
                self.bind()?;
                self.loaded = true;
            }
            self.state.regs.rip = blob::gadget();
            self.state.regs.rax = libc::SYS_exit as u64;
            self.changed = true;
        }
        self.release()?;
        let mut left = if exiting { 0 } else { 1 };
        while left > 0 {
            match self.wait_event() {
                Event::Syscall(call) if call.nr == libc::SYS_exit as u64 => {
                    self.reply = Some(Reply::Natively);
                    self.release()?;
                    left -= 1;
                }
                Event::Interrupted => self.release()?,
                Event::Gone => return Ok(()),
                // Our own code page cannot fault or call anything else.
                Event::Syscall(_) | Event::Fault(_) => return Err(PlatformError::Gone),
            }
        }
        while !self.reaped {
            if let Found::Event(_) = self.look(Patience::Block) {
                break;
            }
            let _ = ptrace::resume(self.tid);
        }
        Ok(())
    }
}

impl Context for GuestThread {
    fn run(&mut self) -> Event {
        let owner = if self.owner == 0 {
            thread_id()
        } else {
            self.owner
        };
        self.handle.begin(owner);
        let event = if self.mode != Mode::Gone
            && self.handle.is_interrupted()
            && self.handle.take_interruption()
        {
            // The suspended call, if there is one, stays as it is.
            Event::Interrupted
        } else {
            match self.release() {
                Ok(()) => self.wait_event(),
                Err(_) => Event::Gone,
            }
        };
        self.handle.end();
        match event {
            Event::Syscall(_) => self.exits.count(Exit::Call),
            Event::Fault(_) => self.exits.count(Exit::Fault),
            Event::Interrupted => self.exits.count(Exit::Interruption),
            Event::Gone => {}
        }
        event
    }

    fn set_return(&mut self, value: i64) {
        match self.mode {
            Mode::Call(_) => self.reply = Some(Reply::Value(value)),
            _ => {
                if self.load().is_ok() {
                    self.state.regs.rax = value as u64;
                    self.changed = true;
                }
            }
        }
    }

    fn continue_natively(&mut self) -> bool {
        let pending = matches!(self.mode, Mode::Call(_));
        if pending {
            self.reply = Some(Reply::Natively);
        }
        pending
    }

    fn state(&mut self) -> Result<&CpuState, PlatformError> {
        self.load()?;
        Ok(&self.state)
    }

    fn state_mut(&mut self) -> Result<&mut CpuState, PlatformError> {
        self.load()?;
        self.changed = true;
        Ok(&mut self.state)
    }

    fn cpu_clock(&self) -> CpuClock {
        CpuClock::Process(self.stub.pid)
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.handle.clone()
    }
}

impl Drop for GuestThread {
    fn drop(&mut self) {
        if self.mode == Mode::Fresh && self.stub.is_killed() {
            // Never traced: the host reaps it.
            return;
        }
        let on_owner = self.owner == 0 || self.owner == thread_id();
        if self.mode != Mode::Gone && !self.stub.is_killed() {
            if !on_owner {
                tracing::warn!(
                    tid = self.tid,
                    "guest thread dropped away from its owner; killing its address space"
                );
                self.stub.kill();
            } else if self.end().is_err() {
                self.stub.kill();
            }
        }
        if self.bound {
            self.handle.unregister();
            if on_owner {
                wakeup::unbind();
            }
        }
        while !self.reaped {
            match wait(self.tid, Patience::Block) {
                Ok(Some(Change::Stopped { .. })) => {}
                _ => self.reaped = true,
            }
        }
    }
}
