//! The vCPU that a context has between its runs, and what stays of it when others take it.

use std::sync::Arc;

use parking_lot::Mutex;
use platform_api::{CpuState, PlatformError, processor};

use crate::cpuid::CpuModel;
use crate::interrupt::ThreadHandle;
use crate::vcpu::Vcpu;

/// What a vCPU keeps of a context.
pub(crate) struct Rest {
    fs_base: u64,
    gs_base: u64,
    xstate: Vec<u8>,
}

impl Rest {
    pub(crate) fn put_into(self, state: &mut CpuState) {
        state.regs.fs_base = self.fs_base;
        state.regs.gs_base = self.gs_base;
        state.xstate = self.xstate;
    }
}

/// What others see of a context that may hold a vCPU.
pub(crate) struct Holder {
    /// Locked while it runs.
    pub(crate) slot: Mutex<VcpuSlot>,
    pub(crate) handle: Arc<ThreadHandle>,
}

impl Holder {
    /// One without a vCPU.
    pub(crate) fn new(model: &CpuModel, handle: Arc<ThreadHandle>) -> Arc<Holder> {
        Arc::new(Holder {
            slot: Mutex::new(VcpuSlot {
                vcpu: None,
                rest: None,
                xstate_size: model.xstate_size,
                xcr0: model.xcr0,
            }),
            handle,
        })
    }
}

/// A context's vCPU, or what was in it.
pub(crate) struct VcpuSlot {
    pub(crate) vcpu: Option<Vcpu>,
    /// Of the vCPU that was given up.
    pub(crate) rest: Option<Rest>,
    pub(crate) xstate_size: usize,
    xcr0: u64,
}

impl VcpuSlot {
    pub(crate) fn read_rest(&self) -> Result<Option<Rest>, PlatformError> {
        let Some(vcpu) = &self.vcpu else {
            return Ok(None);
        };
        let (fs_base, gs_base, _) = vcpu.bases_and_fault()?;
        let mut xstate = vec![0; self.xstate_size];
        vcpu.read_xstate(&mut xstate)?;
        processor::without_others(&mut xstate, self.xcr0);
        Ok(Some(Rest {
            fs_base,
            gs_base,
            xstate,
        }))
    }

    /// Takes the vCPU from a context that does not run.
    pub(crate) fn give_up(&mut self) -> Result<Option<Vcpu>, PlatformError> {
        if let Some(rest) = self.read_rest()? {
            self.rest = Some(rest);
        }
        Ok(self.vcpu.take())
    }
}
