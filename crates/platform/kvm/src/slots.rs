//! Memory slots: which ranges of guest-physical memory the machine has.

use std::sync::Arc;

use base_abi::Errno;
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use parking_lot::Mutex;

use crate::guest_memory::GuestMemory;
use crate::layout::{FRAMES, SLOT_LEN, SYSTEM, SYSTEM_LEN, TABLES, TABLES_LEN};

const SYSTEM_SLOT: u32 = 0;
const TABLE_SLOT: u32 = 1;
const FIRST_LARGE_SLOT: u32 = 2;

/// The slots of a machine. Frames and windows get theirs when they are first needed.
#[derive(Debug)]
pub(crate) struct Slots {
    vm: Arc<VmFd>,
    memory: Arc<GuestMemory>,
    present: Mutex<Vec<bool>>,
}

impl Slots {
    pub(crate) fn new(vm: Arc<VmFd>, memory: Arc<GuestMemory>) -> Result<Slots, kvm_ioctls::Error> {
        let slots = Slots {
            vm,
            memory,
            present: Mutex::default(),
        };
        slots.set(SYSTEM_SLOT, SYSTEM, SYSTEM_LEN)?;
        slots.set(TABLE_SLOT, TABLES, TABLES_LEN)?;
        Ok(slots)
    }

    fn set(&self, slot: u32, gpa: u64, len: u64) -> Result<(), kvm_ioctls::Error> {
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: gpa,
            memory_size: len,
            userspace_addr: self.memory.host(gpa),
        };
        // SAFETY: needed to give the machine its memory; the range is a part of the reservation, which the machine's owner
        // keeps as long as the machine, and slots do not overlap.
        unsafe { self.vm.set_user_memory_region(region) }
    }

    /// Makes the slot around a frame or window.
    pub(crate) fn ensure(&self, gpa: u64) -> Result<(), Errno> {
        let number = ((gpa - FRAMES) / SLOT_LEN) as usize;
        let mut present = self.present.lock();
        if present.get(number) == Some(&true) {
            return Ok(());
        }
        if present.len() <= number {
            present.resize(number + 1, false);
        }
        let start = FRAMES + number as u64 * SLOT_LEN;
        self.set(FIRST_LARGE_SLOT + number as u32, start, SLOT_LEN)
            .map_err(|error| {
                tracing::warn!(%error, "the host refused a memory slot");
                Errno::ENOMEM
            })?;
        if let Some(entry) = present.get_mut(number) {
            *entry = true;
        }
        Ok(())
    }

    /// Takes the page tables away and gives them back, by which the host forgets everything that it knew of them. No vCPU
    /// may run meanwhile.
    pub(crate) fn forget_tables(&self) -> Result<(), kvm_ioctls::Error> {
        self.set(TABLE_SLOT, TABLES, 0)?;
        self.set(TABLE_SLOT, TABLES, TABLES_LEN)
    }
}
