//! The threads of a stub that the tracer traces, and what became of them.

use host_sys::process::{Change, Patience, Pid, PidFd, wait};
use host_sys::ptrace;
use host_sys::seccomp::Listener;

use crate::blob;

/// The threads of a stub that the tracer traces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StubThreads {
    pub(crate) spawner: Pid,
    pub(crate) mapper: Option<Pid>,
}

/// A guest thread that waits for its first registers; not traced yet.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) tid: Pid,
    pub(crate) listener: Listener,
}

/// A stub fresh from its fork.
#[derive(Debug)]
pub(crate) struct Forked {
    pub(crate) pid: Pid,
    pub(crate) pidfd: PidFd,
    pub(crate) mapper: Pid,
    pub(crate) mapper_listener: Listener,
    pub(crate) parked: Parked,
}

/// Reaps what has died of a killed stub; whether nothing is left.
pub(crate) fn are_reaped(threads: StubThreads) -> bool {
    let ended = |pid| loop {
        match wait(pid, Patience::Poll) {
            Ok(None) => return false,
            Ok(Some(Change::Stopped { .. })) => {}
            Ok(Some(_)) | Err(_) => return true,
        }
    };
    if let Some(mapper) = threads.mapper {
        ended(mapper);
    }
    ended(threads.spawner)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Goes,
    Ended,
}

/// Consumes what happened to a mapper. One that faulted in its one guest access is moved to its error report.
pub(crate) fn watch_mapper(mapper: Pid) -> Life {
    match wait(mapper, Patience::Poll) {
        Ok(None) => Life::Goes,
        Ok(Some(Change::Stopped { event, .. })) => {
            if event == 0
                && let Ok(mut regs) = ptrace::registers(mapper)
                && regs.rip == blob::swap()
            {
                regs.rip = blob::swap_fault();
                regs.orig_rax = u64::MAX;
                let _ = ptrace::set_registers(mapper, &regs);
                // The fault unblocked its signal.
                let _ = ptrace::block_signals(mapper);
            }
            // Signals are suppressed. A mapper that is gone says so at the next look.
            let _ = ptrace::resume(mapper);
            Life::Goes
        }
        Ok(Some(Change::Exited(_) | Change::Killed(_))) | Err(_) => Life::Ended,
    }
}
