//! Benchmarks of this build on this machine, each as ratios of one run.
//!
//! ```text
//!   syscall   one program, three times: native, in a sandbox, under a plain ptrace stub
//!   start     one command, twice: native, in a sandbox
//!   exits     how often guests are left, by reason, and what it costs, on both platforms
//!   invoke    one client, two servers: `rekindle serve` and a bare hyper server
//!   resume    the threads of a frozen instance, until the last runs again: woken at once, one after the other
//!
//!   cold-start     the first answer: restored, without snapshot, a native interpreter, the floor (fork, map, touch)
//!   restore-rate   restores a second and processor, beside the floor
//!   density        memory of one more idle instance, the kernel's own share apart
//!   post-jit       the first call of a clone, beside the first and the hundredth without snapshot
//!   uniqueness     what no two clones may share, and their clocks
//! ```
//! The latter five call functions of `bench/functions` through HTTP and go by what the server says of each answer: where
//! it was not restored they say so instead of giving a figure.
//!
//! What is compared takes turns in short rounds, so that a noisy machine disturbs each alike; medians are shown.
//! Nothing but this program and the `rekindle` beside it is needed: the guest program is inside it, the peers are it started
//! again ([`part`]).
#![forbid(unsafe_code)]

mod args;
mod calls;
mod cold_start;
mod density;
mod exits;
mod invoke;
mod kit;
mod machine;
mod part;
mod peers;
mod post_jit;
mod processes;
mod restore_rate;
mod resume;
mod start;
mod subject;
mod summary;
mod uniqueness;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use edge_cli::server::Server;
use edge_cli::{ExitCode, Failure, Format, PlatformArg};
use serde::Serialize;

pub use args::{BenchArgs, BenchName, BenchPart};
use machine::Machine;
pub use part::part;

/// Runs one benchmark and prints what it found.
///
/// # Errors
/// When a part of it cannot be started or ends too early.
pub fn bench(args: &BenchArgs) -> Result<(), Failure> {
    let progress = Progress {
        started: Instant::now(),
        within: args.within.0,
        format: args.format,
    };
    match args.name {
        BenchName::Syscall => report(
            args,
            calls::run(args.rounds.unwrap_or(200), args.platform, &progress)?,
        ),
        BenchName::Start => report(
            args,
            start::run(args.rounds.unwrap_or(40), args.platform, &progress)?,
        ),
        BenchName::Invoke => report(
            args,
            invoke::run(args.rounds.unwrap_or(60), args.platform, &progress)?,
        ),
        BenchName::Resume => report(
            args,
            resume::run(args.rounds.unwrap_or(20), args.platform, &progress)?,
        ),
        BenchName::ColdStart => report(args, block_on(cold_start::run(args, &progress))?),
        BenchName::RestoreRate => report(args, block_on(restore_rate::run(args, &progress))?),
        BenchName::Density => report(args, block_on(density::run(args, &progress))?),
        BenchName::Exits => report(args, exits::run(args.rounds.unwrap_or(10), &progress)?),
        BenchName::PostJit => report(args, block_on(post_jit::run(args, &progress))?),
        BenchName::Uniqueness => report(args, block_on(uniqueness::run(args, &progress))?),
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?
        .block_on(work)
}

/// Whether the one who asked wants this function measured.
fn wanted(args: &BenchArgs, name: &str) -> bool {
    args.only.is_empty() || args.only.iter().any(|only| only == name)
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

/// The report, and on which platform its sandboxes were.
#[derive(Serialize)]
struct Placed<T> {
    platform: &'static str,
    #[serde(flatten)]
    report: Report<T>,
}

impl<T: fmt::Display> fmt::Display for Placed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "platform {}; {}", self.platform, self.report)
    }
}

fn report<T: Serialize + fmt::Display>(args: &BenchArgs, report: Report<T>) -> Result<(), Failure> {
    let platform = match args.name {
        BenchName::Exits => "process and kvm",
        _ => args.platform.name(),
    };
    args.format
        .print(&Placed { platform, report })
        .map_err(|error| Failure::from_error(ExitCode::Failed, &error))
}

/// The program that is measured: the `rekindle` beside this one.
fn rekindle() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.with_file_name("rekindle")
}

/// A server of the benchmark's own.
fn serve(platform: PlatformArg, arguments: &[&str]) -> io::Result<Server> {
    Server::start(&rekindle(), platform, arguments)
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::from_error(ExitCode::Failed, error)
}

/// Lines for people that say what is going on; programs get none.
struct Progress {
    started: Instant,
    within: Duration,
    format: Format,
}

impl Progress {
    /// Whether nothing new may be begun.
    fn is_over(&self) -> bool {
        self.started.elapsed() >= self.within
    }

    fn say(&self, step: impl fmt::Display) {
        if self.format == Format::Text {
            eprintln!("[{:>6.2} s] {step}", self.started.elapsed().as_secs_f64());
        }
    }
}
