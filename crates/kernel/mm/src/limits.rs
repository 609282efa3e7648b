//! What bounds an address space: resource limits and the sandbox's commit budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base_abi::Errno;
use host_sys::memory_file::Census;

/// No limit (`RLIM_INFINITY`).
pub const UNLIMITED: u64 = u64::MAX;

/// Resource limits that matter to memory (getrlimit(2)), in bytes unless said otherwise.
#[derive(Clone, Debug)]
pub struct MmLimits {
    /// `RLIMIT_AS`.
    pub address_space: u64,
    /// `RLIMIT_DATA`.
    pub data: u64,
    /// `RLIMIT_STACK`: size of the main stack and distance of the first mapping from it.
    pub stack: u64,
    /// `RLIMIT_MEMLOCK`.
    pub memlock: u64,
    /// Number of mappings (`/proc/sys/vm/max_map_count`).
    pub max_map_count: usize,
    /// Where private writable memory is charged.
    pub budget: Arc<CommitBudget>,
    /// Where shared memory without a name is counted.
    pub shared: Arc<Census>,
    /// Decides every random placement; the same seed gives the same addresses.
    pub aslr_seed: u64,
}

impl Default for MmLimits {
    /// Linux's defaults: 8 MiB of stack and of locked memory, everything else unlimited.
    fn default() -> MmLimits {
        MmLimits {
            address_space: UNLIMITED,
            data: UNLIMITED,
            stack: 8 << 20,
            memlock: 8 << 20,
            max_map_count: 65_530,
            budget: Arc::new(CommitBudget::new(UNLIMITED)),
            shared: Arc::default(),
            aslr_seed: 0,
        }
    }
}

/// How much private writable memory all address spaces of a sandbox may have promised to
/// their programs: what `vm.overcommit_memory = 2` does for a machine. `MAP_NORESERVE`
/// mappings and stacks are not counted; resident memory is bounded elsewhere.
#[derive(Debug)]
pub struct CommitBudget {
    limit: AtomicU64,
    used: AtomicU64,
}

impl CommitBudget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> CommitBudget {
        CommitBudget {
            limit: AtomicU64::new(limit),
            used: AtomicU64::new(0),
        }
    }

    /// Bytes promised now (`Committed_AS`).
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that may be promised (`CommitLimit`).
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes the limit; what is promised stays.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub(crate) fn charge(&self, bytes: u64) -> Result<(), Errno> {
        let limit = self.limit();
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes)
                    .filter(|&sum| bytes == 0 || sum <= limit)
            })
            .map(drop)
            .map_err(|_| Errno::ENOMEM)
    }

    pub(crate) fn release(&self, bytes: u64) {
        let _ = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                Some(used.saturating_sub(bytes))
            });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::CommitBudget;

    proptest! {
        /// What is promised is what was charged and not released, and never more than the limit at the time.
        #[test]
        fn a_budget_keeps_its_books(limit in 0u64..1000, steps in proptest::collection::vec(0u64..400, 1..50)) {
            let budget = CommitBudget::new(limit);
            let mut held = Vec::new();
            for bytes in steps {
                let sum: u64 = held.iter().sum();
                let fits = bytes == 0 || sum + bytes <= limit;
                prop_assert_eq!(budget.charge(bytes).is_ok(), fits);
                if fits {
                    held.push(bytes);
                } else if let Some(given_back) = held.pop() {
                    budget.release(given_back);
                }
                prop_assert_eq!(budget.used(), held.iter().sum::<u64>());
            }
        }
    }

    #[test]
    fn charges_of_many_threads_do_not_pass_the_limit() {
        let budget = CommitBudget::new(1000);
        let charged = || (0..200).filter(|_| budget.charge(3).is_ok()).count();
        let sum: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(charged)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!((sum, budget.used()), (333, 999));
    }
}
