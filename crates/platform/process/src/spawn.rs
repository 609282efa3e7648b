//! Making stubs and guest threads: system calls put into the registers of stopped spawners.

use std::io;

use host_sys::process::{Change, Patience, Pid, PidFd, wait};
use host_sys::ptrace::{self, RawRegisters};
use host_sys::seccomp::Listener;
use platform_api::processor;

use crate::arena::Arena;
use crate::blob;
use crate::layout::{ARENA_FD, COMMANDS, COMMANDS_LEN, FIRST_FILE_FD};
use crate::stub_threads::{Forked, Life, Parked, StubThreads, watch_mapper};
use crate::template::{self, Network, Template};
use crate::wakeup::{self, TracerNeeded};

const THREAD_FLAGS: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM;
const FORK_FLAGS: i32 = libc::CLONE_PARENT | libc::SIGCHLD;
const SECCOMP_SET_MODE_FILTER: u64 = 1;
const SECCOMP_FILTER_FLAG_NEW_LISTENER: u64 = 8;

/// A stub could not be made.
pub(crate) struct ForkFailed {
    pub(crate) error: io::Error,
    /// What there is of one: killed, and to be reaped.
    pub(crate) left: Option<StubThreads>,
}

impl From<io::Error> for ForkFailed {
    fn from(error: io::Error) -> ForkFailed {
        ForkFailed { error, left: None }
    }
}

/// What the tracer needs to drive spawners; only its thread may.
#[derive(Default)]
pub(crate) struct Spawner {
    /// Segments and flags of user mode, from the first template.
    base: Option<RawRegisters>,
}

impl Spawner {
    pub(crate) fn template(&mut self, arena: &Arena, network: Network) -> io::Result<Template> {
        let pid = template::create(arena.file(), network)?;
        let threads = StubThreads {
            spawner: pid,
            mapper: None,
        };
        let pidfd = PidFd::open(pid)?;
        self.await_trap(pid, threads)?;
        // The template needed them for its namespaces. This thread goes on for as long as the process, which may give
        // up its rights thread by thread.
        host_sys::privilege::drop_capabilities()?;
        self.base = Some(ptrace::registers(pid)?);
        let mut area = vec![0u8; 64 * 1024];
        let host_xstate_size = ptrace::extended_state(pid, &mut area)?;
        // The kernel notes XCR0 in the software-reserved bytes of the legacy area (`xstate_fx_sw_bytes`).
        let host_xcr0 = area
            .get(464..472)
            .and_then(|b| b.try_into().ok())
            .map_or(3, u64::from_le_bytes);
        let xcr0 = processor::state_components(host_xcr0);
        Ok(Template {
            pid,
            pidfd,
            host_xstate_size,
            xcr0,
            xstate_size: processor::state_size(xcr0, processor::native).min(host_xstate_size),
            // A guest asks the processor itself.
            processor: processor::native_features(),
        })
    }

    /// Blocks until `tid` changes; `ESRCH` when its stub died instead, which a leader alone does not show
    /// while other threads of it are unreaped.
    fn await_change(&self, tid: Pid, threads: StubThreads) -> io::Result<Change> {
        let _needed = TracerNeeded::new();
        loop {
            let seen = wakeup::wakeups_seen();
            if let Some(change) = wait(tid, Patience::Poll)? {
                return Ok(change);
            }
            if let Some(mapper) = threads.mapper
                && mapper != tid
                && watch_mapper(mapper) == Life::Ended
            {
                return Err(gone());
            }
            wakeup::tracer_sleep(seen);
        }
    }

    fn await_stop(&self, tid: Pid, threads: StubThreads) -> io::Result<i32> {
        match self.await_change(tid, threads)? {
            Change::Stopped { event, .. } => Ok(event),
            Change::Exited(code) => {
                tracing::warn!(tid, code, "a stub ended itself");
                Err(gone())
            }
            Change::Killed(_) => Err(gone()),
        }
    }

    /// Waits for the breakpoint that ends each step in the code page.
    fn await_trap(&self, tid: Pid, threads: StubThreads) -> io::Result<()> {
        // Events and signals from outside are not it; those have no positive code.
        while self.await_stop(tid, threads)? != 0 || ptrace::signal_info(tid)?.code <= 0 {
            ptrace::resume(tid)?;
        }
        Ok(())
    }

    fn registers(&self, rip: u64, nr: i64, args: [u64; 6]) -> io::Result<RawRegisters> {
        let base = self.base.ok_or_else(gone)?;
        // SAFETY: needed to get a zeroed C structure of plain integers.
        let zero: RawRegisters = unsafe { std::mem::zeroed() };
        Ok(RawRegisters {
            rip,
            rax: nr as u64,
            orig_rax: u64::MAX,
            rdi: args[0],
            rsi: args[1],
            rdx: args[2],
            r10: args[3],
            r8: args[4],
            r9: args[5],
            cs: base.cs,
            ss: base.ss,
            eflags: 0x202,
            ..zero
        })
    }

    /// Starts a system call of a stopped spawner.
    fn begin(&self, spawner: Pid, nr: i64, args: [u64; 6]) -> io::Result<()> {
        ptrace::set_registers(spawner, &self.registers(blob::spawner_call(), nr, args)?)?;
        ptrace::resume(spawner)
    }

    /// A system call of a stopped spawner, and its result.
    fn call(&self, threads: StubThreads, nr: i64, args: [u64; 6]) -> io::Result<u64> {
        self.begin(threads.spawner, nr, args)?;
        self.await_trap(threads.spawner, threads)?;
        host_sys::call::check(ptrace::registers(threads.spawner)?.rax as i64)
    }

    /// Clones a stopped spawner. The child is in its first stop; the spawner is in its event stop.
    fn clone(&self, threads: StubThreads, flags: i32) -> io::Result<Pid> {
        self.begin(
            threads.spawner,
            libc::SYS_clone,
            [flags as u64, 0, 0, 0, 0, 0],
        )?;
        loop {
            match self.await_stop(threads.spawner, threads)? {
                ptrace::EVENT_CLONE | ptrace::EVENT_FORK => break,
                0 => {
                    host_sys::call::check(ptrace::registers(threads.spawner)?.rax as i64)?;
                    return Err(gone());
                }
                _ => ptrace::resume(threads.spawner)?,
            }
        }
        let child = ptrace::event_message(threads.spawner)? as Pid;
        ptrace::resume(threads.spawner)?;
        Ok(child)
    }

    /// A new thread that has installed the filter `program` and stopped after it, with its listener.
    fn filtered(
        &self,
        threads: StubThreads,
        pidfd: &PidFd,
        start: u64,
        program: u64,
    ) -> io::Result<(Pid, Listener)> {
        let tid = self.clone(threads, THREAD_FLAGS)?;
        let filtered = self.install(tid, threads, pidfd, start, program);
        if filtered.is_err() {
            // A thread without its filter must not stay, and the spawner may be anywhere.
            let _ = pidfd.kill();
        }
        Ok((tid, filtered?))
    }

    /// Lets a new thread install its filter, and takes the listener over.
    fn install(
        &self,
        tid: Pid,
        threads: StubThreads,
        pidfd: &PidFd,
        start: u64,
        program: u64,
    ) -> io::Result<Listener> {
        self.await_stop(tid, threads)?;
        let args = [
            SECCOMP_SET_MODE_FILTER,
            SECCOMP_FILTER_FLAG_NEW_LISTENER,
            program,
            0,
            0,
            0,
        ];
        ptrace::set_registers(tid, &self.registers(start, libc::SYS_seccomp, args)?)?;
        ptrace::resume(tid)?;
        self.await_trap(tid, threads)?;
        let fd = host_sys::call::check(ptrace::registers(tid)?.rax as i64)?;
        let listener = Listener::new(pidfd.take_descriptor(fd as i32)?);
        // The breakpoint unblocked its signal.
        ptrace::block_signals(tid)?;
        self.await_trap(threads.spawner, threads)?;
        Ok(listener)
    }

    pub(crate) fn thread(&self, of: StubThreads) -> io::Result<Parked> {
        let pidfd = PidFd::open(of.spawner)?;
        self.guest_thread(of, &pidfd)
    }

    fn guest_thread(&self, threads: StubThreads, pidfd: &PidFd) -> io::Result<Parked> {
        let (tid, listener) =
            self.filtered(threads, pidfd, blob::context(), blob::GUEST_PROGRAM)?;
        ptrace::detach(tid)?;
        // Absent before Linux 6.6: slower.
        let _ = listener.wake_synchronously();
        Ok(Parked { tid, listener })
    }

    pub(crate) fn fork(&self, from: StubThreads, slot: u32) -> Result<Forked, ForkFailed> {
        let pid = self.clone(from, FORK_FLAGS)?;
        let forked = self.raise(pid, slot);
        // Whatever became of the child, the parent must be stopped in its loop for the next job.
        self.await_trap(from.spawner, from)?;
        forked.map_err(|error| {
            if let Ok(pidfd) = PidFd::open(pid) {
                let _ = pidfd.kill();
            }
            let left = StubThreads {
                spawner: pid,
                mapper: None,
            };
            ForkFailed {
                error,
                left: Some(left),
            }
        })
    }

    /// Makes a stub of a forked spawner: its own commands, a mapper, a first guest thread.
    fn raise(&self, pid: Pid, slot: u32) -> io::Result<Forked> {
        let threads = StubThreads {
            spawner: pid,
            mapper: None,
        };
        let pidfd = PidFd::open(pid)?;
        self.await_stop(pid, threads)?;
        let flags = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
        let args = [
            COMMANDS,
            COMMANDS_LEN,
            libc::PROT_READ as u64,
            flags,
            ARENA_FD,
            Arena::offset(slot),
        ];
        self.call(threads, libc::SYS_mmap, args)?;
        let (mapper, mapper_listener) =
            self.filtered(threads, &pidfd, blob::mapper(), blob::MAPPER_PROGRAM)?;
        ptrace::resume(mapper)?;
        let _ = mapper_listener.wake_synchronously();
        let threads = StubThreads {
            spawner: pid,
            mapper: Some(mapper),
        };
        let parked = self.guest_thread(threads, &pidfd)?;
        Ok(Forked {
            pid,
            pidfd,
            mapper,
            mapper_listener,
            parked,
        })
    }

    /// Closes the listeners that the stub itself still holds.
    pub(crate) fn tidy(&self, threads: StubThreads) {
        let args = [ARENA_FD + 1, u64::from(FIRST_FILE_FD) - 1, 0, 0, 0, 0];
        // A stub that died meanwhile is noticed by who uses it next.
        let _ = self.call(threads, libc::SYS_close_range, args);
    }
}

fn gone() -> io::Error {
    io::Error::from_raw_os_error(libc::ESRCH)
}
