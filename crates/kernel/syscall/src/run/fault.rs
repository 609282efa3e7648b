//! Faults of guest code: content of lazy files is waited for; all others become signals that cannot be held back.

use std::sync::Arc;

use base_abi::Errno;
use base_abi::structs::SigInfo;
use kernel_core::signal::{Signal, SignalSet, siginfo};
use kernel_core::task::{Blocked, OnSignal};
use kernel_mm::{Access, FaultAnswer, take_missed};
use kernel_vfs::{Events, PollTable};
use platform_api::{Fault, FaultKind};

use super::deliver::Delivery;
use super::runner::{Flow, Runner};
use crate::call::Stop;

/// `BUS_ADRERR`: nothing is at the address (sigaction(2)).
const BUS_ADRERR: i32 = 2;

impl Runner {
    /// A fault for want of content that comes later is none of the guest's: waits for it and runs the instruction again.
    fn bring_in(&mut self, fault: &Fault) -> Option<Flow> {
        let mm = self.task.mm();
        let access = Access::from_error_code(fault.error_code);
        let mut answer = mm.fault(fault.addr, access);
        if let FaultAnswer::NotYet(file) = answer {
            self.task.parker.clear();
            let mut table = PollTable::waiting(self.task.parker.clone(), Events::READABLE);
            file.file().poll(&mut table);
            answer = mm.fault(fault.addr, access);
            if matches!(answer, FaultAnswer::NotYet(_)) {
                self.sleep_at_fault();
                answer = FaultAnswer::Again;
            }
            drop(table);
        }
        match answer {
            FaultAnswer::Signal => None,
            FaultAnswer::Again | FaultAnswer::NotYet(_) => Some(Flow::Continue),
            FaultAnswer::Lost => {
                let info = siginfo::fault(BUS_ADRERR, fault.addr);
                let trap = [fault.trapno, fault.error_code, fault.addr];
                Some(self.force(Signal::BUS, info, trap))
            }
        }
    }

    /// Until something comes, or somebody wants attention.
    fn sleep_at_fault(&mut self) {
        if self.task.parker.has_attention() {
            return;
        }
        self.thaw_ticket = None;
        self.system.kernel.freezer.leave();
        let asleep = self.meter.sleep(&self.task);
        self.task.parker.park(None);
        self.rejoin();
        self.meter.wake(asleep);
    }

    /// A call that failed for want of such content, after so much progress, waits for it and is made again.
    pub(super) fn after_miss(&self, progress: u64) -> Stop {
        let mm = self.task.mm();
        let Some(addr) = take_missed(&mm) else {
            return Stop::Errno(Errno::EFAULT);
        };
        let mut table = PollTable::waiting(self.task.parker.clone(), Events::READABLE);
        let mut answer = mm.missed(addr);
        if let FaultAnswer::NotYet(file) = answer {
            file.file().poll(&mut table);
            answer = mm.missed(addr);
        }
        match answer {
            FaultAnswer::Signal => return Stop::Errno(Errno::EFAULT),
            FaultAnswer::Lost => return Stop::Errno(Errno::EIO),
            FaultAnswer::Again => self.task.parker.unpark(),
            FaultAnswer::NotYet(_) => {}
        }
        // Beginning anew would do again what was done.
        let on_signal = if progress == 0 {
            OnSignal::Restart
        } else {
            OnSignal::Partial
        };
        Stop::Block(Blocked {
            registrations: table.into_registrations(),
            on_signal,
        })
    }

    /// A fault of guest code becomes a signal that cannot be held back.
    pub(super) fn fault(&mut self, fault: Fault) -> Flow {
        if fault.kind == FaultKind::Segv
            && let Some(flow) = self.bring_in(&fault)
        {
            return flow;
        }
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
    pub(crate) fn force(&mut self, signal: Signal, info: SigInfo, trap: [u64; 3]) -> Flow {
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
        let info = SigInfo {
            signo: signal.number(),
            ..info
        };
        match self.act_on(signal, info, trap, &mut None) {
            Delivery::Exit => Flow::Exit,
            _ => Flow::Continue,
        }
    }
}
