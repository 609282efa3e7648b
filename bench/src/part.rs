//! Peers that need a process of their own: this program, started again as `rekindle-bench part …`.

use edge_cli::Failure;

use crate::args::BenchPart;
use crate::{failed, peers, resume};

/// Plays one part of a benchmark until its standard input ends.
///
/// # Errors
/// When the peer cannot do its work.
pub fn part(part: &BenchPart) -> Result<(), Failure> {
    match part {
        BenchPart::Ptrace { kit } => peers::ptrace::run(kit).map_err(|error| failed(&error)),
        BenchPart::Resume {
            kit,
            platform,
            threads,
        } => resume::part::run(kit, *platform, *threads).map_err(|error| failed(&error)),
        BenchPart::Hyper => peers::hyper::run().map_err(|error| failed(&error)),
    }
}
