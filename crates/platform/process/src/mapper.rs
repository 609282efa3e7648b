//! Batches of changes to a stub's mappings, carried out by its mapper thread.
//!
//! The mapper waits in a suspended system call. We write commands to its pages, answer the call, and
//! receive the next one, whose arguments say what became of the batch.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, OnceLock, Weak};

use base_abi::Errno;
use host_sys::process::Pid;
use host_sys::seccomp::Listener;

use crate::arena::{Arena, COMMANDS_PER_BATCH, Command};
use crate::layout::{COMMAND_SWAP, FILE_FDS, FIRST_FILE_FD};
use crate::tracer::Swapping;

/// What became of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    /// Commands that succeeded.
    pub(crate) done: usize,
    /// Why the next one did not.
    pub(crate) errno: Option<Errno>,
    /// Result of a swap.
    pub(crate) value: u32,
}

/// Our end of a mapper thread.
#[derive(Debug)]
pub(crate) struct Mapper {
    tid: Pid,
    listener: Listener,
    arena: Arc<Arena>,
    slot: u32,
    /// Its suspended call, once received.
    idle: Option<u64>,
    /// Files the stub has open, by number above `FIRST_FILE_FD`. Dead ones are closed with the next batch.
    files: Vec<Option<Weak<File>>>,
    next_victim: usize,
}

/// The stub died.
#[derive(Debug)]
pub(crate) struct Dead;

impl Mapper {
    pub(crate) fn new(
        tid: Pid,
        listener: Listener,
        arena: Arc<Arena>,
        slot: u32,
        inherit: Option<&Mapper>,
    ) -> Mapper {
        let files = inherit.map_or_else(
            || vec![None; FILE_FDS as usize],
            |other| other.files.clone(),
        );
        Mapper {
            tid,
            listener,
            arena,
            slot,
            idle: None,
            files,
            next_victim: 0,
        }
    }

    /// Carries out at most [`COMMANDS_PER_BATCH`] commands in order, up to the first that fails.
    pub(crate) fn execute(&mut self, commands: &[Command]) -> Result<Done, Dead> {
        debug_assert!(commands.len() <= COMMANDS_PER_BATCH);
        loop {
            let id = self.idle()?;
            self.arena.write(self.slot, commands);
            self.idle = None;
            match self.listener.answer(id, 0) {
                Ok(()) => break,
                // The call was cancelled by a signal and comes again; nothing was carried out.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(_) => return Err(Dead),
            }
        }
        let report = self.receive()?;
        let [done, status, value, ..] = report.args;
        Ok(Done {
            done: done as usize,
            errno: (status != 0).then(|| {
                Errno::from_io(&io::Error::from_raw_os_error(
                    (status as i32).wrapping_neg(),
                ))
            }),
            value: value as u32,
        })
    }

    /// Compares and swaps one word of the guest's.
    pub(crate) fn swap(&mut self, addr: u64, current: u32, new: u32) -> Result<Done, Dead> {
        let _swapping = Swapping::new(self.tid);
        self.execute(&[Command {
            nr: COMMAND_SWAP,
            args: [addr, current.into(), new.into(), 0, 0, 0],
        }])
    }

    /// Number of `file` in the stub, if it is open there.
    pub(crate) fn find(&self, file: &Arc<File>) -> Option<u32> {
        let wanted = Arc::as_ptr(file);
        let at = self
            .files
            .iter()
            .position(|have| have.as_ref().is_some_and(|weak| weak.as_ptr() == wanted))?;
        Some(FIRST_FILE_FD + at as u32)
    }

    /// Opens `file` in the stub under a number that is not in `busy`. `None` when all are.
    pub(crate) fn open(
        &mut self,
        file: &Arc<File>,
        busy: &[u32],
    ) -> Result<Option<Result<u32, Errno>>, Dead> {
        let count = self.files.len();
        let is_busy = |at: usize| busy.contains(&(FIRST_FILE_FD + at as u32));
        let free = (0..count).find(|at| self.files[*at].is_none() && !is_busy(*at));
        let victim = || {
            (0..count)
                .map(|n| (self.next_victim + n) % count)
                .find(|at| !is_busy(*at))
        };
        let Some(at) = free.or_else(victim) else {
            return Ok(None);
        };
        let number = FIRST_FILE_FD + at as u32;
        loop {
            let id = self.idle()?;
            match self.listener.add_descriptor(id, file.as_fd(), number) {
                Ok(()) => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.idle = None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Ok(Some(Err(Errno::from_io(&error)))),
            }
        }
        self.files[at] = Some(Arc::downgrade(file));
        self.next_victim = (at + 1) % count;
        Ok(Some(Ok(number)))
    }

    /// Commands that close files which nobody uses any more.
    pub(crate) fn close_unused(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        for (at, file) in self.files.iter_mut().enumerate() {
            if file.as_ref().is_some_and(|weak| weak.strong_count() == 0) {
                *file = None;
                commands.push(Command {
                    nr: libc::SYS_close as u64,
                    args: [u64::from(FIRST_FILE_FD) + at as u64, 0, 0, 0, 0, 0],
                });
            }
        }
        commands
    }

    /// The suspended call that waits for commands.
    fn idle(&mut self) -> Result<u64, Dead> {
        match self.idle {
            Some(id) => Ok(id),
            None => Ok(self.receive()?.id),
        }
    }

    fn receive(&mut self) -> Result<host_sys::seccomp::Notification, Dead> {
        loop {
            // Before Linux 6.11 a receiver is not woken when the last thread under the filter ends; poll(2) is.
            if !receivers_see_the_end() && self.poll(libc::POLLIN, -1) & ENDED != 0 {
                return Err(Dead);
            }
            match self.listener.receive() {
                Ok(got) => {
                    self.idle = Some(got.id);
                    return Ok(got);
                }
                Err(_) if self.is_dead() => return Err(Dead),
                Err(_) => {}
            }
        }
    }

    /// Whether no thread is left under the mapper's filter.
    fn is_dead(&self) -> bool {
        self.poll(0, 0) & ENDED != 0
    }

    /// What poll(2) says about the listener within `timeout` milliseconds (-1: no limit); 0 when interrupted.
    fn poll(&self, events: i16, timeout: i32) -> i16 {
        let mut poll = libc::pollfd {
            fd: self.listener.as_raw_fd(),
            events,
            revents: 0,
        };
        // SAFETY: needed because poll is a C function; it gets one live pollfd.
        let ret = unsafe { libc::poll(&raw mut poll, 1, timeout) };
        if ret > 0 { poll.revents } else { 0 }
    }
}

const ENDED: i16 = libc::POLLHUP | libc::POLLNVAL | libc::POLLERR;

/// Whether a receiver learns of the last thread's end. Asked for the first time while the platform is made, when the
/// host may still be asked for its version.
pub(crate) fn receivers_see_the_end() -> bool {
    static SEE: OnceLock<bool> = OnceLock::new();
    *SEE.get_or_init(|| host_sys::process::kernel_version() >= (6, 11))
}
