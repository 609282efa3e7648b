//! `rekindle sandbox`: one sandbox process.

use std::io::Write;

use edge_cli::{ExitCode, Failure, SandboxArgs};
use host_sys::cgroup;
use sandbox_confine::jail::{Guests, Open};
use sandbox_instance::{Diagnostics, child, zygote};

use crate::sandbox_log;

pub(crate) fn sandbox(args: &SandboxArgs) -> Result<u8, Failure> {
    if args.probe {
        return probe();
    }
    sandbox_log::write_down();
    let fail = |error: &dyn std::error::Error| Failure::from_error(ExitCode::NoSandbox, error);
    let Some(number) = args.fd else {
        return Err(Failure::new(ExitCode::Usage, "--fd is missing"));
    };
    let socket = host_sys::descriptor::adopt(number).map_err(|error| fail(&error))?;
    if args.zygote {
        zygote::run(socket).map_err(|error| fail(&error))?;
        return Ok(0);
    }
    let diagnostics = if args.verbose {
        Diagnostics::Verbose
    } else {
        Diagnostics::Silent
    };
    for procs_file in &args.join {
        // The second line of defence: a sandbox without it still keeps its limits itself.
        if let Err(error) = cgroup::join(procs_file) {
            eprintln!(
                "rekindle: control group not joined: {}: {error}",
                procs_file.display()
            );
        }
    }
    child::run(socket, diagnostics).map_err(|error| fail(&error))?;
    Ok(0)
}

/// Enters the jail as a sandbox would and says which layers hold.
fn probe() -> Result<u8, Failure> {
    let fail = |error: &dyn std::error::Error| Failure::from_error(ExitCode::NoSandbox, error);
    let mut jail = Open::enter();
    jail.restrict_files(&[], &[])
        .map_err(|error| fail(&error))?;
    let layers = jail.seal(Guests::Processes).map_err(|error| fail(&error))?;
    let text = serde_json::to_string(&layers.rows()).map_err(|error| fail(&error))?;
    writeln!(std::io::stdout(), "{text}").map_err(|error| fail(&error))?;
    Ok(0)
}
