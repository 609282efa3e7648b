//! `syscall`: what one system call costs.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use edge_cli::{Failure, PlatformArg, Table};
use serde::Serialize;

use crate::kit::Kit;
use crate::machine::Machine;
use crate::summary::{Summary, rounded};
use crate::{Progress, Report, failed};

/// Name, and the words for people.
const CALLS: [(&str, &str); 3] = [
    ("getppid", "getppid"),
    ("read", "read of 4 KiB"),
    ("futex", "futex wake"),
];

/// Calls in one measured batch.
const BATCH: u32 = 1000;

#[derive(Serialize)]
pub(crate) struct Figures {
    batch: u32,
    calls: Vec<Row>,
}

/// One system call, in microseconds.
#[derive(Serialize)]
struct Row {
    call: &'static str,
    native_us: Summary,
    sandbox_us: Summary,
    ptrace_us: Summary,
    /// Median over median.
    sandbox_over_native_us: f64,
}

/// Runs `rounds` batches of each call on each of the three, in turns.
pub(crate) fn run(
    rounds: u32,
    platform: PlatformArg,
    progress: &Progress,
) -> Result<Report<Figures>, Failure> {
    let kit = Kit::unpack(platform).map_err(|error| failed(&error))?;
    progress.say("starting one guest natively, one in a sandbox, one under ptrace");
    let mut guests = start(&kit).map_err(|error| failed(&error))?;
    let mut rows = Vec::new();
    for (name, words) in CALLS {
        progress.say(format_args!("{words}: {rounds} rounds of {BATCH} calls"));
        rows.push(measure(name, rounds, &mut guests).map_err(|error| failed(&error))?);
    }
    Ok(Report {
        bench: "syscall",
        machine: Machine::here(),
        rounds,
        figures: Figures {
            batch: BATCH,
            calls: rows,
        },
    })
}

fn start(kit: &Kit) -> io::Result<[Guest; 3]> {
    let (native, sandbox) = kit.commands(&["@guest", "calls", "@page"]);
    let mut ptrace = Command::new("/proc/self/exe");
    ptrace.args(["part", "ptrace"]).arg(kit.path());
    Ok([
        Guest::start(native)?,
        Guest::start(sandbox)?,
        Guest::start(ptrace)?,
    ])
}

fn measure(call: &'static str, rounds: u32, guests: &mut [Guest; 3]) -> io::Result<Row> {
    let mut times: [Vec<f64>; 3] = Default::default();
    // The first one warms caches and is not counted.
    for round in 0..=rounds {
        for (guest, times) in guests.iter_mut().zip(&mut times) {
            let took = guest.batch(call)?;
            if round > 0 {
                times.push(took);
            }
        }
    }
    let [native_us, sandbox_us, ptrace_us] = times.map(Summary::of);
    Ok(Row {
        call,
        native_us,
        sandbox_us,
        ptrace_us,
        sandbox_over_native_us: rounded(sandbox_us.median - native_us.median),
    })
}

/// A running guest; ends with this value.
pub(crate) struct Guest {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Guest {
    pub(crate) fn start(mut command: Command) -> io::Result<Guest> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Ok(Guest {
            child,
            to: Some(to),
            from: BufReader::new(from),
        })
    }

    /// Microseconds of one call of [`BATCH`].
    fn batch(&mut self, call: &str) -> io::Result<f64> {
        self.some(call, BATCH)
    }

    /// Microseconds of one of so many.
    pub(crate) fn some(&mut self, call: &str, number: u32) -> io::Result<f64> {
        if let Some(to) = &mut self.to {
            writeln!(to, "{call} {number}")?;
        }
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err(io::Error::other("a guest ended before it was measured"));
        }
        let nanoseconds: f64 = line.trim().parse().map_err(io::Error::other)?;
        Ok(nanoseconds / 1e3 / f64::from(number))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The end of its input ends it, and what runs it with it.
        self.to = None;
        let _ = self.child.wait();
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            "us a call, median (min..max)",
            "native",
            "sandbox",
            "ptrace stub",
            "sandbox over native",
        ]);
        for row in &self.calls {
            let words = CALLS.iter().find(|(name, _)| *name == row.call);
            table.row([
                words.map_or(row.call, |(_, words)| words).to_owned(),
                row.native_us.to_string(),
                row.sandbox_us.to_string(),
                row.ptrace_us.to_string(),
                format!("+{:.2}", row.sandbox_over_native_us),
            ]);
        }
        table.fmt(f)
    }
}
