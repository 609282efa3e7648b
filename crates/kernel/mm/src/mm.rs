//! The address space object: creation, fork, plain getters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base_abi::Errno;
use kernel_vfs::{Description, Result};
use parking_lot::{Mutex, MutexGuard};
use platform_api::{AddressSpace, Features, MapOp};

use crate::layout::{ExecLayout, Layout};
use crate::limits::MmLimits;
use crate::resident::{Replaced, Resident};
use crate::snapshot_pages::SnapshotPages;
use crate::tree::{Totals, VmaTree};
use crate::vma::{Vma, VmaBacking, VmaFlags};

/// One guest address space, shared by the threads of a process (and by `vfork` children).
pub struct Mm {
    id: u64,
    pub(crate) space: Arc<dyn AddressSpace>,
    state: Mutex<State>,
    /// The most bytes that somebody found it to have.
    pub(crate) highest: AtomicU64,
    /// Lock order: after the state, alone.
    pub(crate) replaced: Mutex<Replaced>,
}

pub(crate) struct State {
    pub(crate) tree: VmaTree,
    pub(crate) layout: Layout,
    pub(crate) limits: MmLimits,
    /// Bytes this address space holds of the commit budget.
    pub(crate) charged: u64,
    /// Current end of the heap, not page aligned.
    pub(crate) brk: u64,
    pub(crate) exec: ExecLayout,
    pub(crate) exe: Option<Arc<Description>>,
    /// `MCL_FUTURE`: new mappings are locked.
    pub(crate) lock_future: bool,
    /// What the platform has mapped from a snapshot.
    pub(crate) snapshot: SnapshotPages,
    /// Bytes of zeros that it had when it was captured, of which the snapshot has nothing.
    pub(crate) zeros: u64,
}

/// A number for the next address space of this host process.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Sizes in bytes (`/proc/<pid>/statm`, `status`).
#[derive(Clone, Copy, Debug, Default)]
pub struct MmStats {
    /// Sums over mappings.
    pub totals: Totals,
    /// Memory that it has, as far as the platform can tell.
    pub resident: Resident,
    /// The most that it had when somebody looked.
    pub highest: u64,
    /// Program text, from the marks of `execve`.
    pub exe: u64,
    /// Number of mappings.
    pub mappings: usize,
}

impl Mm {
    /// An empty address space over an empty platform address space.
    #[must_use]
    pub fn new(space: Arc<dyn AddressSpace>, features: &Features, limits: MmLimits) -> Mm {
        let layout = Layout::new(features, &limits);
        Mm::of(
            space,
            State {
                tree: VmaTree::default(),
                layout,
                limits,
                charged: 0,
                brk: 0,
                exec: ExecLayout::default(),
                exe: None,
                lock_future: false,
                snapshot: SnapshotPages::default(),
                zeros: 0,
            },
        )
    }

    /// The same with everything inside.
    pub(crate) fn of(space: Arc<dyn AddressSpace>, state: State) -> Mm {
        Mm {
            id: next_id(),
            space,
            state: Mutex::new(state),
            highest: AtomicU64::new(0),
            replaced: Mutex::default(),
        }
    }

    /// A number that no other address space of this host process has or had: the name of its private futexes.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The platform's side, for making contexts and futex words.
    #[must_use]
    pub fn space(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// A copy for fork(2): private memory copy-on-write, shared memory shared, `MADV_DONTFORK`
    /// ranges left out, `MADV_WIPEONFORK` ranges zero, nothing locked.
    ///
    /// # Errors
    /// `ENOMEM` when the commit budget or the host has no room; `EAGAIN` from the host.
    pub fn fork(&self) -> Result<Mm> {
        let state = self.lock();
        let mut tree = VmaTree::default();
        let mut ops = Vec::new();
        for vma in state.tree.iter() {
            if vma.flags.contains(VmaFlags::DONTFORK) {
                ops.push(MapOp::Unmap {
                    addr: vma.start,
                    len: vma.len(),
                });
                continue;
            }
            if vma.flags.contains(VmaFlags::WIPEONFORK) {
                ops.push(vma.map_op());
            }
            let mut copy = vma.clone();
            copy.flags.remove(VmaFlags::LOCKED);
            tree.insert(copy);
        }
        let charged = tree.totals().accounted;
        state.limits.budget.charge(charged)?;
        let release = |e: Errno| {
            state.limits.budget.release(charged);
            e
        };
        let mut snapshot = state.snapshot.clone();
        let space = self.space.fork().map_err(|e| release(e.errno()))?;
        if !ops.is_empty() {
            space.apply(&ops).map_err(|_| release(Errno::ENOMEM))?;
        }
        for op in &ops {
            if let MapOp::Unmap { addr, len } | MapOp::Map { addr, len, .. } = op {
                snapshot.remove(*addr, addr + len);
            }
        }
        Ok(Mm::of(
            space,
            State {
                tree,
                layout: state.layout,
                limits: state.limits.clone(),
                charged,
                brk: state.brk,
                exec: state.exec,
                exe: state.exe.clone(),
                lock_future: false,
                snapshot,
                zeros: state.zeros,
            },
        ))
    }

    /// The mapping that holds `addr`, as it is now.
    #[must_use]
    pub fn vma_at(&self, addr: u64) -> Option<Vma> {
        self.lock().tree.at(addr).cloned()
    }

    /// All mappings in order, as they are now.
    #[must_use]
    pub fn vmas(&self) -> Vec<Vma> {
        self.lock().tree.iter().cloned().collect()
    }

    /// Sizes for `/proc` and getrusage(2).
    #[must_use]
    pub fn stats(&self) -> MmStats {
        let (resident, highest) = self.resident();
        let state = self.lock();
        MmStats {
            totals: state.tree.totals(),
            mappings: state.tree.count(),
            exe: state.exec.end_code.saturating_sub(state.exec.start_code),
            resident,
            highest,
        }
    }

    /// Placement bounds.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.lock().layout
    }

    /// The next random number of the placement stream, for the loader's own choices.
    #[must_use]
    pub fn next_random(&self) -> u64 {
        self.lock().layout.rng.next_u64()
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> MmLimits {
        self.lock().limits.clone()
    }

    /// Changes the resource limits (setrlimit(2)); budget, shared memory and seed stay.
    pub fn update_limits(&self, change: impl FnOnce(&mut MmLimits)) {
        let mut state = self.lock();
        let mut next = state.limits.clone();
        change(&mut next);
        next.budget = Arc::clone(&state.limits.budget);
        next.shared = Arc::clone(&state.limits.shared);
        next.aslr_seed = state.limits.aslr_seed;
        state.limits = next;
    }

    /// What `execve` left.
    #[must_use]
    pub fn exec_layout(&self) -> ExecLayout {
        self.lock().exec
    }

    /// Sets what `execve` leaves, also the start of the heap (which must be empty).
    pub fn set_exec_layout(&self, exec: ExecLayout) {
        let mut state = self.lock();
        if state.brk <= state.exec.start_brk {
            state.brk = exec.start_brk;
        }
        state.exec = exec;
    }

    /// The program, for `/proc/<pid>/exe`.
    #[must_use]
    pub fn exe(&self) -> Option<Arc<Description>> {
        self.lock().exe.clone()
    }

    /// Sets the program.
    pub fn set_exe(&self, exe: Arc<Description>) {
        let old = self.lock().exe.replace(exe);
        drop(old);
    }

    /// Applies one batch and, when the platform took it, the change of the tree. `extra` bytes are
    /// charged first. On failure `doubtful` is unmapped on both sides, because the
    /// platform may or may not have taken away what was there.
    pub(crate) fn commit(
        &self,
        state: &mut State,
        extra: u64,
        ops: &[MapOp],
        doubtful: Option<(u64, u64)>,
        change: impl FnOnce(&mut VmaTree) -> Vec<Vma>,
    ) -> Result<Vec<Vma>> {
        state.limits.budget.charge(extra)?;
        state.charged += extra;
        let plan = state.snapshot.plan(&state.tree, ops);
        let ops = plan.as_ref().map_or(ops, |plan| &plan.ops);
        let outcome = if ops.is_empty() {
            Ok(())
        } else {
            self.space.apply(ops)
        };
        let result = match outcome {
            Ok(()) => {
                if let Some(plan) = plan {
                    state.snapshot = plan.ranges;
                }
                Ok(change(&mut state.tree))
            }
            Err(error) => {
                tracing::debug!(%error, "the platform refused a change of mappings");
                let more = plan.map(|plan| plan.doubtful).unwrap_or_default();
                for (start, end) in doubtful.into_iter().chain(more) {
                    state.tree.remove(start, end);
                    state.snapshot.remove(start, end);
                    let _ = self.space.apply(&[MapOp::Unmap {
                        addr: start,
                        len: end - start,
                    }]);
                }
                Err(error.errno)
            }
        };
        state.settle();
        result
    }
}

impl State {
    /// Counts the memory behind a new mapping if that was made for it.
    pub(crate) fn count_shared(&self, vma: &Vma) {
        if let VmaBacking::File { file, .. } = &vma.backing
            && file.description.is_none()
            && !vma.flags.contains(VmaFlags::SPECIAL)
        {
            self.limits.shared.add(&file.host);
        }
    }

    /// Gives back what is charged but no longer mapped.
    fn settle(&mut self) {
        let accounted = self.tree.totals().accounted;
        if let Some(over) = self.charged.checked_sub(accounted) {
            self.limits.budget.release(over);
            self.charged = accounted;
        }
    }

    /// `ENOMEM` unless the address space may grow by so many bytes, of which `data` are private writable.
    pub(crate) fn may_grow(&self, bytes: u64, data: u64) -> Result<()> {
        let totals = self.tree.totals();
        if totals.mapped.saturating_add(bytes) > self.limits.address_space
            || (data > 0 && totals.data.saturating_add(data) > self.limits.data)
        {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// `ENOMEM` unless there may be so many more mappings.
    pub(crate) fn may_add(&self, mappings: usize) -> Result<()> {
        if self.tree.count() + mappings > self.limits.max_map_count {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }
}

impl Drop for Mm {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        state.limits.budget.release(state.charged);
    }
}
