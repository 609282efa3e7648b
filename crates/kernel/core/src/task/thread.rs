//! Tasks: one guest thread each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, Ordering};

use base_abi::structs::{SigAltStack, SigInfo};
use kernel_mm::Mm;
use kernel_vfs::{FdTable, FsContext};
use parking_lot::{Mutex, RwLock};
use platform_api::Interrupt;

use super::{CpuLedger, Pid, Process, Standstill, TimedCall, VforkDone};
use crate::park::Parker;
use crate::signal::{Pending, Signal, SignalSet};

/// The signal state that belongs to one thread.
#[derive(Default)]
pub struct TaskSignals {
    /// Sent to this thread.
    pub pending: Pending,
    /// Blocked signals.
    pub mask: SignalSet,
    /// The mask to go back to after ppoll, pselect, epoll_pwait or sigsuspend.
    pub saved_mask: Option<SignalSet>,
    /// sigaltstack(2).
    pub alt_stack: SigAltStack,
    /// Signals that a sigtimedwait in progress wants although they are blocked.
    pub waiting_for: SignalSet,
}

/// What only a thread itself changes, and others may read.
#[derive(Default)]
pub struct TaskFields {
    /// `set_tid_address` and `CLONE_CHILD_CLEARTID`.
    pub clear_child_tid: u64,
    /// set_robust_list(2): head and length.
    pub robust_list: (u64, u64),
    /// `PR_SET_NAME`, at most 15 bytes.
    pub name: Vec<u8>,
    /// `PR_SET_PDEATHSIG`.
    pub parent_death_signal: Option<Signal>,
    /// sched_setaffinity(2) as a bit mask of the first 64 CPUs; 0 = all.
    pub affinity: u64,
    /// nice value, -20..19.
    pub nice: i32,
    /// Timer slack in nanoseconds (`PR_SET_TIMERSLACK`).
    pub timer_slack: u64,
}

/// One guest thread. Its host thread owns the [`Context`](platform_api::Context); everyone else has this.
pub struct Task {
    tid: AtomicI32,
    process: Arc<Process>,
    exit_code: AtomicU8,
    /// Where it sleeps.
    pub parker: Arc<Parker>,
    interrupter: RwLock<Option<Arc<dyn Interrupt>>>,
    mm: RwLock<Arc<Mm>>,
    files: RwLock<Arc<FdTable>>,
    fs: RwLock<Arc<RwLock<FsContext>>>,
    /// Signal state.
    pub signals: Mutex<TaskSignals>,
    /// Own fields.
    pub fields: Mutex<TaskFields>,
    /// Ends a parent's vfork(2): woken when the memory is given back.
    pub vfork_done: Mutex<Option<Arc<VforkDone>>>,
    /// The call it sleeps in, for `/proc` and snapshots.
    pub blocked_call: Mutex<Option<TimedCall>>,
    /// Where it stood when a frozen kernel asked last, with the number of the question.
    pub standstill: Mutex<Option<(u64, Standstill)>>,
    /// Guest nanoseconds of CPU, updated by the task loop.
    pub user_time: AtomicU64,
    /// Nanoseconds in our kernel.
    pub system_time: AtomicU64,
    /// By what its time in guest code is counted.
    pub guest_cpu: CpuLedger,
    /// Host monotonic nanoseconds since which guest code runs without a stop; 0 while it does not.
    pub guest_since: AtomicU64,
    /// Set while stopped by job control.
    pub stopped: AtomicBool,
    /// Guest `CLOCK_MONOTONIC` nanoseconds of its start.
    pub started: u64,
}

/// What a new task is made of.
pub struct TaskParts {
    /// Thread number.
    pub tid: Pid,
    /// Its process.
    pub process: Arc<Process>,
    /// Memory.
    pub mm: Arc<Mm>,
    /// Descriptors.
    pub files: Arc<FdTable>,
    /// Root, working directory, umask.
    pub fs: Arc<RwLock<FsContext>>,
    /// Inherited signal mask and alternate stack.
    pub signals: TaskSignals,
    /// Inherited fields.
    pub fields: TaskFields,
    /// Start time.
    pub started: u64,
}

impl Task {
    /// A task that does not run yet.
    #[must_use]
    pub fn new(parts: TaskParts) -> Task {
        Task {
            tid: AtomicI32::new(parts.tid),
            process: parts.process,
            exit_code: AtomicU8::new(0),
            parker: Arc::default(),
            interrupter: RwLock::new(None),
            mm: RwLock::new(parts.mm),
            files: RwLock::new(parts.files),
            fs: RwLock::new(parts.fs),
            signals: Mutex::new(parts.signals),
            fields: Mutex::new(parts.fields),
            vfork_done: Mutex::default(),
            blocked_call: Mutex::default(),
            standstill: Mutex::default(),
            user_time: AtomicU64::new(0),
            system_time: AtomicU64::new(0),
            guest_cpu: CpuLedger::default(),
            guest_since: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            started: parts.started,
        }
    }

    /// Thread number.
    #[must_use]
    pub fn tid(&self) -> Pid {
        self.tid.load(Ordering::Relaxed)
    }

    /// execve(2) by a thread that is not the leader: it becomes the leader.
    pub fn become_leader(&self) {
        self.tid.store(self.process.pid(), Ordering::Relaxed);
    }

    /// What exit(2) of this thread said.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.exit_code.load(Ordering::Relaxed)
    }

    /// Remembers the argument of exit(2).
    pub fn set_exit_code(&self, code: u8) {
        self.exit_code.store(code, Ordering::Relaxed);
    }

    /// Whether this thread has to go because another one of its process calls execve(2).
    #[must_use]
    pub fn leaving(&self) -> bool {
        self.process
            .exec_thread()
            .is_some_and(|tid| tid != self.tid())
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Process number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Its memory.
    #[must_use]
    pub fn mm(&self) -> Arc<Mm> {
        Arc::clone(&self.mm.read())
    }

    /// Gives it other memory (execve); returns the old.
    pub fn replace_mm(&self, mm: Arc<Mm>) -> Arc<Mm> {
        std::mem::replace(&mut self.mm.write(), mm)
    }

    /// Its descriptor table.
    #[must_use]
    pub fn files(&self) -> Arc<FdTable> {
        Arc::clone(&self.files.read())
    }

    /// Gives it another table (unshare, execve, exit); returns the old.
    pub fn replace_files(&self, files: Arc<FdTable>) -> Arc<FdTable> {
        std::mem::replace(&mut self.files.write(), files)
    }

    /// Its root, working directory and umask.
    #[must_use]
    pub fn fs(&self) -> Arc<RwLock<FsContext>> {
        Arc::clone(&self.fs.read())
    }

    /// Gives it other ones (unshare).
    pub fn replace_fs(&self, fs: Arc<RwLock<FsContext>>) {
        *self.fs.write() = fs;
    }

    /// Tells how to stop its guest code: before it runs, and again when execve gave it a new context.
    pub fn set_interrupter(&self, interrupter: Arc<dyn Interrupt>) {
        *self.interrupter.write() = Some(interrupter);
    }

    /// Makes the task look at signals, exit, stop and freeze soon, whatever it does now.
    pub fn kick(&self) {
        self.parker.raise_attention();
        self.parker.unpark();
        if let Some(interrupter) = self.interrupter.read().as_ref() {
            interrupter.interrupt();
        }
    }

    /// Whether guest code runs that it entered no later than at this host time, in nanoseconds.
    #[must_use]
    pub fn in_guest_since_before(&self, host_nanos: u64) -> bool {
        let since = self.guest_since.load(Ordering::SeqCst);
        since != 0 && since <= host_nanos
    }

    /// Queues a signal for this thread. False when the queue is full.
    pub fn queue_signal(&self, signal: Signal, info: SigInfo, limit: usize) -> bool {
        self.signals.lock().pending.push(signal, info, limit)
    }

    /// The mask of blocked signals.
    #[must_use]
    pub fn mask(&self) -> SignalSet {
        self.signals.lock().mask
    }

    /// The name as `/proc/<pid>/comm` shows it.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        self.fields.lock().name.clone()
    }

    /// Wakes a parent that sleeps in vfork(2).
    pub fn release_vfork(&self) {
        if let Some(done) = self.vfork_done.lock().take() {
            done.done.store(true, Ordering::SeqCst);
            done.queue.wake(kernel_vfs::Events::IN);
        }
    }

    /// Drops what an ended thread holds although others may still look at it.
    pub fn release_resources(&self) {
        let files = self.replace_files(Arc::new(FdTable::new()));
        if Arc::strong_count(&files) == 1 {
            files.close_all();
        }
    }
}
