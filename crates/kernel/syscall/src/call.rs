//! What a handler gets and what it may answer.

use std::sync::Arc;

use base_abi::Errno;
use kernel_core::Kernel;
use kernel_core::signal::{Signal, SignalSet, siginfo};
use kernel_core::task::{Blocked, OnSignal, Process, Restart, Task};
use kernel_mm::Mm;
use kernel_vfs::{AccessMode, Description, Events, Fd, FdTable, FsContext, PollTable, WaitQueue};
use parking_lot::RwLock;
use platform_api::Context;

use crate::System;

/// Starts the host thread of a task that is in the tree. An error is the host's, which refuses a thread.
pub type StartTask = fn(Arc<System>, Arc<Task>, Box<dyn Context>) -> std::io::Result<()>;

/// The six argument registers.
#[derive(Clone, Copy, Debug)]
pub struct Args(pub [u64; 6]);

impl Args {
    /// An argument as it stands.
    #[must_use]
    pub fn u64(self, index: usize) -> u64 {
        self.0[index]
    }

    /// The low half, signed: descriptors, process numbers, signals.
    #[must_use]
    pub fn i32(self, index: usize) -> i32 {
        self.u32(index).cast_signed()
    }

    /// The low half: flags, modes, ids.
    #[must_use]
    pub fn u32(self, index: usize) -> u32 {
        let [a, b, c, d, ..] = self.0[index].to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Signed: offsets.
    #[must_use]
    pub fn i64(self, index: usize) -> i64 {
        self.0[index].cast_signed()
    }

    /// A length.
    #[must_use]
    pub fn usize(self, index: usize) -> usize {
        usize::try_from(self.0[index]).unwrap_or(usize::MAX)
    }
}

/// Why a handler did not simply return a value.
#[derive(Debug)]
pub enum Stop {
    /// The call failed.
    Errno(Errno),
    /// Not now: sleep until a registration notifies, a signal comes or the restart
    /// deadline passes, then run the handler again.
    Block(Blocked),
    /// The handler set the registers itself (sigreturn, execve).
    Resume,
    /// This thread ends.
    Exit,
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Stop {
        Stop::Errno(errno)
    }
}

/// The value for `rax`, or why there is none.
pub type SysResult = Result<u64, Stop>;

/// A system call in progress.
pub struct Sys<'a> {
    /// The sandbox.
    pub system: &'a Arc<System>,
    /// Who calls.
    pub task: &'a Arc<Task>,
    /// The caller's processor. execve replaces it.
    pub cpu: &'a mut Box<dyn Context>,
    /// What the call remembers between runs.
    pub restart: &'a mut Restart,
    /// The number called.
    pub nr: u64,
    /// How the loop that runs this handler starts another task.
    pub start_task: StartTask,
}

impl Sys<'_> {
    /// The shared kernel state.
    #[must_use]
    pub fn kernel(&self) -> &Kernel {
        &self.system.kernel
    }

    /// The caller's process.
    #[must_use]
    pub fn process(&self) -> &Arc<Process> {
        self.task.process()
    }

    /// User and group of files that the caller makes.
    #[must_use]
    pub fn owner(&self) -> [u32; 2] {
        let creds = self.process().creds.read();
        [creds.fsuid, creds.fsgid]
    }

    /// The caller's memory.
    #[must_use]
    pub fn mm(&self) -> Arc<Mm> {
        self.task.mm()
    }

    /// The caller's descriptors.
    #[must_use]
    pub fn files(&self) -> Arc<FdTable> {
        self.task.files()
    }

    /// The open file behind a number, `O_PATH` or not. The call stays with it to its end, whoever closes the number or gives
    /// it to another file while the call waits.
    ///
    /// # Errors
    /// `EBADF`.
    pub(crate) fn file_or_place(&mut self, fd: Fd) -> Result<Arc<Description>, Errno> {
        if let Some(known) = self.restart.files.get(fd) {
            return Ok(Arc::clone(known));
        }
        let description = self.files().get(fd)?;
        self.restart.files.keep(fd, &description);
        Ok(description)
    }

    /// As [`file_or_place`](Self::file_or_place), refusing `O_PATH` descriptors, as calls that do I/O must.
    ///
    /// # Errors
    /// `EBADF`.
    pub(crate) fn file(&mut self, fd: Fd) -> Result<Arc<Description>, Errno> {
        let description = self.file_or_place(fd)?;
        if description.access() == AccessMode::Path {
            return Err(Errno::EBADF);
        }
        Ok(description)
    }

    /// The caller's root, working directory and umask.
    #[must_use]
    pub fn fs(&self) -> Arc<RwLock<FsContext>> {
        self.task.fs()
    }

    /// Guest `CLOCK_MONOTONIC` in nanoseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.system.monotonic()
    }

    /// Answers "sleep": with these registrations, and this effect of a signal.
    #[must_use]
    pub fn block(&self, table: PollTable, on_signal: OnSignal) -> Stop {
        Stop::Block(Blocked {
            registrations: table.into_registrations(),
            on_signal,
        })
    }

    /// Sends the caller `SIGPIPE`: it wrote into nothing (pipe(7)).
    pub(crate) fn raise_sigpipe(&self) {
        let info = siginfo::user(0, self.task.pid(), self.process().creds().uid);
        let _ = self.kernel().send_to_task(self.task, Signal::PIPE, info);
    }

    /// A table that wakes this task.
    #[must_use]
    pub fn waiting_table(&self, interest: Events) -> PollTable {
        PollTable::waiting(self.task.parker.clone(), interest)
    }

    /// Sets the deadline on the first run; later runs keep the first one. `None` waits for ever.
    pub fn set_timeout(&mut self, nanoseconds: Option<u64>) {
        if self.restart.deadline.is_none() {
            let now = self.now();
            self.restart.deadline = nanoseconds.map(|n| now.saturating_add(n));
        }
    }

    /// Whether the deadline of this call has passed.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.restart.deadline.is_some_and(|d| self.now() >= d)
    }

    /// Waits for a condition that one queue announces: `attempt` returns `None` while it does not hold.
    ///
    /// # Errors
    /// `attempt`'s own, [`Stop::Block`] to wait, `ETIMEDOUT` after the deadline.
    pub fn wait_for<T>(
        &mut self,
        queue: &WaitQueue,
        on_signal: OnSignal,
        mut attempt: impl FnMut(&mut Self) -> Result<Option<T>, Stop>,
    ) -> Result<T, Stop> {
        if let Some(value) = attempt(self)? {
            return Ok(value);
        }
        let mut table = self.waiting_table(Events::all());
        table.add(queue);
        if let Some(value) = attempt(self)? {
            return Ok(value);
        }
        if self.timed_out() {
            return Err(Errno::ETIMEDOUT.into());
        }
        Err(self.block(table, on_signal))
    }

    /// Does a file operation that says `EAGAIN` when it cannot be done now; on a blocking
    /// descriptor, and on any one of a lazy file, the call then sleeps until one of `events` and is run again.
    ///
    /// # Errors
    /// The operation's own, [`Stop::Block`], and `EAGAIN` after the deadline.
    pub fn blocking<T>(
        &mut self,
        description: &Description,
        events: Events,
        on_signal: OnSignal,
        mut attempt: impl FnMut(&mut Self) -> Result<T, Errno>,
    ) -> Result<T, Stop> {
        match attempt(self) {
            Err(Errno::EAGAIN) if !description.nonblocking() || description.file().lazy() => {}
            other => return other.map_err(Stop::Errno),
        }
        let mut table = self.waiting_table(events);
        description.file().poll(&mut table);
        match attempt(self) {
            Err(Errno::EAGAIN) if self.timed_out() => Err(Errno::EAGAIN.into()),
            Err(Errno::EAGAIN) => Err(self.block(table, on_signal)),
            other => other.map_err(Stop::Errno),
        }
    }

    /// Installs a signal mask for the time of this call (ppoll, pselect, epoll_pwait, sigsuspend).
    /// Idempotent over restarts; the task loop puts the old mask back.
    pub fn set_temporary_mask(&mut self, mask: SignalSet) {
        let mut signals = self.task.signals.lock();
        if signals.saved_mask.is_none() {
            signals.saved_mask = Some(signals.mask);
            signals.mask = mask.blockable();
            drop(signals);
            self.task.parker.raise_attention();
        }
    }
}
