//! The tracer: one thread of this process that traces every stub's spawner and mapper.
//!
//! It makes stubs and guest threads by putting system calls into the registers of stopped spawners, reaps the
//! dead, helps mappers out of faults, and wakes owners whose `SIGCHLD` went elsewhere (see `wakeup`).
//! Stubs die with it (`PTRACE_O_EXITKILL`), and so with this process.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use host_sys::process::{Pid, has_changed};
use parking_lot::Mutex;

use crate::arena::Arena;
use crate::interrupt;
use crate::spawn::Spawner;
use crate::stub_threads::{Forked, Parked, StubThreads, are_reaped, watch_mapper};
use crate::template::{Network, Template};
use crate::wakeup::{self, TracerNeeded};

/// What others ask of the tracer.
enum Job {
    Template {
        arena: Arc<Arena>,
        network: Network,
        reply: SyncSender<io::Result<Template>>,
    },
    Fork {
        from: StubThreads,
        slot: u32,
        reply: SyncSender<io::Result<Forked>>,
    },
    Thread {
        of: StubThreads,
        reply: SyncSender<io::Result<Parked>>,
    },
    Reap(Zombie),
}

/// A killed stub that is to be reaped.
pub(crate) struct Zombie {
    pub(crate) threads: StubThreads,
    pub(crate) slot: Option<(Arc<Arena>, u32)>,
    needed: TracerNeeded,
}

impl Zombie {
    pub(crate) fn new(threads: StubThreads, slot: Option<(Arc<Arena>, u32)>) -> Zombie {
        Zombie {
            threads,
            slot,
            needed: TracerNeeded::new(),
        }
    }
}

/// Queue to the tracer. Lock order: alone.
static QUEUE: Mutex<VecDeque<Job>> = Mutex::new(VecDeque::new());
/// Mappers that may fault right now. Lock order: alone.
static SWAPPING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Starts the tracer unless it runs already.
pub(crate) fn start() -> io::Result<()> {
    static STARTED: OnceLock<Result<(), i32>> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        let start = || -> io::Result<()> {
            wakeup::install()?;
            std::thread::Builder::new()
                .name("stub-tracer".into())
                .spawn(|| Tracer::default().run())?;
            Ok(())
        };
        start().map_err(|e| e.raw_os_error().unwrap_or(libc::EAGAIN))
    });
    started.map_err(io::Error::from_raw_os_error)
}

/// What the tracer will say.
#[derive(Debug)]
pub(crate) struct Answer<T>(Receiver<io::Result<T>>);

impl<T> Answer<T> {
    /// Waits for it.
    pub(crate) fn wait(self) -> io::Result<T> {
        self.0
            .recv()
            .unwrap_or_else(|_| Err(io::Error::from_raw_os_error(libc::ESRCH)))
    }
}

fn ask<T>(job: impl FnOnce(SyncSender<io::Result<T>>) -> Job) -> Answer<T> {
    let (reply, answer) = sync_channel(1);
    QUEUE.lock().push_back(job(reply));
    wakeup::wake_tracer();
    Answer(answer)
}

/// Makes the first stub of a platform.
pub(crate) fn make_template(arena: Arc<Arena>, network: Network) -> io::Result<Template> {
    ask(|reply| Job::Template {
        arena,
        network,
        reply,
    })
    .wait()
}

/// Forks a stub; its commands will be in `slot`.
pub(crate) fn fork(from: StubThreads, slot: u32) -> Answer<Forked> {
    ask(|reply| Job::Fork { from, slot, reply })
}

/// Makes another guest thread in a stub.
pub(crate) fn new_thread(of: StubThreads) -> io::Result<Parked> {
    ask(|reply| Job::Thread { of, reply }).wait()
}

/// Reaps a stub that was sent `SIGKILL` and all of whose guest threads were reaped or never traced.
pub(crate) fn reap(zombie: Zombie) {
    QUEUE.lock().push_back(Job::Reap(zombie));
    wakeup::wake_tracer();
}

/// While this lives, a fault of the mapper is expected and becomes `EFAULT`.
pub(crate) struct Swapping {
    mapper: Pid,
    _needed: TracerNeeded,
}

impl Swapping {
    pub(crate) fn new(mapper: Pid) -> Swapping {
        SWAPPING.lock().push(mapper);
        Swapping {
            mapper,
            _needed: TracerNeeded::new(),
        }
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        let mut all = SWAPPING.lock();
        if let Some(at) = all.iter().position(|pid| *pid == self.mapper) {
            all.swap_remove(at);
        }
    }
}

#[derive(Default)]
struct Tracer {
    spawner: Spawner,
    zombies: Vec<Zombie>,
}

impl Tracer {
    fn run(mut self) {
        loop {
            let seen = wakeup::wakeups_seen();
            let job = QUEUE.lock().pop_front();
            match job {
                Some(job) => self.serve(job),
                None => {
                    self.look_around();
                    wakeup::tracer_sleep(seen);
                }
            }
        }
    }

    fn serve(&mut self, job: Job) {
        // A reply nobody waits for is dropped together with what it holds.
        match job {
            Job::Template {
                arena,
                network,
                reply,
            } => drop(reply.send(self.spawner.template(&arena, network))),
            Job::Fork { from, slot, reply } => match self.spawner.fork(from, slot) {
                Ok(forked) => {
                    let threads = StubThreads {
                        spawner: forked.pid,
                        mapper: Some(forked.mapper),
                    };
                    drop(reply.send(Ok(forked)));
                    self.spawner.tidy(threads);
                }
                Err(failed) => {
                    let left = failed.left.map(|threads| Zombie::new(threads, None));
                    self.zombies.extend(left);
                    drop(reply.send(Err(failed.error)));
                }
            },
            Job::Thread { of, reply } => match self.spawner.thread(of) {
                Ok(parked) => {
                    drop(reply.send(Ok(parked)));
                    self.spawner.tidy(of);
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            Job::Reap(zombie) => self.zombies.push(zombie),
        }
    }

    /// Everything a wake-up can mean besides a job.
    fn look_around(&mut self) {
        self.zombies.retain(|zombie| {
            let _ = &zombie.needed;
            let dead = are_reaped(zombie.threads);
            if dead && let Some((arena, slot)) = &zombie.slot {
                arena.give_back(*slot);
            }
            !dead
        });
        let swapping: Vec<Pid> = SWAPPING.lock().clone();
        for mapper in swapping {
            watch_mapper(mapper);
        }
        // Unconditionally: the thread whose signal hid another's may have ended since it woke us.
        for (tid, owner) in interrupt::running() {
            if has_changed(tid) {
                wakeup::wake_owner(owner);
            }
        }
    }
}
