//! The filter against the host: what is outside the list dies, what is inside lives.
#![expect(clippy::print_stdout, reason = "the counts are a result")]

use std::collections::BTreeSet;

use host_sys::trial::{Ending, call_under};
use sandbox_confine::{Check, Guests, allowed, program_for};

const SIGSYS: i32 = 31;

const BOTH: [Guests; 2] = [Guests::Processes, Guests::Machine];

/// `uretprobe` and `uprobe`: Linux lets them pass every filter, and outside the
/// kernel's own trampolines answers them with SIGILL or an error.
const PROBES: [u32; 2] = [335, 336];

/// Highest number in the 64-bit table of Linux 6.18 is 469; what comes later must die as well.
const LAST: u32 = 480;

/// A process id that is not the child's: `OwnPid` calls must die with it.
const NOBODY: u32 = 0x7fff_ffff;

#[test]
fn every_call_outside_the_list_kills_the_process() {
    for guests in BOTH {
        let program = program_for(guests, NOBODY);
        let listed: BTreeSet<u32> = allowed(guests).iter().map(|rule| rule.nr).collect();
        let mut killed = 0;
        for nr in (0..=LAST).filter(|nr| !listed.contains(nr)) {
            let ending = call_under(&program, nr.into(), [0; 6]).unwrap();
            if !PROBES.contains(&nr) {
                assert_eq!(ending, Ending::Killed(SIGSYS), "host call {nr}");
            }
            killed += 1;
        }
        assert_eq!(killed + listed.len(), LAST as usize + 1);
        println!(
            "{} host calls are allowed, each of the other {killed} kills",
            listed.len()
        );
    }
}

#[test]
fn numbers_of_other_tables_kill() {
    for guests in BOTH {
        let program = program_for(guests, NOBODY);
        for nr in [0x4000_0000_i64, 0x4000_0027, -1, 1 << 31] {
            assert_eq!(
                call_under(&program, nr, [0; 6]).unwrap(),
                Ending::Killed(SIGSYS),
                "{nr:#x}"
            );
        }
    }
}

#[test]
fn arguments_outside_the_rules_kill() {
    for guests in BOTH {
        let program = program_for(guests, NOBODY);
        let mut tried = 0;
        for rule in allowed(guests) {
            let mut args = [0; 6];
            match rule.check {
                Check::Any | Check::Refuse(_) => continue,
                Check::OneOf(index, _) => args[usize::from(index)] = 0xdead_beef,
                Check::Without(index, bits) => args[usize::from(index)] = bits.into(),
                Check::With(index, bits) => args[usize::from(index)] = u64::from(bits & (bits - 1)),
                Check::OwnPid(index) => args[usize::from(index)] = 1,
            }
            let ending = call_under(&program, rule.nr.into(), args).unwrap();
            assert_eq!(ending, Ending::Killed(SIGSYS), "{}", rule.name);
            tried += 1;
        }
        assert!(tried >= 6);
    }
}

#[test]
fn listed_calls_pass_the_filter() {
    for guests in BOTH {
        let program = program_for(guests, NOBODY);
        // With null arguments these fail or do nothing; waiting ones are ended by the trial's alarm.
        let ends_itself = ["rt_sigreturn", "exit", "exit_group", "brk", "munmap"];
        for rule in allowed(guests)
            .iter()
            .filter(|rule| !ends_itself.contains(&rule.name))
        {
            let mut args = [u64::MAX; 6];
            match rule.check {
                Check::Any | Check::Refuse(_) => {}
                Check::OneOf(index, values) => args[usize::from(index)] = values[0].value.into(),
                Check::Without(index, _) => args[usize::from(index)] = 0,
                // A thread without a stack would run into its parent; the test above covers the filter.
                Check::With(..) | Check::OwnPid(_) => continue,
            }
            let ending = call_under(&program, rule.nr.into(), args).unwrap();
            assert_ne!(ending, Ending::Killed(SIGSYS), "{}", rule.name);
        }
    }
}

#[test]
fn the_list_has_no_doubles_and_each_row_a_reason() {
    for guests in BOTH {
        let mut seen = BTreeSet::new();
        for rule in allowed(guests) {
            assert!(seen.insert(rule.nr), "{} stands twice", rule.name);
            assert!(rule.reason.len() > 5, "{} has no reason", rule.name);
        }
    }
}
