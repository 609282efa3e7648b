//! The allow-list of a kernel process whose guests run in a virtual machine: without what stub processes need, with
//! the machine's requests.

use base_abi::general as nr;

use crate::calls::ALLOWED;
use crate::rule::{Check, Rule};

/// `PAGEMAP_SCAN`, `FIONREAD`, `FIONBIO`, and of KVM (`linux/kvm.h`): `RUN CREATE_VCPU SET_USER_MEMORY_REGION
/// SET_CPUID2 SET_MSRS GET_SREGS SET_SREGS SET_XCRS GET_XSAVE SET_XSAVE CHECK_EXTENSION SET_DEVICE_ATTR` (of vCPUs: there are no other devices). No machine can be made, no device, no interrupt
/// controller, and no device of the host be handed in.
const IOCTLS: &[u32] = &[
    0xae80,
    0xae41,
    0x4020_ae46,
    0x4008_ae90,
    0x4008_ae89,
    0x8138_ae83,
    0x4138_ae84,
    0x4188_aea7,
    0x9000_aea4,
    0x5000_aea5,
    0xae03,
    0x4018_aee1,
    0xc060_6610,
    0x541b,
    0x5421,
];

/// What only stub processes need.
const OF_STUBS: &[u32] = &[
    nr::__NR_process_vm_readv,
    nr::__NR_process_vm_writev,
    nr::__NR_ptrace,
    nr::__NR_wait4,
    nr::__NR_waitid,
    nr::__NR_process_madvise,
    nr::__NR_kill,
    nr::__NR_pidfd_open,
    nr::__NR_pidfd_getfd,
    nr::__NR_pidfd_send_signal,
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
    const REQUESTS: Rule = Rule {
        nr: nr::__NR_ioctl,
        name: "ioctl",
        check: Check::OneOf(1, IOCTLS),
        reason: "running vCPUs, making them and giving the machine memory",
    };
    let mut list = [REQUESTS; LEN];
    let (mut from, mut to) = (0, 0);
    while from < ALLOWED.len() {
        let rule = ALLOWED[from];
        if !is_of_stubs(rule.nr) {
            if rule.nr != nr::__NR_ioctl {
                list[to] = rule;
            }
            to += 1;
        }
        from += 1;
    }
    assert!(to == LEN, "a call of stubs is not on the list");
    list
}

/// As [`ALLOWED`], for guests in a virtual machine.
pub const ALLOWED_WITH_MACHINE: &[Rule] = &list();
