//! The loop that each guest thread's host thread runs.
//!
//! ```text
//!   ┌─▶ work: exit? stop? signals ──▶ run guest code ─┬─ system call ─▶ handler ─┬─ value ─┐
//!   │                                                 ├─ fault ─▶ forced signal   └─ block ─▶ park, again
//!   └─────────────────────────────────────────────────┴─ interrupted ◀───────────────────────┘
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kernel_core::freeze::Turn;
use kernel_core::signal::{Signal, SignalSet, siginfo};
use kernel_core::task::saved::SavedCall;
use kernel_core::task::{Blocked, ExitStatus, OnSignal, Restart, Standstill, Task, TimedCall};
use platform_api::{Context, Event, Fault, FaultKind, Syscall};

use crate::call::{Args, Stop, Sys};
use crate::cpu_time::CpuMeter;
use crate::deliver::{Delivery, Interrupted};
use crate::{System, clock, current, exit, strace, table};

/// Starts the host thread of a task. The context must belong to the task's address space.
///
/// # Errors
/// When the host refuses a thread.
pub fn spawn(system: Arc<System>, task: Arc<Task>, cpu: Box<dyn Context>) -> std::io::Result<()> {
    spawn_in(system, task, cpu, None)
}

/// As [`spawn`], for a task that slept in a call when it was saved: the call is made again first.
pub(crate) fn spawn_in(
    system: Arc<System>,
    task: Arc<Task>,
    cpu: Box<dyn Context>,
    call: Option<(Syscall, Restart)>,
) -> std::io::Result<()> {
    task.set_interrupter(cpu.interrupter());
    let name = format!("task-{}", task.tid());
    let runner = Runner {
        system,
        task,
        cpu,
        meter: CpuMeter::default(),
        call,
        answered: 0,
        turn: None,
    };
    std::thread::Builder::new()
        .name(name)
        .stack_size(256 << 10)
        .spawn(move || runner.run())
        .map(|_| ())
}

/// Whether the task goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    Exit,
}

/// A task and its processor.
pub(crate) struct Runner {
    pub(crate) system: Arc<System>,
    pub(crate) task: Arc<Task>,
    pub(crate) cpu: Box<dyn Context>,
    meter: CpuMeter,
    /// The call it sleeps in, for snapshots; at start the call to make again.
    call: Option<(Syscall, Restart)>,
    /// The last question of the freezer that was answered.
    answered: u64,
    /// Others wait until this task has run.
    turn: Option<Turn>,
}

impl Runner {
    fn run(mut self) {
        self.system.objects.jobs.bind(&self.system);
        current::enter(&self.task);
        self.rejoin();
        let mut flow = match self.call.take() {
            Some((call, restart)) => self.call(call, restart),
            None => self.after_call(),
        };
        while flow == Flow::Continue {
            flow = self.step();
        }
        exit::leave(&self.system, &self.task);
        let Runner {
            system, task, cpu, ..
        } = self;
        // The context goes before its address space, which the task holds.
        drop(cpu);
        current::leave();
        exit::finish(&system, task);
        system.kernel.freezer.leave();
    }

    /// Counts as running again, unless the kernel is frozen: then it waits.
    fn rejoin(&mut self) {
        self.system.kernel.freezer.count_in();
        self.checkpoint();
    }

    fn checkpoint(&mut self) {
        if self.system.kernel.freezer.wanted() {
            let system = Arc::clone(&self.system);
            let mut answer = |number| self.stand_still(number);
            let turn = system.kernel.freezer.checkpoint_with(&mut answer);
            self.turn = turn;
        }
    }

    /// Says where the task stands, once for each time it is asked.
    fn stand_still(&mut self, number: u64) {
        if self.answered == number {
            return;
        }
        self.answered = number;
        let cpu = self.cpu.state().ok().cloned();
        let saved = |(call, restart): &(Syscall, Restart)| {
            SavedCall::new(call.nr, call.args, call.ip, restart)
        };
        let call = self.call.as_ref().map(saved);
        *self.task.standstill.lock() = Some((number, Standstill { cpu, call }));
        self.system.kernel.freezer.answered(number);
    }

    fn step(&mut self) -> Flow {
        if self.task.parker.take_attention() && self.work(None) == Flow::Exit {
            return Flow::Exit;
        }
        self.meter.enter_guest(&self.task);
        let event = self.cpu.run();
        self.meter.leave_guest(&self.task);
        self.turn = None;
        match event {
            Event::Syscall(call) => self.syscall(call),
            Event::Fault(fault) => self.fault(fault),
            Event::Interrupted => Flow::Continue,
            Event::Gone => {
                let killed = ExitStatus::Signal {
                    number: 9,
                    core: false,
                };
                self.system.kernel.exit_process(self.task.process(), killed);
                Flow::Exit
            }
        }
    }

    /// Deals with everything that wants attention: freeze, exit, stop, signals.
    pub(crate) fn work(&mut self, mut interrupted: Option<Interrupted>) -> Flow {
        loop {
            self.checkpoint();
            if self.task.process().exiting().is_some() {
                return Flow::Exit;
            }
            if self.task.leaving() {
                return Flow::Exit;
            }
            if self.wait_while_stopped() {
                continue;
            }
            match self.deliver_one(&mut interrupted) {
                Delivery::None => return Flow::Continue,
                Delivery::Handled | Delivery::Ignored => {}
                Delivery::Exit => return Flow::Exit,
            }
        }
    }

    fn syscall(&mut self, call: Syscall) -> Flow {
        self.call(call, Restart::default())
    }

    fn call(&mut self, call: Syscall, mut restart: Restart) -> Flow {
        let entry = table::lookup(call.nr);
        loop {
            self.task.parker.clear();
            let result = match entry {
                None => {
                    self.system.count_unknown(call.nr);
                    Err(Stop::Errno(base_abi::Errno::ENOSYS))
                }
                Some(entry) => {
                    let mut sys = Sys {
                        system: &self.system,
                        task: &self.task,
                        cpu: &mut self.cpu,
                        restart: &mut restart,
                        nr: call.nr,
                    };
                    (entry.handler)(&mut sys, Args(call.args))
                }
            };
            let value = match result.map_err(after_own_signal) {
                Ok(value) => value.cast_signed(),
                Err(Stop::Errno(errno)) => errno.to_return(),
                Err(Stop::Resume) => {
                    strace::finished(&self.system, &self.task, entry, &call, None);
                    return self.after_call();
                }
                Err(Stop::Exit) => return Flow::Exit,
                Err(Stop::Block(blocked)) => match self.sleep(&call, &mut restart, blocked) {
                    Slept::Again => continue,
                    Slept::Ended(flow) => {
                        strace::finished(&self.system, &self.task, entry, &call, Some(-4));
                        return if flow == Flow::Exit {
                            flow
                        } else {
                            self.after_call()
                        };
                    }
                },
            };
            strace::finished(&self.system, &self.task, entry, &call, Some(value));
            self.cpu.set_return(value);
            return self.after_call();
        }
    }

    /// Puts a temporary signal mask back unless a handler's frame took it over.
    fn after_call(&mut self) -> Flow {
        let temporary = self.task.signals.lock().saved_mask.is_some();
        if !temporary {
            return Flow::Continue;
        }
        if self.work(None) == Flow::Exit {
            return Flow::Exit;
        }
        let mut signals = self.task.signals.lock();
        if let Some(mask) = signals.saved_mask.take() {
            signals.mask = mask;
            drop(signals);
            self.task.parker.raise_attention();
        }
        Flow::Continue
    }

    /// Sleeps in a blocked call until there is reason to run its handler again.
    fn sleep(&mut self, call: &Syscall, restart: &mut Restart, blocked: Blocked) -> Slept {
        self.call = Some((*call, restart.clone()));
        let slept = self.sleep_in_call(call, restart, blocked);
        self.call = None;
        slept
    }

    fn sleep_in_call(&mut self, call: &Syscall, restart: &mut Restart, blocked: Blocked) -> Slept {
        let deadline = restart.deadline.map(|d| self.system.host_instant(d));
        *self.task.blocked_call.lock() = Some(TimedCall {
            nr: call.nr,
            args: call.args,
            deadline: restart.deadline,
        });
        // Signals do not end some waits; death ends all.
        let deaf = blocked.on_signal == OnSignal::Uninterruptible
            && self.task.process().exiting().is_none();
        if deaf || !self.task.parker.has_attention() {
            self.turn = None;
            self.system.kernel.freezer.leave();
            self.meter.sleep(&self.task);
            self.task.parker.park(deadline);
            self.rejoin();
            self.meter.wake();
        }
        drop(blocked.registrations);
        *self.task.blocked_call.lock() = None;
        if deaf && self.task.process().exiting().is_none() {
            return Slept::Again;
        }
        if !self.task.parker.take_attention() {
            return Slept::Again;
        }
        let mut interrupted = Some(Interrupted {
            nr: call.nr,
            on_signal: blocked.on_signal,
            progress: restart.progress,
        });
        let outcome = self.work_in_call(&mut interrupted, restart);
        if outcome == Flow::Exit {
            self.abandon(restart);
            return Slept::Ended(Flow::Exit);
        }
        if interrupted.is_some() {
            // No handler ran: the call goes on as if nothing had happened.
            return Slept::Again;
        }
        self.abandon(restart);
        Slept::Ended(Flow::Continue)
    }

    /// Like `work`, but leaves `interrupted` in place when no handler took it.
    fn work_in_call(&mut self, interrupted: &mut Option<Interrupted>, restart: &Restart) -> Flow {
        loop {
            if interrupted.is_none() && self.call.take().is_some() {
                // A handler's frame took the call over: what stands now is code of the guest. All that the call tells it is told
                // before a checkpoint, as a capture there knows of no call.
                self.tell_remaining(restart);
            }
            self.checkpoint();
            if self.task.process().exiting().is_some() || self.task.leaving() {
                return Flow::Exit;
            }
            if self.wait_while_stopped() {
                continue;
            }
            match self.deliver_one(interrupted) {
                Delivery::None => return Flow::Continue,
                Delivery::Handled | Delivery::Ignored => {}
                Delivery::Exit => return Flow::Exit,
            }
        }
    }

    /// nanosleep(2): writes how much of the sleep a handler cut off.
    fn tell_remaining(&self, restart: &Restart) {
        let (at, Some(deadline)) = (restart.remaining_at, restart.deadline) else {
            return;
        };
        if at != 0 {
            let left = deadline.saturating_sub(self.system.monotonic());
            // A bad address changes nothing any more: the call has already failed.
            let _ = self.task.mm().write_obj(at, &clock::timespec(left));
        }
    }

    fn abandon(&self, restart: &mut Restart) {
        if let Some(waiter) = restart.futex.take() {
            self.system.kernel.futexes.cancel(&waiter);
        }
        self.system.objects.fifos.abandon();
    }

    /// Parks while the process is stopped by job control; true if it was.
    fn wait_while_stopped(&mut self) -> bool {
        let (system, task) = (Arc::clone(&self.system), Arc::clone(&self.task));
        let stopped = || {
            let tree = system.kernel.tree.lock();
            let links = tree.links(task.pid());
            links.is_some_and(|l| matches!(l.stop, kernel_core::task::StopState::Stopped { .. }))
        };
        if !stopped() {
            return false;
        }
        self.task.stopped.store(true, Ordering::SeqCst);
        self.turn = None;
        while stopped() && self.task.process().exiting().is_none() {
            system.kernel.freezer.leave();
            self.task.parker.park(None);
            self.rejoin();
            self.task.parker.take_attention();
        }
        self.task.stopped.store(false, Ordering::SeqCst);
        // What arrived while stopped wants to be looked at.
        self.task.parker.raise_attention();
        true
    }

    /// A fault of guest code becomes a signal that cannot be held back.
    fn fault(&mut self, fault: Fault) -> Flow {
        let signal = match fault.kind {
            FaultKind::Segv => Signal::SEGV,
            FaultKind::Bus => Signal::BUS,
            FaultKind::Ill => Signal::ILL,
            FaultKind::Fpe => Signal::FPE,
            FaultKind::Trap => Signal::TRAP,
        };
        let trap = [fault.trapno, fault.error_code, fault.addr];
        self.force(signal, siginfo::fault(fault.code, fault.addr), trap)
    }

    /// Sends a signal that must be taken now: blocked or ignored means death (`force_sig`).
    pub(crate) fn force(
        &mut self,
        signal: Signal,
        info: base_abi::structs::SigInfo,
        trap: [u64; 3],
    ) -> Flow {
        let blocked = self.task.mask().contains(signal);
        let process = Arc::clone(self.task.process());
        process.with_actions(|actions| {
            if blocked || actions.ignores(signal) {
                actions.reset(signal);
            }
        });
        {
            let mut signals = self.task.signals.lock();
            signals.mask = signals.mask.minus(SignalSet::EMPTY.with(signal));
        }
        let info = base_abi::structs::SigInfo {
            signo: signal.number(),
            ..info
        };
        match self.act_on(signal, info, trap, &mut None) {
            Delivery::Exit => Flow::Exit,
            _ => Flow::Continue,
        }
    }
}

/// `ERESTARTSYS`: the call sent its own task a signal (terminals, job control) and goes on after it.
const RESTART: i32 = 512;

fn after_own_signal(stop: Stop) -> Stop {
    match stop {
        Stop::Errno(errno) if errno.raw() == RESTART => Stop::Block(Blocked {
            registrations: Vec::new(),
            on_signal: OnSignal::Restart,
        }),
        other => other,
    }
}

enum Slept {
    Again,
    Ended(Flow),
}
