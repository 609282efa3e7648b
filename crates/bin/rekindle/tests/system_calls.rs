//! Every system call with arguments that are half sensible, from several processes and threads at once, in a real
//! sandbox: its kernel neither panics nor is killed by its own jail, and the sandbox ends in order.
//!
//! The guest is `fuzz/system_calls/calls.c`. `FUZZ_SEED` and `FUZZ_SECONDS` choose what `make fuzz` runs; the same seed
//! makes the same calls, though threads interleave as they like.

mod place;

use std::process::{Command, Stdio};

use place::{set_up, target};

/// Seconds in all, and what seeds they are divided among.
const SECONDS: u64 = 60;
const SEEDS: std::ops::RangeInclusive<u64> = 1..=6;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn random_calls_harm_nobody() {
    let guests = target().join("fuzz-guests");
    set_up("fuzz/system_calls/build.sh", &[&guests]);
    let seconds = number("FUZZ_SECONDS").unwrap_or(SECONDS);
    let seeds: Vec<u64> = number("FUZZ_SEED").map_or_else(|| SEEDS.collect(), |seed| vec![seed]);
    let each = (seconds / seeds.len() as u64).max(1);
    for seed in seeds {
        let output = Command::new(env!("CARGO_BIN_EXE_rekindle"))
            .args(["run", "--memory", "512M", "--tasks", "128", "--mount"])
            .arg(format!("{}:/guests:ro", guests.display()))
            .args(["--", "/guests/calls", &seed.to_string(), &each.to_string()])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        // Calls may write to the standard streams: only the last line is the program's own.
        let told = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = told.lines().last().unwrap_or_default();
        assert!(
            output.status.code() == Some(0) && last.starts_with(&format!("done seed {seed}: ")),
            "seed {seed}: {:?}\n{errors:.3000}",
            output.status
        );
        let panicked = errors.find("panicked at");
        assert!(
            panicked.is_none(),
            "seed {seed}: {:.3000}",
            &errors[panicked.unwrap_or(0)..]
        );
    }
}
