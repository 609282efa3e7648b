//! `rekindle bench`: becomes `rekindle-bench`, which lies beside this program and is no part of it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use edge_cli::{BenchArgs, ExitCode, Failure};

/// Name of the other program.
const PROGRAM: &str = "rekindle-bench";

/// Returns only if the program cannot be executed; else its exit code is that of this process.
pub(crate) fn bench(args: &BenchArgs) -> Failure {
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => return Failure::from_error(ExitCode::Failed, &error),
    };
    let program = own.with_file_name(PROGRAM);
    let error = Command::new(&program).args(&args.arguments).exec();
    let failure = |code| Failure::new(code, format!("{}: {error}", program.display()));
    match error.kind() {
        io::ErrorKind::NotFound => failure(ExitCode::NotFound).next(
            "benchmarks are a program of their own: build it with `cargo build --release -p bench`, and put it beside this one",
        ),
        _ => failure(ExitCode::NotExecutable),
    }
}
