//! Taking pending signals: ignore, stop, end, or call the handler (signal(7)).

use std::sync::Arc;

use base_abi::Errno;
use base_abi::structs::SigInfo;
use kernel_core::signal::{
    DefaultAction, Disposition, FrameRequest, Signal, SignalSet, si_code, write_frame,
};
use kernel_core::task::{ExitStatus, OnSignal, StopState};

use super::runner::Runner;

const SA_NODEFER: u64 = 0x4000_0000;
const SA_RESETHAND: u64 = 0x8000_0000;
const SA_RESTART: u64 = 0x1000_0000;
const SA_NOCLDSTOP: u64 = 1;

/// A blocked call that a signal may end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupted {
    pub(crate) nr: u64,
    pub(crate) on_signal: OnSignal,
    pub(crate) progress: u64,
}

/// What came of looking for one signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Nothing deliverable is pending.
    None,
    /// A handler's frame was set up.
    Handled,
    /// A signal was taken without effect on the registers.
    Ignored,
    /// The process ends.
    Exit,
}

impl Runner {
    /// Takes one deliverable signal. A handler consumes `interrupted`.
    pub(crate) fn deliver_one(&mut self, interrupted: &mut Option<Interrupted>) -> Delivery {
        let taken = {
            let mut signals = self.task.signals.lock();
            let mask = signals.mask;
            signals
                .pending
                .take(mask)
                .or_else(|| self.task.process().signals.lock().pending.take(mask))
        };
        match taken {
            None => Delivery::None,
            Some((signal, info)) if self.task.process().is_spared(signal, &info) => {
                Delivery::Ignored
            }
            Some((signal, info)) => self.act_on(signal, info, [0; 3], interrupted),
        }
    }

    pub(crate) fn act_on(
        &mut self,
        signal: Signal,
        info: SigInfo,
        trap: [u64; 3],
        interrupted: &mut Option<Interrupted>,
    ) -> Delivery {
        let disposition = self.task.process().with_actions(|actions| {
            let disposition = actions.disposition(signal);
            if let Disposition::Handle(action) = disposition
                && action.flags & SA_RESETHAND != 0
            {
                actions.reset(signal);
            }
            disposition
        });
        match disposition {
            Disposition::Ignore
            | Disposition::Default(DefaultAction::Ignore | DefaultAction::Continue) => {
                Delivery::Ignored
            }
            Disposition::Default(DefaultAction::Stop) => {
                self.stop(signal);
                Delivery::Ignored
            }
            Disposition::Default(DefaultAction::Terminate) => self.die(signal, false),
            Disposition::Default(DefaultAction::Core) => self.die(signal, true),
            Disposition::Handle(action) => {
                let call = interrupted.take();
                match self.enter_handler(signal, action, info, trap, call) {
                    Ok(()) => Delivery::Handled,
                    Err(()) => self.die(Signal::SEGV, true),
                }
            }
        }
    }

    fn die(&mut self, signal: Signal, core: bool) -> Delivery {
        tracing::debug!(tid = self.task.tid(), ?signal, "killed by signal");
        let number = u8::try_from(signal.number()).unwrap_or(9);
        self.system
            .kernel
            .exit_process(self.task.process(), ExitStatus::Signal { number, core });
        Delivery::Exit
    }

    fn enter_handler(
        &mut self,
        signal: Signal,
        action: base_abi::structs::SigAction,
        info: SigInfo,
        trap: [u64; 3],
        call: Option<Interrupted>,
    ) -> Result<(), ()> {
        let features = self.system.kernel.platform.features();
        let mm = self.task.mm();
        let cpu = self.cpu.state_mut().map_err(|_| ())?;
        if let Some(call) = call {
            let again = call.on_signal == OnSignal::Restart && action.flags & SA_RESTART != 0;
            if again {
                cpu.regs.rax = call.nr;
                cpu.regs.rip = cpu.regs.rip.wrapping_sub(2);
            } else if call.on_signal == OnSignal::Partial {
                cpu.regs.rax = call.progress;
            } else {
                cpu.regs.rax = Errno::EINTR.to_return().cast_unsigned();
            }
        }
        let mut signals = self.task.signals.lock();
        let mask = signals.saved_mask.take().unwrap_or(signals.mask);
        let request = FrameRequest {
            action,
            info,
            mask,
            alt_stack: &mut signals.alt_stack,
            trap,
        };
        write_frame(mm.as_ref(), &features, cpu, request).map_err(|_| ())?;
        let own = if action.flags & SA_NODEFER != 0 {
            SignalSet::EMPTY
        } else {
            SignalSet::EMPTY.with(signal)
        };
        signals.mask = signals
            .mask
            .union(SignalSet(action.mask))
            .union(own)
            .blockable();
        Ok(())
    }

    /// Stops the whole process until `SIGCONT` (job control).
    fn stop(&mut self, signal: Signal) {
        let kernel = &self.system.kernel;
        let (threads, parent) = {
            let mut tree = kernel.tree.lock();
            let group = tree.links(self.task.pid()).map_or(0, |l| l.group);
            let orphaned = tree.is_orphaned_group(group);
            let Some(links) = tree.links_mut(self.task.pid()) else {
                return;
            };
            if signal != Signal::STOP && orphaned {
                return;
            }
            links.stop = StopState::Stopped {
                signal,
                reported: false,
            };
            let parent = links.parent;
            (
                tree.threads_of(self.task.pid()),
                tree.links(parent).map(|l| Arc::clone(&l.process)),
            )
        };
        for task in threads.iter().filter(|t| t.tid() != self.task.tid()) {
            task.kick();
        }
        let Some(parent) = parent else { return };
        let silent = parent.with_actions(|a| a.get(Signal::CHLD).flags & SA_NOCLDSTOP != 0);
        if silent {
            parent.child_queue.wake(kernel_vfs::Events::READABLE);
        } else {
            kernel.notify_parent(
                &parent,
                self.task.process(),
                si_code::CLD_STOPPED,
                signal.number(),
            );
        }
    }
}
