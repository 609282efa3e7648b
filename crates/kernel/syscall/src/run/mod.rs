//! The loop that each guest thread's host thread runs.
//!
//! ```text
//!   ┌─▶ work: exit? stop? signals ──▶ run guest code ─┬─ system call ─▶ handler ─┬─ value ─┐
//!   │                                                 ├─ fault ─▶ forced signal   └─ block ─▶ park, again
//!   └─────────────────────────────────────────────────┴─ interrupted ◀───────────────────────┘
//! ```

mod attention;
mod deliver;
mod fault;
mod runner;
mod sleep;

use std::sync::Arc;

use base_abi::Errno;
use kernel_core::task::{Blocked, ExitStatus, OnSignal, Restart, Task};
use kernel_vfs::Events;
use platform_api::{Context, Event, Syscall};

use self::runner::{Flow, Runner};
use self::sleep::Slept;
use crate::call::{Args, Stop, Sys};
use crate::cpu_time::CpuMeter;
use crate::{System, current, exit, strace, table};

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
        thaw_ticket: None,
    };
    std::thread::Builder::new()
        .name(name)
        .stack_size(256 << 10)
        .spawn(move || runner.run())
        .map(|_| ())
}

impl Runner {
    fn run(mut self) {
        current::enter(&self.task);
        self.meter.start(&self.task, self.cpu.cpu_clock());
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

    fn step(&mut self) -> Flow {
        if self.task.parker.take_attention() && self.work(None) == Flow::Exit {
            return Flow::Exit;
        }
        self.meter.enter_guest(&self.task);
        let event = self.cpu.run();
        self.meter.leave_guest(&self.task);
        if self.task.parker.has_attention() {
            self.system.kernel.guest_left.wake(Events::all());
        }
        self.thaw_ticket = None;
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
                    Err(Stop::Errno(Errno::ENOSYS))
                }
                Some(entry) => {
                    let mut sys = Sys {
                        system: &self.system,
                        task: &self.task,
                        cpu: &mut self.cpu,
                        restart: &mut restart,
                        nr: call.nr,
                        start_task: spawn,
                    };
                    (entry.handler)(&mut sys, Args(call.args))
                }
            };
            let result = match result {
                Err(Stop::Errno(Errno::EFAULT)) => Err(self.after_miss(restart.progress)),
                other => other,
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
            // Its files end with the call, not with what comes before the guest runs again.
            drop(restart);
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
