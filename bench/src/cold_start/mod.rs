//! `cold-start`: the first answer when no instance runs.
//!
//! The server keeps no idle instance, and the function with a snapshot has a new clone for each event, so every
//! event finds none. Between two measurements the server settles.

mod report;
mod rounds;
mod workload;

use edge_cli::{ExitCode, Failure};

use crate::args::BenchArgs;
use crate::kit::Kit;
use crate::machine::Machine;
use crate::subject::NOT_AT_ALL;
use crate::{Progress, Report, failed, wanted};

use report::Figures;
use workload::{Subject, WORKLOADS};

/// How many call at once.
const AT_ONCE: [usize; 3] = [1, 8, 64];

/// Measures every workload.
pub(crate) async fn run(args: &BenchArgs, progress: &Progress) -> Result<Report<Figures>, Failure> {
    let rounds = args.rounds.unwrap_or(40);
    let most = args.instances.unwrap_or(64) as usize;
    let kit = Kit::unpack(args.platform).map_err(|error| failed(&error))?;
    let server = crate::serve(
        args.platform,
        &["--keep-idle", NOT_AT_ALL, "--instances", "200"],
    );
    let server = server.map_err(|error| failed(&error))?;
    let mut workloads = Vec::new();
    let mut missing = Vec::new();
    for workload in WORKLOADS
        .iter()
        .filter(|workload| wanted(args, workload.name))
    {
        if progress.is_over() {
            missing.push(format!("{}: the time was over", workload.name));
            continue;
        }
        progress.say(format_args!("{}: deploying", workload.words));
        let Some(mut subject) = Subject::prepare(workload, args, &server, &kit).await? else {
            missing.push(format!("{}: no interpreter on this machine", workload.name));
            continue;
        };
        let mut rows = Vec::new();
        for at_once in AT_ONCE.into_iter().filter(|at_once| *at_once <= most) {
            if progress.is_over() {
                break;
            }
            progress.say(format_args!("{}: {at_once} at once", workload.words));
            rows.push(subject.measure(at_once, rounds, progress).await?);
        }
        rows.extend(subject.measure_dropped(rounds, progress).await?);
        workloads.push(subject.report(rows));
    }
    if workloads.is_empty() && missing.is_empty() {
        let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
        let text = format!("--only names none of {}", names.join(", "));
        return Err(Failure::new(ExitCode::Usage, text));
    }
    Ok(Report {
        bench: "cold-start",
        machine: Machine::here(),
        rounds,
        figures: Figures { workloads, missing },
    })
}
