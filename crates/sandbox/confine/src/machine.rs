//! The allow-list of a kernel process whose guests run in a virtual machine: without what stub processes need, with
//! the machine's requests.

use base_abi::general as linux;

use crate::calls::ALLOWED;
use crate::rule::{Check, Rule, Value, by, rule, value};
use crate::values::FCNTLS;

// Requests of ioctl(2) on a machine and its vCPUs (`linux/kvm.h`, type 0xae).
const KVM_RUN: u32 = 0xae80;
const KVM_CREATE_VCPU: u32 = 0xae41;
const KVM_SET_USER_MEMORY_REGION: u32 = 0x4020_ae46;
const KVM_SET_CPUID2: u32 = 0x4008_ae90;
const KVM_SET_MSRS: u32 = 0x4008_ae89;
const KVM_GET_SREGS: u32 = 0x8138_ae83;
const KVM_SET_SREGS: u32 = 0x4138_ae84;
const KVM_SET_XCRS: u32 = 0x4188_aea7;
const KVM_GET_XSAVE: u32 = 0x9000_aea4;
const KVM_SET_XSAVE: u32 = 0x5000_aea5;
/// On vCPUs: there are no other devices.
const KVM_SET_DEVICE_ATTR: u32 = 0x4018_aee1;

/// No machine can be made, no device, no interrupt controller, and no device of the host be handed in.
const IOCTLS: &[Value] = &[
    value(
        KVM_RUN,
        "KVM_RUN",
        by("platform/kvm/src/vcpu.rs", "run", "self.fd.run("),
    ),
    value(
        KVM_CREATE_VCPU,
        "KVM_CREATE_VCPU",
        by("platform/kvm/src/vcpu.rs", "new", ".create_vcpu("),
    ),
    value(
        KVM_SET_USER_MEMORY_REGION,
        "KVM_SET_USER_MEMORY_REGION",
        by(
            "platform/kvm/src/slots.rs",
            "set",
            ".set_user_memory_region(",
        ),
    ),
    value(
        KVM_SET_CPUID2,
        "KVM_SET_CPUID2",
        by("platform/kvm/src/vcpu.rs", "new", ".set_cpuid2("),
    ),
    value(
        KVM_SET_MSRS,
        "KVM_SET_MSRS",
        by(
            "platform/kvm/src/vcpu.rs",
            "set_system_registers",
            ".set_msrs(",
        ),
    ),
    value(
        KVM_GET_SREGS,
        "KVM_GET_SREGS",
        by("platform/kvm/src/vcpu.rs", "run", ".get_sregs("),
    ),
    value(
        KVM_SET_SREGS,
        "KVM_SET_SREGS",
        by("platform/kvm/src/vcpu.rs", "place", ".set_sregs("),
    ),
    value(
        KVM_SET_XCRS,
        "KVM_SET_XCRS",
        by(
            "platform/kvm/src/vcpu.rs",
            "set_system_registers",
            ".set_xcrs(",
        ),
    ),
    value(
        KVM_GET_XSAVE,
        "KVM_GET_XSAVE",
        by("platform/kvm/src/vcpu.rs", "read_xstate", ".get_xsave("),
    ),
    value(
        KVM_SET_XSAVE,
        "KVM_SET_XSAVE",
        by(
            "platform/kvm/src/vcpu.rs",
            "try_write_xstate",
            ".set_xsave(",
        ),
    ),
    value(
        KVM_SET_DEVICE_ATTR,
        "KVM_SET_DEVICE_ATTR",
        by(
            "platform/kvm/src/vcpu.rs",
            "count_as_the_host",
            "SET_DEVICE_ATTRIBUTE",
        ),
    ),
];

/// Those of files in memory, and what a file was opened for: the machine shows files itself.
const FCNTLS_WITH_MACHINE: &[Value] = &[
    FCNTLS[0],
    FCNTLS[1],
    FCNTLS[2],
    value(
        linux::F_GETFL,
        "F_GETFL",
        by("platform/kvm/src/files.rs", "is_writable", "libc::F_GETFL"),
    ),
];

/// What only stub processes need.
const OF_STUBS: &[u32] = &[
    linux::__NR_process_vm_readv,
    linux::__NR_process_vm_writev,
    linux::__NR_ptrace,
    linux::__NR_wait4,
    linux::__NR_waitid,
    linux::__NR_poll,
    linux::__NR_pidfd_open,
    linux::__NR_pidfd_getfd,
    linux::__NR_pidfd_send_signal,
];

const LEN: usize = ALLOWED.len() - OF_STUBS.len();

const fn is_of_stubs(nr: u32) -> bool {
    let mut i = 0;
    while i < OF_STUBS.len() {
        if OF_STUBS[i] == nr {
            return true;
        }
        i += 1;
    }
    false
}

const fn list() -> [Rule; LEN] {
    const REQUESTS: Rule = rule(
        linux::__NR_ioctl,
        "ioctl",
        Check::OneOf(1, IOCTLS),
        "running vCPUs, making them and giving the machine memory",
        by("platform/kvm/src/vcpu.rs", "run", "self.fd.run("),
    );
    const COMMANDS: Rule = rule(
        linux::__NR_fcntl,
        "fcntl",
        Check::OneOf(1, FCNTLS_WITH_MACHINE),
        "seals of memory files, and whether a guest may write a file",
        by("platform/kvm/src/files.rs", "is_writable", "libc::fcntl("),
    );
    let mut list = [REQUESTS; LEN];
    let (mut from, mut to) = (0, 0);
    while from < ALLOWED.len() {
        let rule = ALLOWED[from];
        if !is_of_stubs(rule.nr) {
            list[to] = match rule.nr {
                linux::__NR_ioctl => REQUESTS,
                linux::__NR_fcntl => COMMANDS,
                _ => rule,
            };
            to += 1;
        }
        from += 1;
    }
    assert!(to == LEN, "a call of stubs is not on the list");
    list
}

/// As [`ALLOWED`], for guests in a virtual machine.
pub const ALLOWED_WITH_MACHINE: &[Rule] = &list();
