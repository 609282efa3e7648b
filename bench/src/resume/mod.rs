//! `resume`: how long it takes until all threads of a frozen instance run again, woken at once and one after the other.

mod crowd;
mod machine;
pub(crate) mod part;

use std::fmt;
use std::io;
use std::process::Command;

use edge_cli::{Failure, PlatformArg, Table};
use serde::Serialize;

use crate::calls::Guest;
use crate::kit::Kit;
use crate::machine::Machine;
use crate::summary::{Summary, ratio};
use crate::{Progress, Report, failed};

/// Guest threads that are resumed together.
const CROWDS: [u32; 6] = [1, 2, 4, 8, 16, 32];

/// How threads are woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// All at once.
    Parallel,
    /// Each when the one before has run.
    Sequential,
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Threads of the host.
    Floor,
    ThawParallel,
    ThawSequential,
    RestoreParallel,
    RestoreSequential,
}

impl Form {
    const ALL: [Form; 5] = [
        Form::Floor,
        Form::ThawParallel,
        Form::ThawSequential,
        Form::RestoreParallel,
        Form::RestoreSequential,
    ];

    fn word(self) -> &'static str {
        match self {
            Form::Floor => "floor",
            Form::ThawParallel => "thaw-parallel",
            Form::ThawSequential => "thaw-sequential",
            Form::RestoreParallel => "restore-parallel",
            Form::RestoreSequential => "restore-sequential",
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Figures {
    resumed: Vec<Row>,
}

/// Microseconds until the last thread has run.
#[derive(Serialize)]
struct Row {
    threads: u32,
    /// As many sleeping threads of the host, woken in a loop.
    floor_us: Summary,
    /// An instance that was frozen while all its threads computed.
    thaw: Both,
    /// A clone of it in a sandbox that was made ahead, its hot pages in place.
    restore: Both,
}

#[derive(Serialize)]
struct Both {
    parallel_us: Summary,
    sequential_us: Summary,
    /// Median over median.
    sequential_over_parallel: Option<f64>,
}

impl Both {
    fn of(parallel: Vec<f64>, sequential: Vec<f64>) -> Both {
        let (parallel_us, sequential_us) = (Summary::of(parallel), Summary::of(sequential));
        Both {
            parallel_us,
            sequential_us,
            sequential_over_parallel: ratio(Some(sequential_us.median), Some(parallel_us.median)),
        }
    }
}

/// Resumes each crowd `rounds` times in each form, in turns.
pub(crate) fn run(
    rounds: u32,
    platform: PlatformArg,
    progress: &Progress,
) -> Result<Report<Figures>, Failure> {
    let kit = Kit::unpack(platform).map_err(|error| failed(&error))?;
    let mut resumed = Vec::new();
    for threads in CROWDS {
        if progress.is_over() {
            break;
        }
        progress.say(format_args!("{threads} threads: {rounds} rounds"));
        let row = measure(&kit, platform, threads, rounds);
        resumed.push(row.map_err(|error| failed(&error))?);
    }
    Ok(Report {
        bench: "resume",
        machine: Machine::here(),
        rounds,
        figures: Figures { resumed },
    })
}

fn measure(kit: &Kit, platform: PlatformArg, threads: u32, rounds: u32) -> io::Result<Row> {
    let mut part = Command::new("/proc/self/exe");
    part.args(["part", "resume", "--platform", platform.name()])
        .args(["--threads", &threads.to_string()])
        .arg(kit.path());
    let mut part = Guest::start(part)?;
    let mut times: [Vec<f64>; Form::ALL.len()] = Default::default();
    // The first one is not counted: it makes the snapshot, and finds out which pages are hot.
    for round in 0..=rounds {
        for (form, times) in Form::ALL.into_iter().zip(&mut times) {
            let took = part.some(form.word(), 1)?;
            if round > 0 {
                times.push(took);
            }
        }
    }
    let [
        floor,
        thaw_parallel,
        thaw_sequential,
        restore_parallel,
        restore_sequential,
    ] = times;
    Ok(Row {
        threads,
        floor_us: Summary::of(floor),
        thaw: Both::of(thaw_parallel, thaw_sequential),
        restore: Both::of(restore_parallel, restore_sequential),
    })
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            "us to the last thread",
            "threads",
            "at once, median (min..max)",
            "in turn",
            "in turn over at once",
            "host threads",
        ]);
        let of = |row: &Row, what: &str, both: &Both| {
            let over = both.sequential_over_parallel;
            [
                what.to_owned(),
                row.threads.to_string(),
                both.parallel_us.to_string(),
                both.sequential_us.to_string(),
                over.map_or_else(|| "-".to_owned(), |over| format!("{over:.2}x")),
                row.floor_us.to_string(),
            ]
        };
        for row in &self.resumed {
            table.row(of(row, "thaw", &row.thaw));
        }
        for row in &self.resumed {
            table.row(of(row, "restore", &row.restore));
        }
        table.fmt(f)
    }
}
