//! `start`: how long a program takes from its start to its end.

use std::fmt;
use std::io;
use std::process::{Command, Stdio};
use std::time::Instant;

use edge_cli::{Failure, PlatformArg, Table};
use serde::Serialize;

use crate::kit::Kit;
use crate::machine::Machine;
use crate::summary::{Summary, rounded};
use crate::{Progress, Report, failed};

/// Name for programs, words for people, command.
pub(crate) const PROGRAMS: [(&str, &str, &[&str]); 4] = [
    (
        "python",
        "python3 -c pass",
        &["/usr/bin/python3", "-c", "pass"],
    ),
    (
        "python_imports",
        "python3 with json, logging, http.server",
        &[
            "/usr/bin/python3",
            "-c",
            "import json, logging, http.server",
        ],
    ),
    ("node", "node hello.js", &["/usr/bin/node", "@hello.js"]),
    ("static", "a static Rust program", &["@guest", "hello"]),
];

#[derive(Serialize)]
pub(crate) struct Figures {
    programs: Vec<Row>,
    /// Programs that this machine does not have.
    missing: Vec<&'static str>,
}

/// One program, in milliseconds from spawn to exit; in the sandbox with everything that builds and ends one.
#[derive(Serialize)]
struct Row {
    program: &'static str,
    native_ms: Summary,
    sandbox_ms: Summary,
    /// Median over median.
    ratio: f64,
}

/// Starts each program `rounds` times natively and in a sandbox, in turns.
pub(crate) fn run(
    rounds: u32,
    platform: PlatformArg,
    progress: &Progress,
) -> Result<Report<Figures>, Failure> {
    let kit = Kit::unpack(platform).map_err(|error| failed(&error))?;
    std::fs::write(kit.path().join("hello.js"), "console.log('hello')\n")
        .map_err(|error| failed(&error))?;
    let (mut programs, mut missing) = (Vec::new(), Vec::new());
    for (name, words, line) in PROGRAMS {
        if line[0].starts_with('/') && !std::path::Path::new(line[0]).exists() {
            progress.say(format_args!("{words}: not on this machine"));
            missing.push(name);
            continue;
        }
        progress.say(format_args!("{words}: {rounds} rounds"));
        programs.push(measure(name, line, rounds, &kit).map_err(|error| failed(&error))?);
    }
    Ok(Report {
        bench: "start",
        machine: Machine::here(),
        rounds,
        figures: Figures { programs, missing },
    })
}

fn measure(program: &'static str, line: &[&str], rounds: u32, kit: &Kit) -> io::Result<Row> {
    let (mut native, mut sandbox) = kit.commands(line);
    let (mut native_ms, mut sandbox_ms) = (Vec::new(), Vec::new());
    // The first one warms the page cache and is not counted.
    for round in 0..=rounds {
        let (n, s) = (time(&mut native)?, time(&mut sandbox)?);
        if round > 0 {
            native_ms.push(n);
            sandbox_ms.push(s);
        }
    }
    let (native_ms, sandbox_ms) = (Summary::of(native_ms), Summary::of(sandbox_ms));
    Ok(Row {
        program,
        native_ms,
        sandbox_ms,
        ratio: rounded(sandbox_ms.median / native_ms.median),
    })
}

/// Milliseconds from spawn to exit.
fn time(command: &mut Command) -> io::Result<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let started = Instant::now();
    let status = command.status()?;
    let took = started.elapsed();
    if !status.success() {
        return Err(io::Error::other(format!("{command:?} ended with {status}")));
    }
    Ok(took.as_secs_f64() * 1e3)
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&["ms, median (min..max)", "native", "sandbox", "ratio"]);
        for row in &self.programs {
            let words = PROGRAMS.iter().find(|(name, ..)| *name == row.program);
            table.row([
                words.map_or(row.program, |(_, words, _)| words).to_owned(),
                row.native_ms.to_string(),
                row.sandbox_ms.to_string(),
                format!("{:.2}x", row.ratio),
            ]);
        }
        table.fmt(f)
    }
}
