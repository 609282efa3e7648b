//! Processes and tasks as plain data, for snapshots.
//!
//! Numbers of address spaces, descriptor tables and directories are given by whoever saves; what
//! is shared by several (signal actions) is numbered too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base_abi::structs::{SigAction, SigAltStack, SigInfo};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{
    Creds, Descent, ExitStatus, Links, Pid, Process, Protection, Rlimits, Standstill, StopState,
    Task, TaskFields, TaskSignals, TimesUsed,
};
use crate::signal::{Actions, Pending, Signal, SignalSet};

/// A task.
#[derive(Debug, Serialize, Deserialize)]
pub struct TaskState {
    /// Its number.
    pub tid: Pid,
    /// Number of its process.
    pub pid: Pid,
    /// Number of its address space.
    pub mm: u32,
    /// Number of its descriptor table.
    pub files: u32,
    /// Number of its directories.
    pub fs: u32,
    /// Where it stands.
    pub at: Standstill,
    /// When it started.
    pub started: u64,
    exit_code: u8,
    pending: Vec<SigInfo>,
    mask: u64,
    saved_mask: Option<u64>,
    alt_stack: SigAltStack,
    waiting_for: u64,
    clear_child_tid: u64,
    robust_list: (u64, u64),
    name: Vec<u8>,
    parent_death_signal: Option<i32>,
    affinity: u64,
    nice: i32,
    timer_slack: u64,
    user_time: u64,
    system_time: u64,
}

impl TaskState {
    /// Of a task that stands still.
    #[must_use]
    pub fn of(task: &Task, at: Standstill, [mm, files, fs]: [u32; 3]) -> TaskState {
        let signals = task.signals.lock();
        let fields = task.fields.lock();
        TaskState {
            tid: task.tid(),
            pid: task.pid(),
            mm,
            files,
            fs,
            at,
            started: task.started,
            exit_code: task.exit_code(),
            pending: signals.pending.iter().copied().collect(),
            mask: signals.mask.0,
            saved_mask: signals.saved_mask.map(|m| m.0),
            alt_stack: signals.alt_stack,
            waiting_for: signals.waiting_for.0,
            clear_child_tid: fields.clear_child_tid,
            robust_list: fields.robust_list,
            name: fields.name.clone(),
            parent_death_signal: fields.parent_death_signal.map(Signal::number),
            affinity: fields.affinity,
            nice: fields.nice,
            timer_slack: fields.timer_slack,
            user_time: task.user_time.load(Ordering::Relaxed),
            system_time: task.system_time.load(Ordering::Relaxed),
        }
    }

    /// Signal state.
    #[must_use]
    pub fn signals(&self) -> TaskSignals {
        TaskSignals {
            pending: Pending::restored(self.pending.clone()),
            mask: SignalSet(self.mask).blockable(),
            saved_mask: self.saved_mask.map(|m| SignalSet(m).blockable()),
            alt_stack: self.alt_stack,
            waiting_for: SignalSet(self.waiting_for),
        }
    }

    /// Fields that prctl(2) and friends set.
    #[must_use]
    pub fn fields(&self) -> TaskFields {
        let mut name = self.name.clone();
        name.truncate(15);
        TaskFields {
            clear_child_tid: self.clear_child_tid,
            robust_list: self.robust_list,
            name,
            parent_death_signal: self.parent_death_signal.and_then(Signal::new),
            affinity: self.affinity,
            nice: self.nice,
            timer_slack: self.timer_slack,
        }
    }

    /// What only a finished task can take.
    pub fn finish(&self, task: &Task) {
        task.set_exit_code(self.exit_code);
        task.user_time.store(self.user_time, Ordering::Relaxed);
        task.system_time.store(self.system_time, Ordering::Relaxed);
    }
}

/// A process, alive or not yet reaped.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProcessState {
    /// Its number.
    pub pid: Pid,
    /// Its parent's number.
    pub parent: Pid,
    /// Number of its signal actions.
    pub actions: u32,
    started: u64,
    pending: Vec<SigInfo>,
    limits: Rlimits,
    creds: Creds,
    ended_times: TimesUsed,
    children_times: TimesUsed,
    exiting: u64,
    leader_status: u64,
    personality: u32,
    dumpable: u32,
    protection: Protection,
    oom_score_adj: i32,
    group: Pid,
    session: Pid,
    ended: Option<u32>,
    exit_signal: Option<i32>,
    stop: StopWord,
    subreaper: bool,
    descent: Descent,
    collects: bool,
    execed: bool,
}

#[derive(Debug, Serialize, Deserialize)]
enum StopWord {
    Running,
    Stopped(i32, bool),
    Continued,
}

impl ProcessState {
    /// Of a process.
    #[must_use]
    pub fn of(links: &Links, actions: u32) -> ProcessState {
        let process = &links.process;
        ProcessState {
            pid: process.pid(),
            parent: links.parent,
            actions,
            started: process.started,
            pending: process.signals.lock().pending.iter().copied().collect(),
            limits: process.limits.read().clone(),
            creds: Creds::clone(&process.creds()),
            ended_times: *process.ended_times.lock(),
            children_times: *process.children_times.lock(),
            exiting: process.exiting.load(Ordering::SeqCst),
            leader_status: process.leader_status.load(Ordering::SeqCst),
            personality: process.personality.load(Ordering::Relaxed),
            dumpable: process.dumpable.load(Ordering::Relaxed),
            protection: *process.protection.lock(),
            oom_score_adj: process.oom_score_adj.load(Ordering::Relaxed),
            group: links.group,
            session: links.session,
            ended: links.ended.map(ExitStatus::encode),
            exit_signal: links.exit_signal.map(Signal::number),
            stop: match links.stop {
                StopState::Running => StopWord::Running,
                StopState::Stopped { signal, reported } => {
                    StopWord::Stopped(signal.number(), reported)
                }
                StopState::Continued => StopWord::Continued,
            },
            subreaper: links.subreaper,
            descent: links.descent,
            collects: links.collects,
            execed: links.execed,
        }
    }

    /// The process with its relations; children and threads are added by those.
    #[must_use]
    pub fn links(&self, actions: Arc<Mutex<Actions>>) -> Links {
        let mut process = Process::new(
            self.pid,
            self.started,
            Arc::new(self.creds.clone()),
            self.limits.clone(),
            actions,
        );
        process.signals.get_mut().pending = Pending::restored(self.pending.clone());
        *process.protection.get_mut() = self.protection;
        *process.ended_times.get_mut() = self.ended_times;
        *process.children_times.get_mut() = self.children_times;
        process.exiting = AtomicU64::new(self.exiting);
        process.leader_status = AtomicU64::new(self.leader_status);
        process
            .personality
            .store(self.personality, Ordering::Relaxed);
        process.dumpable.store(self.dumpable, Ordering::Relaxed);
        process
            .oom_score_adj
            .store(self.oom_score_adj, Ordering::Relaxed);
        Links {
            process: Arc::new(process),
            parent: self.parent,
            children: Default::default(),
            group: self.group,
            session: self.session,
            threads: Default::default(),
            ended: self.ended.map(ExitStatus::decode),
            exit_signal: self.exit_signal.and_then(Signal::new),
            stop: match self.stop {
                StopWord::Stopped(signal, reported) => {
                    Signal::new(signal).map_or(StopState::Running, |signal| StopState::Stopped {
                        signal,
                        reported,
                    })
                }
                StopWord::Running => StopState::Running,
                StopWord::Continued => StopState::Continued,
            },
            subreaper: self.subreaper,
            descent: self.descent,
            collects: self.collects,
            execed: self.execed,
        }
    }
}

/// Signal actions as plain data.
#[must_use]
pub fn save_actions(actions: &Actions) -> Vec<SigAction> {
    actions.all().to_vec()
}
