//! The virtual machine of a sandbox: memory, tables, vCPUs.

use std::sync::Arc;

use kvm_ioctls::Kvm;
use parking_lot::{Mutex, RwLock};
use platform_api::{ExitCounts, PlatformError};

use crate::cpuid;
use crate::error::refused;
use crate::files::Windows;
use crate::frames::{self, Frames};
use crate::guest_memory::GuestMemory;
use crate::interrupt::ThreadHandle;
use crate::layout::PAGE;
use crate::pool::Pool;
use crate::slots::Slots;
use crate::stub;
use crate::tables::Store;
use crate::vm::Vm;

/// Dead page tables that are kept before vCPUs are stopped for them.
const MAX_DEAD_TABLES: usize = 4096;

/// How long kicked vCPUs have to leave before they are kicked again.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(5);

/// Everything that address spaces and contexts of a platform share.
///
/// Lock order: an address space, `gate`, `handles`, and then the locks of the fields, alone.
pub(crate) struct Machine {
    pub(crate) pool: Pool,
    pub(crate) frames: Frames,
    pub(crate) windows: Arc<Windows>,
    pub(crate) tables: Arc<Store>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) vm: Vm,
    /// Held for reading around every run of a vCPU.
    pub(crate) gate: RwLock<()>,
    handles: Mutex<Vec<Arc<ThreadHandle>>>,
    pub(crate) exits: ExitCounts,
}

impl Machine {
    pub(crate) fn new(kvm: &Kvm, vcpus: usize) -> Result<Machine, PlatformError> {
        let vm = kvm
            .create_vm()
            .map_err(refused("cannot make a virtual machine"))?;
        let vm = Arc::new(vm);
        let memory = GuestMemory::new()
            .map(Arc::new)
            .map_err(|source| PlatformError::Host {
                what: "reserve guest memory",
                source,
            })?;
        let (cpuid, model) = cpuid::model(kvm)?;
        stub::install(&memory);
        let slots = Slots::new(vm.clone(), memory.clone()).map_err(refused("make memory slots"))?;
        let slots = Arc::new(slots);
        let zero = slots.ensure(frames::ZERO_FRAME);
        zero.map_err(|errno| PlatformError::Host {
            what: "make a memory slot",
            source: std::io::Error::from_raw_os_error(errno.raw()),
        })?;
        Ok(Machine {
            pool: Pool::new(kvm.get_max_vcpus().min(vcpus)),
            frames: Frames::new(),
            windows: Arc::new(Windows::new(memory.clone(), slots.clone())),
            tables: Arc::new(Store::new(memory.clone())),
            slots,
            vm: Vm {
                fd: vm,
                memory,
                cpuid,
                model,
            },
            gate: RwLock::new(()),
            handles: Mutex::default(),
            exits: ExitCounts::default(),
        })
    }

    /// Makes a context visible to whoever must stop all.
    pub(crate) fn enter(&self, handle: &Arc<ThreadHandle>) {
        self.handles.lock().push(handle.clone());
    }

    /// Undoes [`enter`](Machine::enter).
    pub(crate) fn leave(&self, handle: &Arc<ThreadHandle>) {
        let mut handles = self.handles.lock();
        if let Some(at) = handles.iter().position(|other| Arc::ptr_eq(handle, other)) {
            handles.swap_remove(at);
        }
    }

    /// Drops every translation to these pages, and the frames that nobody has any more. `owned` are references that
    /// an address space gave up, `borrowed` other pages.
    pub(crate) fn forget(&self, owned: &[u64], borrowed: &[u64]) {
        if owned.is_empty() && borrowed.is_empty() {
            return;
        }
        let mut gone = self.frames.release(owned);
        let mut kept: Vec<u64> = borrowed.to_vec();
        if gone.len() < owned.len() {
            let freed: std::collections::HashSet<u64> = gone.iter().copied().collect();
            kept.extend(owned.iter().filter(|page| !freed.contains(page)));
        }
        for run in frames::runs(&mut kept) {
            self.vm.memory.zap(run.start, run.end - run.start);
        }
        let mut clean = Vec::with_capacity(gone.len());
        for run in frames::runs(&mut gone) {
            match self.vm.memory.free_frames(run.start, run.end - run.start) {
                Ok(()) => clean.extend(run.step_by(PAGE as usize)),
                // They are nobody's from now on.
                Err(error) => {
                    tracing::warn!(%error, "frames could not be given back");
                    self.vm.memory.zap(run.start, run.end - run.start);
                }
            }
        }
        self.frames.reuse(&clean);
    }

    /// So many frames of zeros that nobody has touched, or as many as there are.
    pub(crate) fn take_frames(&self, wanted: u64) -> Vec<u64> {
        let mut frames = self.frames.take(wanted);
        let usable = frames
            .iter()
            .position(|frame| self.slots.ensure(*frame).is_err())
            .unwrap_or(frames.len());
        self.give_back(&frames.split_off(usable));
        frames
    }

    /// One of them.
    pub(crate) fn take_frame(&self) -> Option<u64> {
        self.take_frames(1).pop()
    }

    /// Takes frames back that nobody else has seen.
    pub(crate) fn give_back(&self, frames: &[u64]) {
        self.forget(frames, &[]);
    }

    /// Makes page tables of the dead usable again when there are many.
    pub(crate) fn clean_up(&self) {
        if self.tables.dead() < MAX_DEAD_TABLES {
            return;
        }
        // Whoever runs leaves the gate when kicked, and waits at it until we are done. One that entered after
        // its kick is kicked again.
        let _all = loop {
            for handle in self.handles.lock().iter() {
                handle.kick();
            }
            if let Some(all) = self.gate.try_write_for(PATIENCE) {
                break all;
            }
        };
        if let Err(error) = self.tables.revive(|| self.slots.forget_tables()) {
            tracing::warn!(%error, "page tables could not be taken back");
        }
    }
}
