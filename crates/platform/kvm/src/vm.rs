//! The virtual machine as the host has it: its descriptor, its memory, and what its processors are like.

use std::sync::Arc;

use kvm_bindings::CpuId;
use kvm_ioctls::VmFd;

use crate::cpuid::CpuModel;
use crate::guest_memory::GuestMemory;

/// What vCPUs are made from.
pub(crate) struct Vm {
    pub(crate) fd: Arc<VmFd>,
    pub(crate) memory: Arc<GuestMemory>,
    pub(crate) cpuid: CpuId,
    pub(crate) model: CpuModel,
}
