//! `rekindle-bench`: what `rekindle bench` executes.
#![forbid(unsafe_code)]

use std::ffi::OsString;

use bench::{BenchArgs, BenchPart};
use clap::Parser;
use edge_cli::Failure;

fn main() -> std::process::ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let done = match arguments.get(1) {
        Some(first) if first == "part" => {
            arguments.remove(1);
            bench::part(&BenchPart::parse_from(arguments))
        }
        _ => measure(BenchArgs::parse_from(arguments)),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.code().into()
        }
    }
}

fn measure(mut args: BenchArgs) -> Result<(), Failure> {
    args.platform = args.platform.resolve(platform_kvm::exit_cost);
    bench::bench(&args)
}
