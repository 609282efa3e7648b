//! One sandbox's kernel with everything that hangs on it: file systems, clocks, network.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel_core::Kernel;
use kernel_core::freeze::NotFrozen;
use kernel_core::task::{Resource, Task};
use kernel_loader::{CpuWords, VdsoPages};
use kernel_net::{NetStack, StackConfig};
use kernel_time::{Clocks, GuestClock, TimerService};
use kernel_vfs::MountTable;
use parking_lot::Mutex;

use crate::account::MemoryAccount;
use crate::objects::Objects;
use crate::snapshot::SnapshotRequests;
use crate::timer::ProcessTimers;

/// Told of each finished call, for `--strace`.
pub type Tracer = Box<dyn Fn(&str) + Send + Sync>;

/// A kernel, its clocks, its file systems and its network.
pub struct System {
    /// Tasks, signals, futexes.
    pub kernel: Arc<Kernel>,
    /// The file tree.
    pub mounts: Arc<MountTable>,
    /// The code that tells the time without a call.
    pub vdso: Option<VdsoPages>,
    /// Receives a line a call.
    pub tracer: Option<Tracer>,
    /// What pipes, terminals and other kernel objects share.
    pub objects: Objects,
    /// The network namespace.
    pub net: Arc<NetStack>,
    unknown_calls: Mutex<BTreeMap<u64, u64>>,
    /// Guest clocks, and deadlines on them.
    pub timers: TimerService,
    /// Memory of guests.
    pub memory: MemoryAccount,
    /// Programs that ask to be captured.
    pub snapshot_requests: SnapshotRequests,
    pub(crate) process_timers: Arc<ProcessTimers>,
}

/// What a system is built with beside its kernel and its file tree.
#[derive(Default)]
pub struct SystemConfig {
    /// Receives a line a call.
    pub tracer: Option<Tracer>,
    /// Addresses, bounds and what is beyond; the clock is the system's own, whatever is given here.
    pub network: StackConfig,
    /// How far the monotonic clock has come: a restored sandbox goes on where it was.
    pub monotonic: Duration,
}

/// How many different unknown numbers are counted apart.
const UNKNOWN_LIMIT: usize = 1024;

impl System {
    /// A system without tasks over a file tree.
    #[must_use]
    pub fn new(kernel: Kernel, mounts: Arc<MountTable>, config: SystemConfig) -> System {
        let SystemConfig {
            tracer,
            network,
            monotonic,
        } = config;
        let clocks = Arc::new(Clocks::new(monotonic));
        let vdso = clocks.vdso().map(|pages| VdsoPages {
            memory: Arc::clone(&pages.file),
            data_len: pages.data_len,
            code_len: pages.code_len,
        });
        let wall_clock = Arc::clone(&clocks);
        let net = NetStack::new(StackConfig {
            now: Arc::new(move || crate::clock::timespec(wall_clock.realtime())),
            ..network
        });
        let timers = TimerService::new(clocks);
        let kernel = Arc::new(kernel);
        let objects = Objects::new(Arc::new(timers.clone()), &mounts, &kernel);
        let process_timers = ProcessTimers::new(Arc::clone(&kernel), timers.clone());
        System {
            kernel,
            mounts,
            vdso,
            tracer,
            objects,
            net,
            unknown_calls: Mutex::default(),
            timers,
            memory: MemoryAccount::default(),
            snapshot_requests: SnapshotRequests::default(),
            process_timers: Arc::new(process_timers),
        }
    }

    /// Stops time for what is loaded ahead of the moment in which it goes on: no deadline comes due.
    pub fn hold_time(&self) {
        self.timers.hold();
    }

    /// Lets time go on, with guest `CLOCK_MONOTONIC` at this. No task may have run.
    pub fn resume_time(&self, monotonic: Duration) {
        self.timers.go_on(monotonic);
    }

    /// Stops all guest code, and timers with it. Sleeping tasks stay asleep.
    ///
    /// # Errors
    /// When some task did not stop within the limit; the freeze stays wanted.
    pub fn freeze(&self, limit: Duration) -> Result<(), NotFrozen> {
        let frozen = self.kernel.freeze(limit);
        self.timers.stand_still();
        frozen
    }

    /// Lets guest code run again; timers that came due meanwhile are told of now, as after a stop on Linux.
    pub fn thaw(&self) {
        self.kernel.thaw();
        self.timers.move_on();
    }

    /// What the auxiliary vector says of the processor.
    #[must_use]
    pub fn cpu_words(&self) -> CpuWords {
        let words = self.kernel.config.cpu;
        CpuWords {
            hwcap: words.hwcap,
            hwcap2: words.hwcap2,
            min_signal_stack: words.min_signal_stack,
        }
    }

    /// Guest `CLOCK_MONOTONIC` in nanoseconds.
    #[must_use]
    pub fn monotonic(&self) -> u64 {
        self.timers.clocks().monotonic()
    }

    /// Guest `CLOCK_REALTIME` in nanoseconds since the epoch.
    #[must_use]
    pub fn realtime(&self) -> u64 {
        self.timers.clocks().realtime()
    }

    /// The monotonic time at which the real-time clock will show this.
    #[must_use]
    pub fn monotonic_from_realtime(&self, realtime: u64) -> u64 {
        let now = self.monotonic();
        now.saturating_add(realtime.saturating_sub(self.realtime()))
    }

    /// The host instant of a guest monotonic time; far ones are cut to a day.
    pub(crate) fn host_instant(&self, monotonic: u64) -> Instant {
        let clocks = self.timers.clocks();
        clocks.host_instant(GuestClock::Monotonic, monotonic)
    }

    /// Counts a call without handler and reports the first of each number.
    pub(crate) fn count_unknown(&self, nr: u64) {
        let mut counts = self.unknown_calls.lock();
        if counts.len() >= UNKNOWN_LIMIT && !counts.contains_key(&nr) {
            return;
        }
        let count = counts.entry(nr).or_insert(0);
        *count += 1;
        if *count == 1 {
            tracing::info!(nr, "system call without handler: ENOSYS");
        }
    }

    /// Calls that no handler exists for: how often each number was made.
    #[must_use]
    pub fn unknown_calls(&self) -> BTreeMap<u64, u64> {
        self.unknown_calls.lock().clone()
    }

    /// Makes a changed resource limit effective where it is enforced.
    pub(crate) fn apply_limit(&self, task: &Task, resource: Resource, soft: u64) {
        if resource == Resource::Cpu {
            return self.process_timers.limit_cpu(task.pid(), soft);
        }
        task.mm().update_limits(|limits| match resource {
            Resource::As => limits.address_space = soft,
            Resource::Data => limits.data = soft,
            Resource::Stack => limits.stack = soft,
            Resource::Memlock => limits.memlock = soft,
            _ => {}
        });
    }

    /// Drops what is kept by process number (timers, locks) when a process ended.
    pub(crate) fn forget_process(&self, pid: i32) {
        self.objects.jobs.leader_ended(pid);
        self.process_timers.forget_process(pid);
        tracing::trace!(pid, "process ended");
    }
}
