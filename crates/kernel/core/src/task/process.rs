//! Processes (thread groups): what all threads of a process share besides memory and files.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use base_abi::structs::SigInfo;
use kernel_vfs::WaitQueue;
use parking_lot::{Mutex, RwLock};

use super::{Creds, ExitStatus, Pid, Protection, Resource, Rlimits};
use crate::signal::{Actions, DefaultAction, Disposition, Pending, Signal};

/// Signals of a process: shared queue and actions.
#[derive(Default)]
pub struct ProcessSignals {
    /// Sent to the process, taken by any thread.
    pub pending: Pending,
}

/// CPU time, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TimesUsed {
    /// In guest code.
    pub user: u64,
    /// In our kernel.
    pub system: u64,
}

/// A process. Its relations to others live in [`Tree`](super::Tree) under one lock.
pub struct Process {
    pid: Pid,
    /// Signal actions; shared between processes by `CLONE_SIGHAND` without `CLONE_THREAD`.
    pub actions: RwLock<Arc<Mutex<Actions>>>,
    /// Shared pending signals.
    pub signals: Mutex<ProcessSignals>,
    /// Told when a signal is queued (signalfd, sigtimedwait).
    pub signal_queue: WaitQueue,
    /// Told when a child changes state (wait4, waitid).
    pub child_queue: WaitQueue,
    /// Told when this process has ended (pidfd).
    pub exit_queue: WaitQueue,
    /// Resource limits.
    pub limits: RwLock<Rlimits>,
    /// Credentials.
    pub creds: RwLock<Arc<Creds>>,
    /// CPU time of ended threads.
    pub ended_times: Mutex<TimesUsed>,
    /// CPU time of waited-for children.
    pub children_times: Mutex<TimesUsed>,
    /// exit_group(2) status once decided: 0 = running, else encoded status + 1.
    pub(super) exiting: AtomicU64,
    /// Status of the leader thread's own exit(2), encoded + 1.
    pub(super) leader_status: AtomicU64,
    /// The thread that is in execve(2) and waits for the others to go; 0 = none.
    exec_thread: AtomicI32,
    /// `personality(2)`.
    pub personality: AtomicU32,
    /// `PR_SET_DUMPABLE`.
    pub dumpable: AtomicU32,
    /// Whose signals do nothing to it.
    pub protection: Mutex<Protection>,
    /// `oom_score_adj`.
    pub oom_score_adj: AtomicI32,
    /// Guest `CLOCK_MONOTONIC` nanoseconds of its start.
    pub started: u64,
}

impl Process {
    /// A process with no thread yet.
    #[must_use]
    pub fn new(
        pid: Pid,
        started: u64,
        creds: Arc<Creds>,
        limits: Rlimits,
        actions: Arc<Mutex<Actions>>,
    ) -> Process {
        Process {
            pid,
            actions: RwLock::new(actions),
            signals: Mutex::default(),
            signal_queue: WaitQueue::new(),
            child_queue: WaitQueue::new(),
            exit_queue: WaitQueue::new(),
            limits: RwLock::new(limits),
            creds: RwLock::new(creds),
            ended_times: Mutex::default(),
            children_times: Mutex::default(),
            exiting: AtomicU64::new(0),
            leader_status: AtomicU64::new(0),
            exec_thread: AtomicI32::new(0),
            personality: AtomicU32::new(0),
            dumpable: AtomicU32::new(1),
            protection: Mutex::default(),
            oom_score_adj: AtomicI32::new(0),
            started,
        }
    }

    /// The process number, which is the leader's thread number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Current credentials.
    #[must_use]
    pub fn creds(&self) -> Arc<Creds> {
        Arc::clone(&self.creds.read())
    }

    /// The soft limit of a resource.
    #[must_use]
    pub fn limit(&self, resource: Resource) -> u64 {
        self.limits.read().get(resource).soft
    }

    /// Runs with the signal actions.
    pub fn with_actions<R>(&self, f: impl FnOnce(&mut Actions) -> R) -> R {
        let actions = Arc::clone(&self.actions.read());
        let mut guard = actions.lock();
        f(&mut guard)
    }

    /// Whether this signal, unless there is a handler for it, is to do nothing.
    #[must_use]
    pub fn is_spared(&self, signal: Signal, info: &SigInfo) -> bool {
        let protection = *self.protection.lock();
        protection.spares(self.pid(), info)
            && self.with_actions(|actions| {
                use DefaultAction::{Core, Stop, Terminate};
                let disposition = actions.disposition(signal);
                matches!(disposition, Disposition::Default(Core | Stop | Terminate))
            })
    }

    /// Decides the exit status of the whole process; the first caller wins. The caller kicks the threads.
    pub fn begin_exit(&self, status: ExitStatus) {
        let code = u64::from(status.encode()) + 1;
        let _ = self
            .exiting
            .compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The decided exit status.
    #[must_use]
    pub fn exiting(&self) -> Option<ExitStatus> {
        match self.exiting.load(Ordering::SeqCst) {
            0 => None,
            code => Some(ExitStatus::decode(u32::try_from(code - 1).unwrap_or(0))),
        }
    }

    /// Keeps the status that the leader's exit(2) gave: the process's, unless exit_group decides otherwise.
    pub fn remember_leader_status(&self, status: ExitStatus) {
        self.leader_status
            .store(u64::from(status.encode()) + 1, Ordering::SeqCst);
    }

    /// The leader's own status, once it has ended.
    #[must_use]
    pub fn leader_status(&self) -> Option<ExitStatus> {
        match self.leader_status.load(Ordering::SeqCst) {
            0 => None,
            code => Some(ExitStatus::decode(u32::try_from(code - 1).unwrap_or(0))),
        }
    }

    /// Claims execve(2) for a thread; false when another one claimed it.
    pub fn begin_exec(&self, tid: Pid) -> bool {
        self.exec_thread
            .compare_exchange(0, tid, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Ends the claim.
    pub fn end_exec(&self) {
        self.exec_thread.store(0, Ordering::SeqCst);
    }

    /// The thread in execve(2).
    #[must_use]
    pub fn exec_thread(&self) -> Option<Pid> {
        match self.exec_thread.load(Ordering::SeqCst) {
            0 => None,
            tid => Some(tid),
        }
    }
}
