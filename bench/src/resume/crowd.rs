//! A guest's threads, frozen while they compute, and how long it takes until the last of them goes on.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_cli::PlatformArg;
use kernel_mm::Mm;

use super::Order;
use super::machine::{LIMIT, Machine, Taken, wrong};

/// Where the guest's page is, and what is in it: `guest/resume.rs`.
const PAGE: u64 = 0x10_0000_0000;
const ROUND: u64 = PAGE;
const READY: u64 = PAGE + 4;
const DONE: u64 = PAGE + 8;
const THREADS: u64 = PAGE + 64;
const THREAD_LEN: u64 = 64;
#[cfg(test)]
const TIMES: u64 = 8;

/// How often the guest's page is looked at while others should have the processors.
const STEP: Duration = Duration::from_millis(1);

/// Threads of a guest that is there, and of its clones.
pub(crate) struct Crowd {
    machine: Machine,
    threads: u32,
    root: PathBuf,
    platform: PlatformArg,
    taken: Option<Taken>,
    hot: Option<Hot>,
}

/// What a clone read and wrote until all its threads had run.
struct Hot {
    read: Vec<Range<u64>>,
    written: Vec<Range<u64>>,
}

impl Crowd {
    /// So many threads of the guest in this directory.
    pub(crate) fn gather(root: PathBuf, platform: PlatformArg, threads: u32) -> io::Result<Crowd> {
        let machine = Machine::boot(&root, platform, Duration::ZERO)?;
        machine.start(&["/guest", "resume", &threads.to_string()])?;
        Ok(Crowd {
            machine,
            threads,
            root,
            platform,
            taken: None,
            hot: None,
        })
    }

    /// Freezes them while all compute, and thaws them: the time until the last has gone on.
    pub(crate) fn thaw(&self, order: Order) -> io::Result<Duration> {
        self.freeze()?;
        self.go(&self.machine, order)
    }

    /// Has them go on in a clone that was made ahead: the time from its thaw.
    pub(crate) fn restore(&mut self, order: Order) -> io::Result<Duration> {
        if self.taken.is_none() {
            self.freeze()?;
            self.taken = Some(self.machine.take()?);
            self.go(&self.machine, Order::Parallel)?;
        }
        let Some(taken) = &self.taken else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let (clone, monotonic) = Machine::enter(&self.root, self.platform, taken)?;
        if let Some(hot) = &self.hot {
            let memory = clone.memory()?;
            memory.read_ahead(&hot.read);
            memory.touch(&hot.written);
        }
        clone.system.resume_time(monotonic);
        let took = self.go(&clone, order)?;
        if self.hot.is_none() {
            stop(&clone)?;
            let memory = clone.memory()?;
            self.hot = Some(Hot {
                read: memory.read_of_files(),
                written: memory.written_of_snapshot(),
            });
        }
        Ok(took)
    }

    /// How often each thread went on.
    #[cfg(test)]
    fn times(&self) -> io::Result<Vec<u64>> {
        let memory = self.machine.memory()?;
        (0..u64::from(self.threads))
            .map(|thread| memory.read_obj(THREADS + thread * THREAD_LEN + TIMES))
            .collect::<Result<_, _>>()
            .map_err(wrong("read the guest"))
    }

    /// Stops all threads in the middle of computing.
    fn freeze(&self) -> io::Result<()> {
        self.machine.console.push_input(b"\n");
        self.all_have(&self.machine, READY)?;
        stop(&self.machine)
    }

    /// From the thaw to when the last thread has executed something, by the guest's clock.
    fn go(&self, machine: &Machine, order: Order) -> io::Result<Duration> {
        let memory = machine.memory()?;
        self.begin_round(&memory).map_err(wrong("tell the guest"))?;
        let began = machine.system.monotonic();
        machine.thaw(order);
        self.all_have(machine, DONE)?;
        let mut last = 0;
        for thread in 0..u64::from(self.threads) {
            let at = memory.read_obj::<u64>(THREADS + thread * THREAD_LEN);
            last = last.max(at.map_err(wrong("read the guest"))?);
        }
        Ok(Duration::from_nanos(last.saturating_sub(began)))
    }

    /// What all threads see when they go on; nothing runs.
    fn begin_round(&self, memory: &Arc<Mm>) -> kernel_vfs::Result<()> {
        let round: u32 = memory.read_obj(ROUND)?;
        memory.write_obj(READY, &0u32)?;
        memory.write_obj(DONE, &0u32)?;
        memory.write_obj(ROUND, &round.wrapping_add(1))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a guest that wrote to its memory wakes nobody, and who looks without pause takes a processor from it"
    )]
    fn all_have(&self, machine: &Machine, count: u64) -> io::Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            // The page is not there before the guest has made it.
            let reached: u32 = machine.memory()?.read_obj(count).unwrap_or_default();
            if reached >= self.threads {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!(
                    "{reached} of {} threads of the guest went on",
                    self.threads
                )));
            }
            std::thread::sleep(STEP);
        }
    }
}

fn stop(machine: &Machine) -> io::Result<()> {
    let frozen = machine.system.kernel.freeze(LIMIT);
    frozen.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Kit;

    const CROWD: u32 = 32;
    const ROUNDS: u64 = 6;

    fn platforms() -> Vec<PlatformArg> {
        let kvm = std::path::Path::new("/dev/kvm").exists();
        let all = [PlatformArg::Process, PlatformArg::Kvm];
        all.into_iter()
            .filter(|platform| kvm || *platform != PlatformArg::Kvm)
            .collect()
    }

    #[test]
    fn each_thread_goes_on_once() {
        for platform in platforms() {
            let kit = Kit::unpack(platform).unwrap();
            let mut crowd = Crowd::gather(kit.path().to_owned(), platform, CROWD).unwrap();
            for round in 1..=ROUNDS {
                let order = match round % 2 {
                    0 => Order::Sequential,
                    _ => Order::Parallel,
                };
                crowd.thaw(order).unwrap();
                assert_eq!(crowd.times().unwrap(), [round; CROWD as usize]);
            }
            for order in [Order::Parallel, Order::Sequential] {
                // All threads of the clone, or it fails.
                crowd.restore(order).unwrap();
            }
            assert_eq!(crowd.times().unwrap(), [ROUNDS + 1; CROWD as usize]);
        }
    }

    #[test]
    fn a_freeze_that_follows_at_once_stops_all() {
        for platform in platforms() {
            let kit = Kit::unpack(platform).unwrap();
            let crowd = Crowd::gather(kit.path().to_owned(), platform, CROWD).unwrap();
            crowd.freeze().unwrap();
            let memory = crowd.machine.memory().unwrap();
            crowd.begin_round(&memory).unwrap();
            for order in [Order::Parallel, Order::Sequential, Order::Parallel] {
                std::thread::scope(|scope| {
                    let waker = scope.spawn(|| crowd.machine.thaw(order));
                    if order == Order::Parallel {
                        waker.join().unwrap();
                    }
                    stop(&crowd.machine).unwrap();
                });
                stop(&crowd.machine).unwrap();
                let before = crowd.times().unwrap();
                std::thread::yield_now();
                assert_eq!(crowd.times().unwrap(), before);
                assert!(before.iter().all(|times| *times <= 1), "{before:?}");
            }
            crowd.machine.thaw(Order::Parallel);
            crowd.all_have(&crowd.machine, DONE).unwrap();
            assert_eq!(crowd.times().unwrap(), [1; CROWD as usize]);
        }
    }
}
