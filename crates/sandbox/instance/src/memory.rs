//! The memory limit, looked at every few milliseconds while the guest runs.
//!
//! Two things are held against it: what guests have, and what the host has for them that no disk quota has paid for, page
//! tables and this process' heap included. The second may be more by [`OVERHEAD`].

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use host_sys::proc::ProcessMemory;
use kernel_core::freeze::Activity;
use kernel_syscall::{Look, MemoryUse, System};

/// Time between two looks while memory grows: what a guest takes in that time is how far it gets beyond its limit.
const GROWING: Duration = Duration::from_millis(5);
/// The most while it does not.
const STEADY: Duration = Duration::from_millis(20);
/// Growth between two looks that is none.
const LITTLE: u64 = 64 << 10;
/// A look takes no more than one part in so many of the time, as long as that does not make the pauses longer than they are anyway.
const SHARE: u32 = 8;
/// Time after which a watch over a guest that sleeps looks whether it is still wanted.
const PATIENCE: Duration = Duration::from_secs(1);
/// What page tables and the kernel's heap may take beside the limit.
const OVERHEAD: u64 = 64 << 20;

/// What the watch found.
pub(crate) struct MemoryWatch {
    own: OwnMemory,
    /// What that had at the last look in passing, in bytes.
    last_own: AtomicU64,
    pub(crate) exceeded: AtomicBool,
    pub(crate) stop: AtomicBool,
}

impl MemoryWatch {
    /// Watches a system until told to stop; kills it when it holds more than its memory.
    pub(crate) fn start(own: OwnMemory, system: Arc<System>) -> std::io::Result<Arc<MemoryWatch>> {
        let watch = Arc::new(MemoryWatch {
            own,
            last_own: AtomicU64::new(0),
            exceeded: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let watcher = Arc::clone(&watch);
        std::thread::Builder::new()
            .name("memory".into())
            .spawn(move || watcher.watch(&system))?;
        Ok(watch)
    }

    fn watch(&self, system: &System) {
        let mut pace = Pace::default();
        let mut seen = Activity::default();
        while !self.stop.load(Ordering::Relaxed) {
            // Nothing grows while nothing runs: an idle instance costs no processor time.
            if !system.kernel.freezer.wait_active(seen, PATIENCE) {
                continue;
            }
            seen = system.kernel.freezer.activity();
            let began = Instant::now();
            let host = self.look(system, Look::Passing);
            pace.sleep(host, began.elapsed());
        }
    }

    /// Kills a guest that has too much; what the host has in memory for the sandbox, in bytes.
    pub(crate) fn look(&self, system: &System, look: Look) -> u64 {
        let limit = system.kernel.config.memory;
        let found = system.memory_use(look);
        // The end of an event waits for a close look, which is at the guest: what this process has is looked at in passing.
        if look == Look::Passing {
            self.last_own.store(self.own.bytes(), Ordering::Relaxed);
        }
        let own = self.last_own.load(Ordering::Relaxed);
        let (host, guest) = (own.saturating_add(found.host), found.guest);
        let beyond = guest > limit || unpaid(host, found) > limit.saturating_add(OVERHEAD);
        if beyond && !self.exceeded.swap(true, Ordering::SeqCst) {
            tracing::info!(limit, host, guest, "out of memory: the guest is killed");
            system.thaw();
            system.kernel.kill_all();
        }
        host
    }
}

/// What of the host's memory no disk quota has paid for.
fn unpaid(host: u64, found: MemoryUse) -> u64 {
    host.saturating_sub(found.quota)
}

/// How often is looked.
struct Pace {
    period: Duration,
    last: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            period: GROWING,
            last: 0,
        }
    }
}

impl Pace {
    fn next(&mut self, bytes: u64, took: Duration) -> Duration {
        self.period = if bytes > self.last + LITTLE {
            GROWING
        } else {
            (self.period * 2).min(STEADY)
        };
        self.last = bytes;
        self.period.max((took * SHARE).min(STEADY)).max(took)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the host tells nobody when memory grows: looking again is the only way"
    )]
    fn sleep(&mut self, bytes: u64, took: Duration) {
        std::thread::sleep(self.next(bytes, took));
    }
}

/// `/proc/self/status`, opened before the jail closes.
pub(crate) struct OwnMemory(File);

impl OwnMemory {
    pub(crate) fn open() -> std::io::Result<OwnMemory> {
        File::open("/proc/self/status").map(OwnMemory)
    }

    /// Bytes of this process that no file backs, the kernel's heap for the most part, and its page tables.
    fn bytes(&self) -> u64 {
        ProcessMemory::of_status(&self.0)
            .map_or(0, |memory| memory.anonymous.saturating_add(memory.tables))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_is_looked_at_more_often() {
        const MIB: u64 = 1 << 20;
        let mut pace = Pace::default();
        let none = Duration::ZERO;
        assert_eq!(pace.next(MIB, none), GROWING);
        let periods = [0, 0, 0].map(|_| pace.next(MIB + LITTLE, none));
        assert_eq!(periods, [10, 20, 20].map(Duration::from_millis));
        assert_eq!(pace.next(3 * MIB, none), GROWING);
        // A look that takes long is not repeated at once.
        let took = [1, 2, 50].map(Duration::from_millis);
        let pauses = took.map(|took| pace.next(pace.last + MIB, took));
        assert_eq!(pauses, [8, 16, 50].map(Duration::from_millis));
    }

    #[test]
    fn the_quota_pays_for_what_it_holds() {
        let found = MemoryUse {
            quota: 30,
            ..MemoryUse::default()
        };
        assert_eq!((unpaid(100, found), unpaid(20, found)), (70, 0));
    }

    #[test]
    fn this_process_has_memory() {
        let own = OwnMemory::open().unwrap();
        assert!(own.bytes() > 0 && own.bytes() > 0);
    }
}
