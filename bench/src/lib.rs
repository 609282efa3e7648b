//! Benchmarks of this build on this machine, each as ratios of one run.
//!
//! ```text
//!   syscall   one program, three times: native, in a sandbox, under a plain ptrace stub
//!   start     one command, twice: native, in a sandbox
//!   invoke    one client, two servers: `rekindle serve` and a bare hyper server
//! ```
//!
//! What is compared takes turns in short rounds, so that a noisy machine disturbs each alike; medians are shown.
//! Nothing but the one binary is needed: the guest program is inside it, the peers are the binary started again ([`part`]).
#![forbid(unsafe_code)]

mod calls;
mod invoke;
mod kit;
mod machine;
mod part;
mod peers;
mod start;
mod summary;

use std::fmt;
use std::time::Instant;

use edge_cli::{BenchArgs, BenchName, ExitCode, Failure, Format};
use serde::Serialize;

use machine::Machine;
pub use part::part;

/// Runs one benchmark and prints what it found.
///
/// # Errors
/// When a part of it cannot be started or ends too early.
pub fn bench(args: &BenchArgs) -> Result<(), Failure> {
    let progress = Progress {
        started: Instant::now(),
        format: args.format,
    };
    match args.name {
        BenchName::Syscall => report(args, calls::run(args.rounds.unwrap_or(200), &progress)?),
        BenchName::Start => report(args, start::run(args.rounds.unwrap_or(40), &progress)?),
        BenchName::Invoke => report(args, invoke::run(args.rounds.unwrap_or(60), &progress)?),
    }
}

/// What every benchmark answers.
#[derive(Serialize)]
struct Report<T> {
    bench: &'static str,
    machine: Machine,
    /// Of which the figures are medians, minima and maxima.
    rounds: u32,
    #[serde(flatten)]
    figures: T,
}

impl<T: fmt::Display> fmt::Display for Report<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} rounds\n", self.machine, self.rounds)?;
        self.figures.fmt(f)
    }
}

fn report<T: Serialize + fmt::Display>(args: &BenchArgs, report: Report<T>) -> Result<(), Failure> {
    args.format
        .print(&report)
        .map_err(|error| Failure::from_error(ExitCode::Failed, &error))
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::from_error(ExitCode::Failed, error)
}

/// Lines for people that say what is going on; programs get none.
struct Progress {
    started: Instant,
    format: Format,
}

impl Progress {
    fn say(&self, step: impl fmt::Display) {
        if self.format == Format::Text {
            eprintln!("[{:>6.2} s] {step}", self.started.elapsed().as_secs_f64());
        }
    }
}
