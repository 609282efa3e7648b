//! `exits`: how often guests are left, by reason, and what it costs, on each platform.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::process::Stdio;
use std::time::Instant;

use edge_cli::{Failure, PlatformArg, Table};
use serde::Serialize;

use crate::calls::Guest;
use crate::kit::Kit;
use crate::machine::Machine;
use crate::start::PROGRAMS;
use crate::summary::{Summary, rounded};
use crate::{Progress, Report, failed};

/// What is timed: a name, words for people, how many at once.
const COSTS: [(&str, &str, u32); 3] = [
    ("getppid", "system call (getppid)", 500),
    ("touch", "first write to a page far from others", 128),
    ("sweep", "first write to a page beside others", 1024),
];

/// What `rekindle run --verbose` says before the counts.
const TOLD: &str = "rekindle: exits: ";

#[derive(Serialize)]
pub(crate) struct Figures {
    costs: Vec<Cost>,
    programs: Vec<Row>,
    /// Why there are no figures of a platform.
    missing: Vec<String>,
}

/// One exit, in microseconds.
#[derive(Serialize)]
struct Cost {
    exit: &'static str,
    native_us: Summary,
    process_us: Option<Summary>,
    kvm_us: Option<Summary>,
}

/// A program from start to end on one platform.
#[derive(Serialize)]
struct Row {
    program: &'static str,
    platform: &'static str,
    ms: Summary,
    /// Of the last round, by reason: `call`, `fill` (a page made present), `fault` (a signal), `interruption`, `host`.
    exits: BTreeMap<String, u64>,
}

/// Measures both platforms in turns, as far as they are there.
pub(crate) fn run(rounds: u32, progress: &Progress) -> Result<Report<Figures>, Failure> {
    let fail = |error: io::Error| failed(&error);
    let kit = Kit::unpack(PlatformArg::Process).map_err(fail)?;
    std::fs::write(kit.path().join("hello.js"), "console.log('hello')\n").map_err(fail)?;
    let (mut platforms, mut missing) = (Vec::new(), Vec::new());
    for platform in [PlatformArg::Process, PlatformArg::Kvm] {
        match count(&kit, platform, &["@guest", "hello"]) {
            Ok(_) => platforms.push(platform),
            Err(error) => missing.push(format!("{}: {error}", platform.name())),
        }
    }
    progress.say(format_args!("costs: {rounds} rounds"));
    let costs = costs(&kit, &platforms, rounds).map_err(fail)?;
    let mut programs = Vec::new();
    for (program, words, line) in PROGRAMS {
        if line[0].starts_with('/') && !std::path::Path::new(line[0]).exists() {
            missing.push(format!("{words}: not on this machine"));
            continue;
        }
        progress.say(format_args!("{words}: {rounds} rounds"));
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); platforms.len()];
        let mut exits = vec![BTreeMap::new(); platforms.len()];
        // The first one warms the page cache and is not counted.
        for round in 0..=rounds {
            for (at, platform) in platforms.iter().enumerate() {
                let (ms, counted) = count(&kit, *platform, line).map_err(fail)?;
                exits[at] = counted;
                if round > 0 {
                    times[at].push(ms);
                }
            }
        }
        for ((platform, times), exits) in platforms.iter().zip(times).zip(exits) {
            programs.push(Row {
                program,
                platform: platform.name(),
                ms: Summary::of(times),
                exits,
            });
        }
    }
    Ok(Report {
        bench: "exits",
        machine: Machine::here(),
        rounds,
        figures: Figures {
            costs,
            programs,
            missing,
        },
    })
}

/// Milliseconds of a program in a sandbox, and how often it was left.
fn count(
    kit: &Kit,
    platform: PlatformArg,
    line: &[&str],
) -> io::Result<(f64, BTreeMap<String, u64>)> {
    let (_, mut sandbox) = kit.commands_with(platform, &["--verbose"], line);
    let started = Instant::now();
    let output = sandbox.stdin(Stdio::null()).output()?;
    let took = started.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(io::Error::other(said.trim().to_owned()));
    }
    let told = said.lines().find_map(|line| line.strip_prefix(TOLD));
    let told = told.ok_or_else(|| io::Error::other("the sandbox did not tell its exits"))?;
    Ok((took.as_secs_f64() * 1e3, parse(told)))
}

/// `call 12, fill 3`.
fn parse(told: &str) -> BTreeMap<String, u64> {
    let pairs = told.split(", ").filter_map(|pair| {
        let (reason, count) = pair.split_once(' ')?;
        Some((reason.to_owned(), count.parse().ok()?))
    });
    pairs.collect()
}

fn costs(kit: &Kit, platforms: &[PlatformArg], rounds: u32) -> io::Result<Vec<Cost>> {
    let line = ["@guest", "calls", "@page"];
    let mut guests = vec![("native", Guest::start(kit.commands(&line).0)?)];
    for platform in platforms {
        let (_, sandbox) = kit.commands_with(*platform, &[], &line);
        guests.push((platform.name(), Guest::start(sandbox)?));
    }
    let mut costs = Vec::new();
    for (exit, _, number) in COSTS {
        let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for round in 0..=rounds {
            for (name, guest) in &mut guests {
                let took = guest.some(exit, number)?;
                if round > 0 {
                    times.entry(name).or_default().push(took);
                }
            }
        }
        let mut summary = |name: &str| times.remove(name).map(Summary::of);
        costs.push(Cost {
            exit,
            native_us: summary("native").unwrap_or_else(|| Summary::of(Vec::new())),
            process_us: summary("process"),
            kvm_us: summary("kvm"),
        });
    }
    Ok(costs)
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |one: &Option<Summary>| one.map_or_else(|| "-".to_owned(), |s| s.to_string());
        let mut table = Table::new(&["us, median (min..max)", "native", "process", "kvm"]);
        for (cost, (_, words, _)) in self.costs.iter().zip(COSTS) {
            table.row([
                words.to_owned(),
                cost.native_us.to_string(),
                or_none(&cost.process_us),
                or_none(&cost.kvm_us),
            ]);
        }
        writeln!(f, "{table}\n")?;
        let reasons = ["call", "fill", "fault", "interruption", "host"];
        let mut table = Table::new(&[
            "program",
            "platform",
            "ms, median (min..max)",
            "calls",
            "fills",
            "faults",
            "interruptions",
            "host",
            "kvm's exits, ms",
        ]);
        for row in &self.programs {
            let count = |reason: &str| row.exits.get(reason).copied().unwrap_or(0);
            let mut cells = vec![
                row.program.to_owned(),
                row.platform.to_owned(),
                row.ms.to_string(),
            ];
            cells.extend(reasons.map(|reason| count(reason).to_string()));
            cells.push(
                self.explained(row)
                    .map_or_else(String::new, |ms| ms.to_string()),
            );
            table.row(cells.iter().map(String::as_str));
        }
        write!(f, "{table}")?;
        for missing in &self.missing {
            write!(f, "\nmissing: {missing}")?;
        }
        Ok(())
    }
}

impl Figures {
    /// What the counted exits take at the measured costs; a fill as one far from others.
    fn explained(&self, row: &Row) -> Option<f64> {
        let cost = |exit: &str| {
            let cost = self.costs.iter().find(|cost| cost.exit == exit)?;
            Some(cost.kvm_us?.median)
        };
        if row.platform != "kvm" {
            return None;
        }
        let count = |reason: &str| row.exits.get(reason).copied().unwrap_or(0) as f64;
        let us = count("call") * cost("getppid")? + count("fill") * cost("touch")?;
        Some(rounded(us / 1e3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_by_their_reasons() {
        let counts = parse("call 12, fill 3, host x");
        assert_eq!(counts.get("call"), Some(&12));
        assert_eq!(counts.get("fill"), Some(&3));
        assert_eq!(counts.len(), 2);
    }
}
