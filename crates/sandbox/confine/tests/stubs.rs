//! Stub processes serve a kernel process that is jailed: the doors in their order, then everything a platform does.
#![expect(
    clippy::print_stdout,
    reason = "it speaks the harness's protocol and tells the layers"
)]

use std::os::fd::AsFd;

use host_sys::proc::ProcDir;
use platform_conformance::guest::Guest;
use platform_conformance::{calls, faults, interrupts, memory, registers, spaces, threads};
use platform_process::{Network, ProcessPlatform};
use sandbox_confine::jail::{Guests, Open};

const NAME: &str = "stubs_serve_a_jailed_process";

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let has = |word: &str| args.iter().any(|arg| arg == word);
    if has("--list") {
        if !has("--ignored") {
            println!("{NAME}: test");
        }
        return;
    }
    let mut jail = Open::enter();
    let proc = ProcDir::open().expect("/proc is there");
    jail.restrict_files(&[proc.as_fd()], &[])
        .expect("file restrictions");
    let platform = ProcessPlatform::with_proc(proc, Network::Callers).expect("stubs");
    let layers = jail.seal(Guests::Processes).expect("a jail");
    println!("{layers}");

    calls::many_calls(&platform);
    calls::native_continuation_sets_fs(&platform);
    faults::mapping_resolves_a_fault(&platform);
    faults::fault_then_call(&platform);
    registers::vectors_go_in_and_out(&platform);
    memory::many_files_in_a_batch(&platform);
    memory::compare_exchange_faults(&platform);
    memory::moving(&platform);
    spaces::fork_of_fork(&platform);
    spaces::many_come_and_go(&platform);
    spaces::context_goes_and_space_stays(&platform);
    spaces::space_goes_and_context_is_gone(&platform);
    threads::many(&platform);
    interrupts::busy_loop(&platform);
    interrupts::faults_of_many_threads_arrive(&platform);
    // 0 where the jail hides /proc; asking must not kill.
    println!(
        "resident bytes of a stub: {}",
        Guest::new(&platform).space.resident_bytes()
    );
}
