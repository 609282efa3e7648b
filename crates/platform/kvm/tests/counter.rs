//! The guest's time stamp counter is the host's.

mod made;

use platform_api::{Backing, CpuState, MapOp, Platform, Protection};
use platform_conformance::guest::report;

fn host_counter() -> u64 {
    // SAFETY: needed because the instruction has no other name; every x86-64 processor has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[test]
fn counters_agree_on_kvm() {
    let platform = made::machine();
    if !host_sys::vdso_code::counter_is_steady() {
        // KVM moves a guest's counter then when a vCPU changes processors, and our kernel's clocks do without.
        println!("the host does not trust its counter: no two readings can be compared");
        return;
    }
    let space = platform.new_address_space().expect("an address space");
    let map = MapOp::Map {
        addr: 0x10_0000,
        len: 4096,
        prot: Protection::all(),
        backing: Backing::Anonymous,
    };
    space.apply(&[map]).expect("a mapping");
    // rdtsc; shl rdx, 32; or rax, rdx; mov rdi, rax; mov eax, 4000; syscall
    let code = [
        0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0x48, 0x89, 0xc7, 0xb8, 0xa0, 0x0f,
        0, 0, 0x0f, 0x05,
    ];
    assert_eq!(space.write(0x10_0000, &code), code.len());
    for _ in 0..3 {
        let mut state = CpuState::default();
        state.regs.rip = 0x10_0000;
        let mut context = space.new_context(state).expect("a context");
        let before = host_counter();
        let guest = report(&mut *context);
        let after = host_counter();
        assert!(
            before <= guest && guest <= after,
            "{before} {guest} {after}"
        );
    }
}
