//! One virtual processor, set up for ring 3 and the stub.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_device_attr, kvm_dtable, kvm_msr_entry, kvm_regs,
    kvm_segment, kvm_xsave,
};
use kvm_ioctls::{SyncReg, VcpuExit, VcpuFd};
use platform_api::{PlatformError, Registers};

use crate::error::refused;
use crate::faults;
use crate::guest_memory::GuestMemory;
use crate::interrupt::Armed;
use crate::layout::{IDT, PAGE};
use crate::stub::{self, KERNEL_CODE, KERNEL_DATA, TASK, USER_CODE};
use crate::vm::Vm;

const MSR_STAR: u32 = 0xc000_0081;
const MSR_LSTAR: u32 = 0xc000_0082;
const MSR_SYSCALL_MASK: u32 = 0xc000_0084;
/// Everything that can be masked: with trap, alignment and direction flags the stub begins clean.
const SYSCALL_MASK: u64 = 0x0025_7fd5;

const EFER: u64 = 1 | 1 << 8 | 1 << 10 | 1 << 11;
/// PE MP ET NE WP AM PG.
const CR0: u64 = 1 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 18 | 1 << 31;
/// PAE OSFXSR OSXMMEXCPT OSXSAVE.
const CR4: u64 = 1 << 5 | 1 << 9 | 1 << 10 | 1 << 18;
const CR4_UMIP: u64 = 1 << 11;
const CR4_FSGSBASE: u64 = 1 << 16;
const CR4_SMEP: u64 = 1 << 20;
const CR4_SMAP: u64 = 1 << 21;

/// `KVM_SET_DEVICE_ATTR`, and of its attributes `KVM_VCPU_TSC_CTRL`, `KVM_VCPU_TSC_OFFSET` (since Linux 5.16).
const SET_DEVICE_ATTRIBUTE: u64 = 0x4018_aee1;
const TSC_CONTROL: u32 = 0;
const TSC_OFFSET: u64 = 0;

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// In the stub.
    Halted,
    /// By a signal.
    Kicked,
    /// The host has no page there: guest-physical address, `None` when it does not say.
    NoPage(Option<u64>),
    /// Anything else: the number of the exit reason, or minus an error number.
    Broken(i64),
}

/// A virtual processor.
#[derive(Debug)]
pub(crate) struct Vcpu {
    fd: VcpuFd,
    memory: Arc<GuestMemory>,
    page: u64,
    /// The last run ended in ring 3.
    in_guest: bool,
    /// The thread that ran it last: moving to another costs older hosts a grace period.
    pub(crate) thread: host_sys::process::Pid,
}

fn segment(selector: u16, kind: u8, long: u8) -> kvm_segment {
    let dpl = (selector & 3) as u8;
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_: kind,
        present: 1,
        dpl,
        db: 1 - long,
        s: 1,
        l: long,
        g: 1,
        avl: 0,
        unusable: 0,
        padding: 0,
    }
}

impl Vcpu {
    /// Makes a vCPU; `number` is not used by another one.
    pub(crate) fn new(vm: &Vm, number: usize) -> Result<Vcpu, PlatformError> {
        let fd = vm
            .fd
            .create_vcpu(number as u64)
            .map_err(refused("make a vCPU"))?;
        let page = stub::vcpu_page(number);
        stub::install_vcpu(&vm.memory, page);
        fd.set_cpuid2(&vm.cpuid)
            .map_err(refused("set processor features"))?;
        let mut vcpu = Vcpu {
            fd,
            memory: vm.memory.clone(),
            page,
            in_guest: false,
            thread: 0,
        };
        vcpu.set_system_registers(vm)?;
        vcpu.count_as_the_host();
        vcpu.fd.set_sync_valid_reg(SyncReg::Register);
        vcpu.fd.set_sync_valid_reg(SyncReg::VcpuEvents);
        Ok(vcpu)
    }

    /// Makes it one that can be used again after [`Exit::Broken`]. What the guest had in it is gone.
    pub(crate) fn renew(&mut self, vm: &Vm) -> Result<(), PlatformError> {
        stub::install_vcpu(&self.memory, self.page);
        self.in_guest = false;
        self.set_system_registers(vm)
    }

    fn set_system_registers(&mut self, vm: &Vm) -> Result<(), PlatformError> {
        let model = &vm.model;
        let mut sregs = self.fd.get_sregs().map_err(refused("read registers"))?;
        sregs.cs = segment(KERNEL_CODE, 0xb, 1);
        let data = segment(KERNEL_DATA, 3, 0);
        sregs.ss = data;
        let none = kvm_segment {
            unusable: 1,
            ..kvm_segment::default()
        };
        (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ldt) = (none, none, none, none, none);
        sregs.tr = kvm_segment {
            base: stub::task_state(self.page),
            limit: u32::from(stub::TASK_STATE_LEN - 1),
            selector: TASK,
            type_: 0xb,
            present: 1,
            ..kvm_segment::default()
        };
        sregs.gdt = kvm_dtable {
            base: stub::descriptors(self.page),
            limit: stub::DESCRIPTORS_LEN - 1,
            ..kvm_dtable::default()
        };
        sregs.idt = kvm_dtable {
            base: stub::address(IDT),
            limit: (PAGE - 1) as u16,
            ..kvm_dtable::default()
        };
        sregs.cr0 = CR0;
        sregs.cr3 = 0;
        sregs.cr4 = CR4;
        for (has, bit) in [
            (model.fsgsbase, CR4_FSGSBASE),
            (model.smep, CR4_SMEP),
            (model.smap, CR4_SMAP),
            (model.umip, CR4_UMIP),
        ] {
            if has {
                sregs.cr4 |= bit;
            }
        }
        sregs.efer = EFER;
        self.fd
            .set_sregs(&sregs)
            .map_err(refused("set registers"))?;
        let mut xcrs = kvm_bindings::kvm_xcrs {
            nr_xcrs: 1,
            ..kvm_bindings::kvm_xcrs::default()
        };
        xcrs.xcrs[0].value = model.xcr0;
        self.fd.set_xcrs(&xcrs).map_err(refused("set XCR0"))?;
        // `sysret` is not used, but the base of its selectors is where Linux has it.
        let star = u64::from(KERNEL_CODE) << 32 | u64::from(USER_CODE - 16) << 48;
        let entries = [
            (MSR_STAR, star),
            (MSR_LSTAR, stub::syscall_entry()),
            (MSR_SYSCALL_MASK, SYSCALL_MASK),
        ]
        .map(|(index, data)| kvm_msr_entry {
            index,
            data,
            ..kvm_msr_entry::default()
        });
        let msrs = Msrs::from_entries(&entries).map_err(|_| PlatformError::Gone)?;
        let set = self
            .fd
            .set_msrs(&msrs)
            .map_err(refused("set the way of system calls"))?;
        if set != entries.len() {
            return Err(PlatformError::Host {
                what: "set the way of system calls",
                source: std::io::ErrorKind::Unsupported.into(),
            });
        }
        Ok(())
    }

    /// Makes the guest's time stamp counter the host's: the kernel's clock page is computed from it.
    fn count_as_the_host(&self) {
        let none = 0u64;
        let attribute = kvm_device_attr {
            group: TSC_CONTROL,
            attr: TSC_OFFSET,
            addr: (&raw const none) as u64,
            ..kvm_device_attr::default()
        };
        // SAFETY: needed because the library has this request for other processors only; the attribute names one
        // word that the host reads, and both outlive the call.
        let done = unsafe {
            libc::ioctl(
                self.fd.as_raw_fd(),
                SET_DEVICE_ATTRIBUTE as _,
                &raw const attribute,
            )
        };
        if done != 0 {
            let error = std::io::Error::last_os_error();
            tracing::debug!(%error, "the guest's time stamp counter cannot be set");
        }
    }

    /// Enters an address space with these segment bases.
    pub(crate) fn place(
        &mut self,
        root: u64,
        fs_base: u64,
        gs_base: u64,
    ) -> Result<(), PlatformError> {
        let mut sregs = self.fd.get_sregs().map_err(refused("read registers"))?;
        sregs.cs = segment(KERNEL_CODE, 0xb, 1);
        sregs.ss = segment(KERNEL_DATA, 3, 0);
        sregs.cr3 = root;
        sregs.fs.base = fs_base;
        sregs.gs.base = gs_base;
        self.fd
            .set_sregs(&sregs)
            .map_err(refused("set registers"))?;
        self.in_guest = false;
        Ok(())
    }

    /// The segment bases, and the address of the last page fault.
    pub(crate) fn bases_and_fault(&self) -> Result<(u64, u64, u64), PlatformError> {
        let sregs = self.fd.get_sregs().map_err(refused("read registers"))?;
        Ok((sregs.fs.base, sregs.gs.base, sregs.cr2))
    }

    /// The leaves that guests get: some hosts add to what they were given.
    pub(crate) fn leaves(&self) -> Result<CpuId, PlatformError> {
        self.fd
            .get_cpuid2(KVM_MAX_CPUID_ENTRIES)
            .map_err(refused("read processor features"))
    }

    /// The extended state, as much as fits.
    pub(crate) fn read_xstate(&self, into: &mut [u8]) -> Result<(), PlatformError> {
        let area = self
            .fd
            .get_xsave()
            .map_err(refused("read the extended state"))?;
        let words = area.region.iter().flat_map(|word| word.to_le_bytes());
        for (to, from) in into.iter_mut().zip(words) {
            *to = from;
        }
        Ok(())
    }

    /// Sets the extended state; one that the processor would refuse becomes the initial one.
    pub(crate) fn write_xstate(
        &mut self,
        from: &[u8],
        initial: &[u8],
    ) -> Result<(), PlatformError> {
        if self.try_write_xstate(from).is_err() {
            self.try_write_xstate(initial)
                .map_err(refused("set the extended state"))?;
        }
        Ok(())
    }

    fn try_write_xstate(&mut self, from: &[u8]) -> Result<(), kvm_ioctls::Error> {
        let mut area = kvm_xsave::default();
        for (word, bytes) in area.region.iter_mut().zip(from.chunks(4)) {
            let mut four = [0; 4];
            for (to, from) in four.iter_mut().zip(bytes) {
                *to = *from;
            }
            *word = u32::from_le_bytes(four);
        }
        // SAFETY: needed because the host may read more than 4096 bytes where a guest was allowed larger features;
        // XCR0 of our guests has none of those, and this process never asks for them.
        unsafe { self.fd.set_xsave(&area) }
    }

    /// The general registers of ring 3 for the next run: by way of the stub, unless it was never left.
    pub(crate) fn load(&mut self, regs: &Registers) {
        stub::put_frame(&self.memory, self.page, regs.rip, regs.rflags, regs.rsp);
        let (rip, rsp, rflags) = if self.in_guest {
            (regs.rip, regs.rsp, regs.rflags)
        } else {
            (stub::return_entry(), stub::frame_address(self.page), 2)
        };
        let next = kvm_regs {
            rax: regs.rax,
            rbx: regs.rbx,
            rcx: regs.rcx,
            rdx: regs.rdx,
            rsi: regs.rsi,
            rdi: regs.rdi,
            rsp,
            rbp: regs.rbp,
            r8: regs.r8,
            r9: regs.r9,
            r10: regs.r10,
            r11: regs.r11,
            r12: regs.r12,
            r13: regs.r13,
            r14: regs.r14,
            r15: regs.r15,
            rip,
            rflags,
        };
        let sync = self.fd.sync_regs_mut();
        sync.regs = next;
        // What was on its way to whoever ran before is not for these registers.
        sync.events = kvm_bindings::kvm_vcpu_events::default();
        self.fd.set_sync_dirty_reg(SyncReg::Register);
        self.fd.set_sync_dirty_reg(SyncReg::VcpuEvents);
    }

    /// The registers as they were when the last run ended.
    pub(crate) fn registers(&self) -> kvm_regs {
        self.fd.sync_regs().regs
    }

    /// Runs until something happens. `look` says whether it should not, after kicks count.
    pub(crate) fn run(&mut self, look: impl FnOnce() -> bool) -> Exit {
        let flag = &raw mut self.fd.get_kvm_run().immediate_exit;
        // SAFETY: needed because the signal handler sets this byte while the host reads it; it is in the shared page of the
        // vCPU, mapped as long as `self.fd` lives, and only ever accessed atomically from here on.
        let flag = unsafe { AtomicU8::from_ptr(flag) };
        let armed = Armed::new(flag);
        if look() {
            drop(armed);
            return Exit::Kicked;
        }
        let exit = match self.fd.run() {
            Ok(VcpuExit::Hlt) => Exit::Halted,
            Ok(VcpuExit::Intr) => Exit::Kicked,
            Ok(VcpuExit::MemoryFault { gpa, .. }) => Exit::NoPage(Some(gpa)),
            Ok(_) => Exit::Broken(i64::from(self.fd.get_kvm_run().exit_reason)),
            Err(error) => match error.errno() {
                libc::EINTR | libc::EAGAIN => Exit::Kicked,
                libc::EFAULT => Exit::NoPage(None),
                errno => Exit::Broken(-i64::from(errno)),
            },
        };
        drop(armed);
        self.in_guest = match exit {
            Exit::Halted => false,
            _ => self
                .fd
                .get_sregs()
                .is_ok_and(|sregs| sregs.cs.selector & 3 == 3),
        };
        exit
    }

    /// The exception that the host had for the guest when a kick ended the run, so that it was not delivered. Hosts name an `int3`
    /// without saying whether it still is to come; as [`Vcpu::load`] clears the name, it is, as long as the
    /// run did not end in the stub.
    pub(crate) fn on_its_way(&self) -> Option<u8> {
        let exception = self.fd.sync_regs().events.exception;
        let waits = exception.injected != 0 || exception.pending != 0;
        (waits || exception.nr == faults::BREAKPOINT).then_some(exception.nr)
    }

    /// Whether the last run ended in ring 3.
    pub(crate) fn is_in_guest(&self) -> bool {
        self.in_guest
    }

    /// The exception frame at which it stopped.
    pub(crate) fn exception(&self, vector: u8) -> Option<stub::Frame> {
        stub::exception_frame(&self.memory, self.page, vector)
    }

    /// Puts it into the state in which a host leaves one that broke: the one after power-on.
    #[cfg(test)]
    pub(crate) fn break_down(&mut self) {
        let mut sregs = self.fd.get_sregs().unwrap();
        // Real mode.
        (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) = (0x6000_0010, 0, 0, 0);
        sregs.cs = segment(0xf000, 0xb, 0);
        (sregs.cs.base, sregs.cs.limit, sregs.cs.g, sregs.cs.dpl) = (0xffff_0000, 0xffff, 0, 0);
        self.fd.set_sregs(&sregs).unwrap();
    }

    /// What a machine that broke looks like, for the log.
    pub(crate) fn describe(&self) -> String {
        let regs = self.registers();
        let sregs = self.fd.get_sregs().unwrap_or_default();
        format!(
            "rip {:x} rsp {:x} rflags {:x} cs {:x} cr2 {:x} cr3 {:x}",
            regs.rip, regs.rsp, regs.rflags, sregs.cs.selector, sregs.cr2, sregs.cr3
        )
    }
}
