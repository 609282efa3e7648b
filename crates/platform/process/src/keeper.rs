//! The keeper: one thread of this process that traces every stub's spawner and mapper.
//!
//! It makes stubs and guest threads by putting system calls into the registers of stopped spawners, buries the
//! dead, helps mappers out of faults, and wakes owners whose `SIGCHLD` went elsewhere (see `bell`).
//! Stubs die with it (`PTRACE_O_EXITKILL`), and so with this process.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use host_sys::process::{Pid, has_changed};
use parking_lot::Mutex;

use crate::arena::Arena;
use crate::bell::{self, KeeperNeeded};
use crate::family::{Family, is_buried, watch_mapper};
use crate::platform::Network;
use crate::seat;
use crate::spawn::{Born, Parked, Spawner, Template};

/// What others ask of the keeper.
enum Job {
    Template {
        arena: Arc<Arena>,
        network: Network,
        reply: SyncSender<io::Result<Template>>,
    },
    Fork {
        from: Family,
        slot: u32,
        reply: SyncSender<io::Result<Born>>,
    },
    Thread {
        of: Family,
        reply: SyncSender<io::Result<Parked>>,
    },
    Bury(Grave),
}
/// A killed stub that is to be reaped.
pub(crate) struct Grave {
    pub(crate) family: Family,
    pub(crate) slot: Option<(Arc<Arena>, u32)>,
    needed: KeeperNeeded,
}

impl Grave {
    pub(crate) fn new(family: Family, slot: Option<(Arc<Arena>, u32)>) -> Grave {
        Grave {
            family,
            slot,
            needed: KeeperNeeded::new(),
        }
    }
}

/// Queue to the keeper. Lock order: alone.
static QUEUE: Mutex<VecDeque<Job>> = Mutex::new(VecDeque::new());
/// Mappers that may fault right now. Lock order: alone.
static SWAPPING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Starts the keeper unless it runs already.
pub(crate) fn start() -> io::Result<()> {
    static STARTED: OnceLock<Result<(), i32>> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        let start = || -> io::Result<()> {
            bell::install()?;
            std::thread::Builder::new()
                .name("stub-keeper".into())
                .spawn(|| Keeper::default().run())?;
            Ok(())
        };
        start().map_err(|e| e.raw_os_error().unwrap_or(libc::EAGAIN))
    });
    started.map_err(io::Error::from_raw_os_error)
}

/// What the keeper will say.
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
    bell::ring_keeper();
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
pub(crate) fn fork(from: Family, slot: u32) -> Answer<Born> {
    ask(|reply| Job::Fork { from, slot, reply })
}

/// Makes another guest thread in a stub.
pub(crate) fn new_thread(of: Family) -> io::Result<Parked> {
    ask(|reply| Job::Thread { of, reply }).wait()
}

/// Reaps a stub that was sent `SIGKILL` and all of whose guest threads were reaped or never traced.
pub(crate) fn bury(grave: Grave) {
    QUEUE.lock().push_back(Job::Bury(grave));
    bell::ring_keeper();
}

/// While this lives, a fault of the mapper is expected and becomes `EFAULT`.
pub(crate) struct Swapping {
    mapper: Pid,
    _needed: KeeperNeeded,
}

impl Swapping {
    pub(crate) fn new(mapper: Pid) -> Swapping {
        SWAPPING.lock().push(mapper);
        Swapping {
            mapper,
            _needed: KeeperNeeded::new(),
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
struct Keeper {
    spawner: Spawner,
    graves: Vec<Grave>,
}

impl Keeper {
    fn run(mut self) {
        loop {
            let seen = bell::keeper_seen();
            let job = QUEUE.lock().pop_front();
            match job {
                Some(job) => self.serve(job),
                None => {
                    self.look_around();
                    bell::keeper_sleep(seen);
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
                Ok(born) => {
                    let family = Family {
                        spawner: born.pid,
                        mapper: Some(born.mapper),
                    };
                    drop(reply.send(Ok(born)));
                    self.spawner.tidy(family);
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            Job::Thread { of, reply } => match self.spawner.thread(of) {
                Ok(parked) => {
                    drop(reply.send(Ok(parked)));
                    self.spawner.tidy(of);
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            Job::Bury(grave) => self.graves.push(grave),
        }
    }

    /// Everything a ring can mean besides a job.
    fn look_around(&mut self) {
        self.graves.retain(|grave| {
            let _ = &grave.needed;
            let dead = is_buried(grave.family);
            if dead && let Some((arena, slot)) = &grave.slot {
                arena.give_back(*slot);
            }
            !dead
        });
        let swapping: Vec<Pid> = SWAPPING.lock().clone();
        for mapper in swapping {
            watch_mapper(mapper);
        }
        // Unconditionally: the thread whose signal hid another's may have ended since it rang.
        for (tid, owner) in seat::running() {
            if has_changed(tid) {
                bell::ring_owner(owner);
            }
        }
    }
}
