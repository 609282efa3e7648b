//! The one binary: reads arguments, composes the parts, runs them.
#![forbid(unsafe_code)]

mod asked;
mod bench;
mod front;
mod gateway;
mod metrics;
mod node;
mod owned;
mod platform;
mod sandbox;
mod sandbox_log;
mod serve;

use clap::Parser;
use edge_cli::{
    Cli, Command, ExitCode, Failure, demo, doctor, functions, init, key, run, snapshots,
};

fn main() -> std::process::ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code.into(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.code().into()
        }
    }
}

fn dispatch(command: Command) -> Result<u8, Failure> {
    match command {
        // These two start as single threads and must stay so until they say otherwise.
        Command::Run(mut args) => {
            args.platform = platform::resolve(args.platform);
            // Without them it is as slow as the host is busy.
            let _ = host_sys::schedule::ask_for_short_turns();
            return run::run(&args);
        }
        Command::Sandbox(args) => return sandbox::sandbox(&args),
        Command::Doctor(args) => doctor::doctor(&args, &platform::found())?,
        Command::Init(args) => init::init(&args)?,
        Command::Key(args) => key::key(&args)?,
        Command::Snapshot(args) => snapshots::snapshot(&args)?,
        Command::Serve(args) => front::block_on(serve::serve(&args))?,
        Command::Node(args) => front::block_on(node::node(&args))?,
        Command::Gateway(args) => front::block_on(gateway::gateway(&args))?,
        Command::Deploy(args) => block_on(functions::deploy(&args))?,
        Command::Invoke(args) => block_on(functions::invoke(&args))?,
        Command::Logs(args) => block_on(functions::logs(&args))?,
        Command::List(args) => block_on(functions::list(&args))?,
        Command::Delete(args) => block_on(functions::delete(&args))?,
        Command::Demo(mut args) => {
            args.platform = platform::resolve(args.platform);
            block_on(demo::demo(&args))?;
        }
        Command::Bench(args) => return Err(bench::bench(&args)),
    }
    Ok(0)
}

/// A client needs one thread.
fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(ExitCode::Failed, &error))?
        .block_on(work)
}
