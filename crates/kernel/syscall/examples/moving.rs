//! Runs a program in a kernel that is captured, ended and replaced by a fresh one at chosen system calls.
//!
//! ```text
//! moving [--every K] [--from N] [--seed S] [--layer DIR]... [--limit SECONDS] [--check] [--report FILE] -- COMMAND ARGS
//! ```
//! Moves at every K-th call from the N-th on; with a seed, at random calls that are K apart on average. Layers are
//! directories of the host laid over the root. Streams output, ends with the program's exit code (128 and the number after
//! a signal, 124 when time is up), and appends what was done to the file.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people and scripts"
)]

#[path = "../tests/guest/chain.rs"]
mod chain;
#[path = "../tests/guest/mod.rs"]
mod guest;
#[path = "../tests/guest/moving.rs"]
mod moving;
#[path = "../tests/guest/watched.rs"]
mod watched;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chain::{Chain, Check};
use kernel_core::task::ExitStatus;
use kernel_files::console::Stream;
use watched::{Chosen, each, seeded};

struct Options {
    every: u64,
    from: u64,
    seed: Option<u64>,
    layers: Vec<PathBuf>,
    limit: Duration,
    check: Check,
    report: Option<PathBuf>,
    command: Vec<String>,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        every: 1,
        from: 1,
        seed: None,
        layers: Vec::new(),
        limit: Duration::from_secs(3600),
        check: Check::Results,
        report: None,
        command: Vec::new(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut text = || args.next().ok_or(format!("{arg} needs a value"));
        let number = |text: String| text.parse().map_err(|_| format!("{text:?} is no number"));
        match arg.as_str() {
            "--every" => options.every = number(text()?)?,
            "--from" => options.from = number(text()?)?,
            "--seed" => options.seed = Some(number(text()?)?),
            "--limit" => options.limit = Duration::from_secs(number(text()?)?),
            "--layer" => options.layers.push(text()?.into()),
            "--report" => options.report = Some(text()?.into()),
            "--check" => options.check = Check::State,
            "--" => {
                options.command = args.collect();
                break;
            }
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    if options.command.is_empty() || options.every == 0 {
        return Err(String::from("a command, and moves at least a call apart"));
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("moving: {error}");
            return ExitCode::from(2);
        }
    };
    let mut input = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut input);
    let chosen: Chosen = match options.seed {
        Some(seed) => seeded(seed, options.every),
        None => each(options.every, options.from),
    };
    let argv: Vec<&str> = options.command.iter().map(String::as_str).collect();
    let chain = Chain::new(chosen, options.layers, options.check);
    let (outcome, report) = chain.live(&argv, &input, options.limit, &mut |stream, bytes| {
        // Nobody may be left to read it; the program goes on as it would natively with its own pipe.
        let _ = match stream {
            Stream::Error => std::io::stderr().write_all(bytes),
            _ => std::io::stdout()
                .write_all(bytes)
                .and_then(|()| std::io::stdout().flush()),
        };
    });
    if let Some(path) = options.report {
        let file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path);
        let name = options.command.join(" ");
        let written = file.and_then(|mut file| writeln!(file, "{name}: {report}"));
        if let Err(error) = written {
            eprintln!("moving: {error}");
        }
    }
    ExitCode::from(match outcome.status {
        Some(ExitStatus::Code(code)) => code,
        Some(ExitStatus::Signal { number, .. }) => number.saturating_add(128),
        None => 124,
    })
}
