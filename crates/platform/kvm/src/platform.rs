//! The platform: one virtual machine.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use kvm_ioctls::Kvm;
use platform_api::{
    AddressSpace, Counting, Exit, Expected, Features, Held, Platform, PlatformError,
    ProcessorFeatures,
};

use crate::address_space::GuestSpace;
use crate::cpuid;
use crate::error::refused;
use crate::interrupt;
use crate::layout::{GUEST_END, GUEST_START};
use crate::machine::Machine;

/// Opens `/dev/kvm`, for [`KvmPlatform::with_descriptor`].
///
/// # Errors
/// What open(2) says.
pub fn open() -> std::io::Result<OwnedFd> {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")?;
    Ok(file.into())
}

/// vCPUs of a machine: more threads of one sandbox hardly run at once.
const MAX_VCPUS: usize = 64;

/// vCPUs that are made before anybody wants them, at most: each takes memory of the host, and time of a start.
const AHEAD: usize = 32;

/// Runs guest instructions in a virtual machine; see the crate's description.
pub struct KvmPlatform {
    machine: Arc<Machine>,
    processor: ProcessorFeatures,
}

impl KvmPlatform {
    /// Opens `/dev/kvm` and makes a machine.
    ///
    /// # Errors
    /// When there is no KVM, or it lacks something.
    pub fn new() -> Result<KvmPlatform, PlatformError> {
        let kvm = Kvm::new().map_err(refused("open /dev/kvm"))?;
        KvmPlatform::with(&kvm, MAX_VCPUS)
    }

    /// As [`new`](KvmPlatform::new), with so many vCPUs at most: more contexts than that take turns.
    ///
    /// # Errors
    /// As [`new`](KvmPlatform::new).
    pub fn with_vcpus(most: usize) -> Result<KvmPlatform, PlatformError> {
        let kvm = Kvm::new().map_err(refused("open /dev/kvm"))?;
        KvmPlatform::with(&kvm, most)
    }

    /// As [`new`](KvmPlatform::new), where `/dev/kvm` was opened before and is no longer in sight.
    ///
    /// # Errors
    /// As [`new`](KvmPlatform::new).
    pub fn with_descriptor(kvm: OwnedFd) -> Result<KvmPlatform, PlatformError> {
        // SAFETY: needed because the library takes a bare number; it is an open descriptor that we own and give away.
        let kvm = unsafe { Kvm::from_raw_fd(kvm.into_raw_fd()) };
        KvmPlatform::with(&kvm, MAX_VCPUS)
    }

    fn with(kvm: &Kvm, vcpus: usize) -> Result<KvmPlatform, PlatformError> {
        interrupt::install().map_err(|source| PlatformError::Host {
            what: "install a signal handler",
            source,
        })?;
        let machine = Arc::new(Machine::new(kvm, vcpus)?);
        let processor = machine
            .pool
            .make_first(&machine.vm, |vcpu| Ok(cpuid::found(&vcpu.leaves()?)))?;
        Ok(KvmPlatform { machine, processor })
    }
}

impl Platform for KvmPlatform {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn features(&self) -> Features {
        Features {
            min_address: GUEST_START,
            max_address: GUEST_END,
            xstate_size: self.machine.vm.model.xstate_size,
            xcr0: self.machine.vm.model.xcr0,
            processor: self.processor,
        }
    }

    fn exits(&self) -> [(Exit, u64); Exit::ALL.len()] {
        self.machine.exits.so_far()
    }

    fn held(&self, _: Counting) -> Option<Held> {
        // Guests' tables are memory of this process, and the host's own follow what it maps.
        Some(Held {
            private: self.machine.frames.held_bytes(),
            tables: 0,
        })
    }

    fn prepare(&self, spaces: &[Expected]) {
        let running = spaces
            .iter()
            .fold(0usize, |sum, space| sum.saturating_add(space.running));
        let running = running.min(AHEAD);
        if let Err(error) = self.machine.pool.make_ahead(&self.machine.vm, running) {
            tracing::debug!(%error, "vCPUs were not made ahead");
        }
    }

    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(Arc::new(GuestSpace::new(self.machine.clone())?))
    }
}
