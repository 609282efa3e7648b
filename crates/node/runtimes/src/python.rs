//! `python3.x`: the machine's CPython with our bootstrap.

use std::path::Path;

use proto_node::FunctionSpec;

use crate::{
    CapturePoints, Command, Files, FunctionRuntime, Roots, RuntimeError, Secrets, SnapshotSupport,
    Template, Variables,
};

#[derive(Debug)]
pub(crate) struct Python;

impl FunctionRuntime for Python {
    fn runs(&self, identifier: &str) -> bool {
        identifier.starts_with("python3")
    }

    fn files(&self) -> Option<Files> {
        Some(Files {
            directory: "python",
            files: &[
                (
                    "bootstrap.py",
                    include_str!("../../../../runtimes/python/bootstrap.py"),
                ),
                (
                    "rekindle_restore.py",
                    include_str!("../../../../runtimes/python/rekindle_restore.py"),
                ),
                (
                    "snapshot_restore_py.py",
                    include_str!("../../../../runtimes/python/snapshot_restore_py.py"),
                ),
                (
                    "rekindle_template.py",
                    include_str!("../../../../runtimes/python/rekindle_template.py"),
                ),
            ],
        })
    }

    fn command(
        &self,
        function: &FunctionSpec,
        _: &Path,
        roots: &Roots,
    ) -> Result<Command, RuntimeError> {
        // The exact version if it is there, else whatever Python 3 there is.
        let (program, file) = roots.interpreter(&function.runtime, &["python3"], function)?;
        let version = match file.strip_prefix("python") {
            Some(version) => format!("python:{version}"),
            None => format!("python:{file}"),
        };
        Ok(Command {
            argv: vec![program, "/var/runtime/bootstrap.py".to_owned()],
            version,
        })
    }

    fn variables(&self, function: &FunctionSpec) -> Variables {
        Variables {
            defaults: vec![("PYTHONPATH", "/var/runtime".to_owned())],
            execution: Some(format!("AWS_Lambda_{}", function.runtime)),
        }
    }

    fn snapshots(&self) -> SnapshotSupport {
        SnapshotSupport {
            capture: CapturePoints::Offered,
            secrets: Secrets::AfterRestore,
            template: Template::AnyMemory,
        }
    }
}
