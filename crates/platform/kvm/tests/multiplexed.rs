//! More guest threads than vCPUs: they take turns, with their whole state.

mod made;

use made::with_vcpus;
use platform_conformance::guest::{DATA, Guest};
use platform_conformance::{code, interrupts, registers, spaces, threads};

#[test]
fn threads_share_two_vcpus_on_kvm() {
    let platform = with_vcpus(2);
    threads::many(&platform);
    threads::add_atomically(&platform);
    threads::end_while_others_run(&platform);
    interrupts::faults_of_many_threads_arrive(&platform);
    interrupts::each_fault_is_of_its_own_context(&platform);
    spaces::fork_copies(&platform);
}

/// Two that wait for each other in busy loops get on although only one can run.
#[test]
fn threads_share_one_vcpu_on_kvm() {
    let platform = with_vcpus(1);
    threads::run_in_parallel(&platform);
    registers::extended_state_is_preserved(&platform);
    registers::vectors_go_in_and_out(&platform);
    spaces::space_goes_and_context_is_gone(&platform);
}

/// What a context had in its vectors and its thread pointer is there after others had the vCPU.
#[test]
fn state_survives_the_loss_of_the_vcpu_on_kvm() {
    let platform = with_vcpus(1);
    let guest = Guest::new(&platform);
    let pattern: Vec<u8> = (0..32).collect();
    assert_eq!(guest.space.write(DATA, &pattern), 32);
    let mut first = guest.context(code::vectors_through(), |r| {
        (r.rdi, r.fs_base) = (DATA, DATA + 8)
    });
    platform_conformance::guest::syscall(&mut *first);
    // Takes the only vCPU, and clobbers vectors in it.
    let other = Guest::new(&platform);
    assert_eq!(other.space.write(DATA, &[9; 32]), 32);
    let mut second = other.context(code::vectors_through(), |r| r.rdi = DATA);
    platform_conformance::guest::syscall(&mut *second);
    platform_conformance::guest::report(&mut *first);
    assert_eq!(guest.bytes(DATA + 64, 32), pattern);
    assert_eq!(first.state().expect("it lives").regs.fs_base, DATA + 8);
}
