//! `nodejs*`: the machine's Node.js with our bootstrap.

use std::path::Path;

use proto_node::{FunctionSpec, SnapStart};

use crate::{
    CapturePoints, Command, Files, FunctionRuntime, Roots, RuntimeError, Secrets, SnapshotSupport,
    Template, Variables,
};

#[derive(Debug)]
pub(crate) struct NodeJs;

impl FunctionRuntime for NodeJs {
    fn runs(&self, identifier: &str) -> bool {
        identifier.starts_with("nodejs")
    }

    fn files(&self) -> Option<Files> {
        Some(Files {
            directory: "nodejs",
            files: &[
                (
                    "bootstrap.js",
                    include_str!("../../../../runtimes/nodejs/bootstrap.js"),
                ),
                (
                    "rekindle.js",
                    include_str!("../../../../runtimes/nodejs/rekindle.js"),
                ),
                (
                    "restore.js",
                    include_str!("../../../../runtimes/nodejs/restore.js"),
                ),
                (
                    "template.js",
                    include_str!("../../../../runtimes/nodejs/template.js"),
                ),
                (
                    "openssl.cnf",
                    include_str!("../../../../runtimes/nodejs/openssl.cnf"),
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
        let (program, file) = roots.interpreter("node", &["nodejs"], function)?;
        let mut argv = vec![program];
        if draws_from_processor(function) {
            argv.push("--openssl-config=/var/runtime/openssl.cnf".to_owned());
        }
        argv.push("/var/runtime/bootstrap.js".to_owned());
        Ok(Command {
            argv,
            version: format!("nodejs:{file}"),
        })
    }

    fn variables(&self, function: &FunctionSpec) -> Variables {
        let major = function
            .runtime
            .trim_start_matches("nodejs")
            .trim_end_matches(".x");
        let path = format!(
            "/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime:/var/task"
        );
        Variables {
            defaults: vec![("NODE_PATH", path)],
            execution: Some(format!("AWS_Lambda_{}", function.runtime)),
        }
    }

    fn snapshots(&self) -> SnapshotSupport {
        SnapshotSupport {
            capture: CapturePoints::Offered,
            secrets: Secrets::AfterRestore,
            // V8 sizes its heap at its start by the memory that there is.
            template: Template::SameMemory,
        }
    }
}

/// Whether OpenSSL of a function is to draw its random numbers from the processor, so that no clone has those
/// of another. One with a configuration of its own for OpenSSL keeps it, and is not captured.
fn draws_from_processor(function: &FunctionSpec) -> bool {
    function.snap_start == SnapStart::On
        && !function.environment.contains_key("OPENSSL_CONF")
        && std::arch::is_x86_feature_detected!("rdrand")
}
