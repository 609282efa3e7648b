//! `provided.*`: a program that the function brings, which speaks the Runtime API itself.

use std::path::Path;

use proto_node::FunctionSpec;

use crate::roots::is_executable;
use crate::{
    CapturePoints, Command, Files, FunctionRuntime, Roots, RuntimeError, Secrets, SnapshotSupport,
    Template, Variables,
};

#[derive(Debug)]
pub(crate) struct Provided;

impl FunctionRuntime for Provided {
    fn runs(&self, identifier: &str) -> bool {
        identifier.starts_with("provided")
    }

    fn files(&self) -> Option<Files> {
        None
    }

    /// A `bootstrap` in the function's code, or in `/opt`.
    fn command(
        &self,
        function: &FunctionSpec,
        code: &Path,
        roots: &Roots,
    ) -> Result<Command, RuntimeError> {
        let own = code.join("bootstrap");
        let program = if is_executable(&own) {
            "/var/task/bootstrap"
        } else if roots.has_program("opt/bootstrap") {
            "/opt/bootstrap"
        } else {
            let searched = "[/var/task/bootstrap /opt/bootstrap]".to_owned();
            return Err(RuntimeError::InvalidEntrypoint { searched });
        };
        Ok(Command {
            argv: vec![program.to_owned()],
            version: function.runtime.replacen('.', ":", 1),
        })
    }

    fn variables(&self, _: &FunctionSpec) -> Variables {
        Variables::default()
    }

    fn snapshots(&self) -> SnapshotSupport {
        SnapshotSupport {
            capture: CapturePoints::OfferedOrFirstEvent,
            secrets: Secrets::FromTheStart,
            template: Template::None,
        }
    }
}
