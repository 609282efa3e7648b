//! Faults of guest code become signals that cannot be held back.

use std::sync::Arc;

use base_abi::structs::SigInfo;
use kernel_core::signal::{Signal, SignalSet, siginfo};
use platform_api::{Fault, FaultKind};

use super::deliver::Delivery;
use super::runner::{Flow, Runner};

impl Runner {
    /// A fault of guest code becomes a signal that cannot be held back.
    pub(super) fn fault(&mut self, fault: Fault) -> Flow {
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
