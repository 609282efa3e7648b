//! One stub process from our side: its handles, its death.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use host_sys::process::{Pid, PidFd};
use parking_lot::Mutex;
use platform_api::PlatformError;

use crate::arena::Arena;
use crate::mapper::Mapper;
use crate::stub_threads::{Forked, Parked, StubThreads};
use crate::tracer::{self, Answer, Zombie};

/// A stub process. Killed by [`kill`](Stub::kill), reaped when the last reference goes.
#[derive(Debug)]
pub(crate) struct Stub {
    pub(crate) pid: Pid,
    pidfd: PidFd,
    threads: StubThreads,
    arena: Arc<Arena>,
    slot: u32,
    /// Lock order: taken alone, or before the tracer's queue.
    pub(crate) mapper: Mutex<Mapper>,
    /// Threads that wait for their first registers.
    parked: Mutex<Vec<Parked>>,
    killed: AtomicBool,
}

/// The host refused `what`.
pub(crate) fn refused(what: &'static str) -> impl Fn(io::Error) -> PlatformError {
    move |source| match source.raw_os_error() {
        Some(libc::ESRCH) => PlatformError::Gone,
        _ => PlatformError::Host { what, source },
    }
}

/// A stub that the tracer is making. Whoever began it must see it through: left alone it lives until the process ends.
#[derive(Debug)]
pub(crate) struct Forking {
    arena: Arc<Arena>,
    slot: u32,
    answer: Answer<Forked>,
}

impl Forking {
    /// Begins to fork the template or another stub.
    pub(crate) fn begin(arena: &Arc<Arena>, from: StubThreads) -> Result<Forking, PlatformError> {
        let slot = arena.take().map_err(refused("take a slot for a stub"))?;
        Ok(Forking {
            arena: arena.clone(),
            slot,
            answer: tracer::fork(from, slot),
        })
    }

    /// Waits for it. `inherit` is the mapper of the forked one, whose open files the new stub has too.
    pub(crate) fn finish(self, inherit: Option<&Mapper>) -> Result<Arc<Stub>, PlatformError> {
        let Forking {
            arena,
            slot,
            answer,
        } = self;
        let forked = answer.wait().map_err(|error| {
            arena.give_back(slot);
            refused("fork a stub")(error)
        })?;
        Ok(Arc::new(Stub {
            pid: forked.pid,
            pidfd: forked.pidfd,
            threads: StubThreads {
                spawner: forked.pid,
                mapper: Some(forked.mapper),
            },
            slot,
            mapper: Mutex::new(Mapper::new(
                forked.mapper,
                forked.mapper_listener,
                arena.clone(),
                slot,
                inherit,
            )),
            arena,
            parked: Mutex::new(vec![forked.parked]),
            killed: AtomicBool::new(false),
        }))
    }
}

impl Stub {
    /// Forks the template or another stub. `inherit` is the mapper of the forked one, whose open files the new stub has too.
    pub(crate) fn fork(
        arena: &Arc<Arena>,
        from: StubThreads,
        inherit: Option<&Mapper>,
    ) -> Result<Arc<Stub>, PlatformError> {
        Forking::begin(arena, from)?.finish(inherit)
    }

    /// The threads that the tracer needs to fork this stub.
    pub(crate) fn threads(&self) -> StubThreads {
        self.threads
    }

    /// The file of command pages this stub belongs to.
    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// A thread that waits for its first registers.
    pub(crate) fn thread(&self) -> Result<Parked, PlatformError> {
        if self.is_killed() {
            return Err(PlatformError::Gone);
        }
        if let Some(parked) = self.parked.lock().pop() {
            return Ok(parked);
        }
        tracer::new_thread(self.threads).map_err(refused("make a guest thread"))
    }

    /// Makes threads until `count` wait for their first registers.
    pub(crate) fn park(&self, count: usize) -> Result<(), PlatformError> {
        while self.parked.lock().len() < count {
            let parked = tracer::new_thread(self.threads);
            let parked = parked.map_err(refused("make a guest thread"))?;
            self.parked.lock().push(parked);
        }
        Ok(())
    }

    /// Ends every thread of the stub.
    pub(crate) fn kill(&self) {
        self.killed.store(true, Ordering::SeqCst);
        // ESRCH: it is dead already.
        let _ = self.pidfd.kill();
    }

    /// Whether [`kill`](Stub::kill) was called.
    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.kill();
        tracer::reap(Zombie::new(
            self.threads,
            Some((self.arena.clone(), self.slot)),
        ));
    }
}
