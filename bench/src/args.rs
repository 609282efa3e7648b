//! The arguments of `rekindle-bench`, which are those of `rekindle bench`.

use std::path::PathBuf;

use clap::Parser;
use edge_cli::{Format, PlatformArg, Span};

/// Benchmarks of this build of Rekindle on this machine.
#[derive(Clone, Debug, Parser)]
#[command(name = "rekindle-bench", version)]
pub struct BenchArgs {
    /// What to measure.
    #[arg(value_enum)]
    pub name: BenchName,
    /// Rounds per measurement; more is steadier.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rounds: Option<u32>,
    /// Most instances at once (density), calls at once (cold-start) or clones (uniqueness).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub instances: Option<u32>,
    /// After this time nothing new is begun, and what was found is told.
    #[arg(long, default_value = "15m")]
    pub within: Span,
    /// Packages that some functions import, as bench/setup.sh installs them; done without when missing.
    #[arg(long, default_value = "target/bench-packages")]
    pub packages: PathBuf,
    /// How sandboxes' instructions are run.
    #[arg(long, value_enum, default_value_t, env = "REKINDLE_PLATFORM")]
    pub platform: PlatformArg,
    /// Only these functions, by the names in the report.
    #[arg(long)]
    pub only: Vec<String>,
    /// How to print.
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    pub format: Format,
}

/// The benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BenchName {
    /// One system call: native, in a sandbox, under a plain ptrace stub.
    Syscall,
    /// Python, Node.js and a static program from start to end: native, in a sandbox.
    Start,
    /// How often guests are left, by reason, and what it costs, on each platform.
    Exits,
    /// The threads of a frozen instance until the last runs again, woken at once and in turn.
    Resume,
    /// A warm invocation through HTTP beside a bare HTTP server.
    Invoke,
    /// The first answer when no instance runs: restored, without snapshot, native, the floor.
    ColdStart,
    /// Restores a second and processor, sustained.
    RestoreRate,
    /// Memory of one more idle instance.
    Density,
    /// The first call of a clone beside the first and the hundredth without snapshot.
    PostJit,
    /// What no two clones may share, and their clocks.
    Uniqueness,
}

/// `rekindle-bench part`: peers that need a process of their own; started by a benchmark, not by people.
#[derive(Clone, Debug, Parser)]
#[command(name = "rekindle-bench part")]
pub enum BenchPart {
    /// Trace the guest of a kit.
    Ptrace {
        /// Directory of the kit.
        kit: PathBuf,
    },
    /// Hold guest threads that are frozen and go on.
    Resume {
        /// Directory of the kit.
        kit: PathBuf,
        /// How guests' instructions are run.
        #[arg(long, value_enum)]
        platform: PlatformArg,
        /// How many.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=63))]
        threads: u32,
    },
    /// Serve HTTP.
    Hyper,
}
