//! Processes and threads of the host: pidfds, waiting, signals to them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::call::{check, syscall6};
use crate::check as check_libc;

/// A thread or process number of the host.
pub type Pid = i32;

/// What happened to a child or tracee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It exited with this status.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
    /// It is in a ptrace stop.
    Stopped {
        /// The signal shown, `SIGTRAP` for events.
        signal: i32,
        /// `PTRACE_EVENT_*`, 0 for a signal-delivery stop.
        event: i32,
    },
}

/// Whether a wait may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Return at once when nothing happened.
    Poll,
    /// Block until something happens.
    Block,
}

/// Waits for a change of one child or tracee of any thread of this process (`waitpid` with `__WALL`), and consumes it.
/// `None` when polling and nothing happened.
///
/// # Errors
/// `ECHILD` when there is no such child or tracee (any more).
pub fn wait(pid: Pid, patience: Patience) -> io::Result<Option<Change>> {
    let flags = libc::__WALL
        | match patience {
            Patience::Poll => libc::WNOHANG,
            Patience::Block => 0,
        };
    loop {
        let mut status = 0;
        // SAFETY: needed because the call writes through a pointer; `status` is a live int.
        let got = unsafe { libc::waitpid(pid, &raw mut status, flags) };
        if got == -1 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        if got == 0 {
            return Ok(None);
        }
        return Ok(Some(if libc::WIFEXITED(status) {
            Change::Exited(libc::WEXITSTATUS(status))
        } else if libc::WIFSIGNALED(status) {
            Change::Killed(libc::WTERMSIG(status))
        } else {
            Change::Stopped {
                signal: libc::WSTOPSIG(status),
                event: (status >> 16) & 0xff,
            }
        }));
    }
}

/// Whether [`wait`] would return a change now; consumes nothing.
#[must_use]
pub fn has_changed(pid: Pid) -> bool {
    // SAFETY: needed to get a zeroed C structure of plain integers.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    let Ok(id) = libc::id_t::try_from(pid) else {
        return false;
    };
    // SAFETY: needed because the call writes through a pointer; `info` is live. si_pid is set, or 0 as it was.
    unsafe { libc::waitid(libc::P_PID, id, &raw mut info, flags) == 0 && info.si_pid() != 0 }
}

/// Number of the calling thread.
#[must_use]
pub fn thread_id() -> Pid {
    // SAFETY: needed because it is a raw call; it takes no arguments and cannot fail.
    unsafe { libc::gettid() }
}

/// Makes the calling process the leader of a process group of its own (setpgid(2)).
///
/// # Errors
/// What setpgid(2) says.
pub fn lead_a_group() -> io::Result<()> {
    // SAFETY: needed because it is a foreign function; it takes numbers.
    check_libc(unsafe { libc::setpgid(0, 0) }.into()).map(drop)
}

/// A stable reference to a process (pidfd_open(2)).
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Opens a process by number, which the caller knows to be its child and not yet reaped.
    ///
    /// # Errors
    /// What pidfd_open(2) says.
    pub fn open(pid: Pid) -> io::Result<PidFd> {
        // SAFETY: needed because the C library has no wrapper; no pointers are involved.
        let fd = check(unsafe { syscall6(libc::SYS_pidfd_open, [pid as u64, 0, 0, 0, 0, 0]) })?;
        // SAFETY: needed to take ownership of a raw descriptor that was just returned.
        Ok(PidFd(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// Duplicates descriptor `fd` of that process (pidfd_getfd(2)); needs the rights of ptrace.
    ///
    /// # Errors
    /// What pidfd_getfd(2) says.
    pub fn take_descriptor(&self, fd: i32) -> io::Result<OwnedFd> {
        let args = [self.0.as_raw_fd() as u64, fd as u64, 0, 0, 0, 0];
        // SAFETY: needed because the C library has no wrapper; no pointers are involved.
        let got = check(unsafe { syscall6(libc::SYS_pidfd_getfd, args) })?;
        // SAFETY: needed to take ownership of a raw descriptor that was just returned.
        Ok(unsafe { OwnedFd::from_raw_fd(got as i32) })
    }

    /// Waits until the process has ended, at most this long; it stays to be reaped. Whether it has.
    ///
    /// # Errors
    /// What poll(2) says.
    pub fn wait_ended(&self, limit: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, so that it does not spin through the last millisecond.
            let milliseconds = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
            let mut poll = libc::pollfd {
                fd: self.0.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: needed because poll is a C function; it gets one live pollfd.
            match unsafe { libc::poll(&raw mut poll, 1, milliseconds) } {
                -1 => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
                ready => return Ok(ready == 1),
            }
        }
    }

    /// Sends `SIGKILL` to the whole process.
    ///
    /// # Errors
    /// `ESRCH` when it is gone already.
    pub fn kill(&self) -> io::Result<()> {
        let args = [self.0.as_raw_fd() as u64, libc::SIGKILL as u64, 0, 0, 0, 0];
        // SAFETY: needed because the C library has no wrapper; the siginfo pointer is null, which is allowed.
        check(unsafe { syscall6(libc::SYS_pidfd_send_signal, args) })?;
        Ok(())
    }
}

impl std::os::fd::AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The running kernel's version as (major, minor); (0, 0) when it cannot be told.
#[must_use]
pub fn kernel_version() -> (u32, u32) {
    // SAFETY: needed to get a zeroed C structure of plain bytes.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: needed because the call writes through a pointer; `name` is live.
    if check_libc(unsafe { libc::uname(&raw mut name) }.into()).is_err() {
        return (0, 0);
    }
    let release: Vec<u8> = name
        .release
        .iter()
        .map(|c| *c as u8)
        .take_while(|c| *c != 0)
        .collect();
    let text = String::from_utf8_lossy(&release).into_owned();
    let mut parts = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|p| p.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
