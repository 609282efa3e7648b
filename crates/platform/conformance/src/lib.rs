//! What every platform must do, as tests that each platform runs against itself.
//!
//! A platform's test file says `platform_conformance::suite!(make)` where `make` is a function that returns a new platform;
//! every function of the modules here becomes one test.
//!
//! Guest code is a handful of instructions (see `code`) that the tests copy into guest memory.

pub mod barrage;
pub mod calls;
pub mod code;
pub mod faults;
pub mod guest;
pub mod interrupts;
pub mod memory;
pub mod registers;
pub mod spaces;
pub mod threads;

/// One test for each function of the suite, on a platform that `$make` makes; with `if present` it returns an option,
/// and where the host cannot have the platform the tests do nothing.
#[macro_export]
macro_rules! suite {
    ($make:ident) => {
        $crate::suite!(@module $make, calls:
            number_arguments_and_address, returned_value_arrives, errors_arrive, many_calls, registers_survive_a_call,
            thirty_two_bit_entry_does_not_exist, x32_calls_do_not_exist, vsyscall_page_is_a_call_or_a_fault,
            every_number_is_reported, native_continuation_sets_fs);
        $crate::suite!(@module $make, faults:
            unmapped_read, unmapped_write, write_to_read_only, execution_of_data, beyond_the_file, undefined_instruction,
            privileged_instruction, division_by_zero, breakpoint, single_step, kernel_address, non_canonical_address,
            jump_to_kernel, mapping_resolves_a_fault, fault_then_call);
        $crate::suite!(@module $make, registers:
            first_state, general_registers_are_read_and_written, pending_call_shows_its_return, sigreturn_style_change,
            vectors_go_in_and_out, extended_state_is_preserved, thread_pointer, thread_pointer_by_instruction,
            no_state_leaks_into_a_new_context, hostile_state_is_harmless);
        $crate::suite!(@module $make, memory:
            reads_stop_at_inaccessible, writes_stop_at_read_only, no_access_outside_the_guest, anonymous_is_zero,
            private_file_is_copied_on_write, shared_file_is_coherent, protection_changes, unmapping, discard_zeroes,
            discard_rereads_the_file, moving, growing_and_shrinking, replacing, large_reservation, long_batches,
            many_files_in_a_batch, failed_change_is_named, own_pages_are_refused, compare_exchange, compare_exchange_faults,
            resident_grows, written_pages_are_named, prefault_shares);
        $crate::suite!(@module $make, spaces:
            are_separate, fork_copies, fork_shares_shared_files, fork_of_fork, fork_keeps_files, many_come_and_go,
            context_goes_and_space_stays, space_goes_and_context_is_gone);
        $crate::suite!(@module $make, threads:
            run_in_parallel, add_atomically, many, mapping_is_seen_by_all, end_while_others_run);
        $crate::suite!(@module $make, interrupts:
            busy_loop, before_first_run, between_runs, during_a_pending_call, only_once, guest_goes_on, from_many_threads,
            no_interruption_is_lost, faults_of_many_threads_arrive, each_fault_is_of_its_own_context);
    };
    (@module $make:ident, $module:ident: $($test:ident),+ $(,)?) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    $crate::$module::$test(&super::$make());
                }
            )+
        }
    };
}
