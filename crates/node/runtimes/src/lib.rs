//! How functions of each runtime are run on this machine.
//!
//! A runtime is a file with the same five parts: which identifiers it runs, its files, its command line, its variables, and
//! how it goes together with snapshots. Another one is another file and a line of [`ALL`]; the identifiers that the API
//! accepts are listed in `proto-lambda`.
#![forbid(unsafe_code)]

mod environment;
mod error;
mod installed;
mod nodejs;
mod provided;
mod python;
mod roots;

pub use environment::{function_environment, late_environment};
pub use error::RuntimeError;
pub use installed::{Runnable, Runtimes, texts};
pub use roots::Roots;

use std::fmt;
use std::path::Path;

use proto_node::FunctionSpec;

/// Every runtime; the first that runs an identifier has it.
static ALL: [&dyn FunctionRuntime; 3] = [&python::Python, &nodejs::NodeJs, &provided::Provided];

/// What is particular to one runtime.
pub trait FunctionRuntime: fmt::Debug + Sync {
    /// Whether it runs functions with this identifier, for example `python3.11`.
    fn runs(&self, identifier: &str) -> bool;

    /// What is found in `/var/runtime`; nothing if functions bring all that they need.
    fn files(&self) -> Option<Files>;

    /// How a function whose code lies in `code` is started from these roots.
    ///
    /// # Errors
    /// When this machine, or the function, lacks what it takes.
    fn command(
        &self,
        function: &FunctionSpec,
        code: &Path,
        roots: &Roots,
    ) -> Result<Command, RuntimeError>;

    /// What it adds to the environment of its functions.
    fn variables(&self, function: &FunctionSpec) -> Variables;

    /// How it goes together with snapshots.
    fn snapshots(&self) -> SnapshotSupport;
}

/// Files of `/var/runtime`.
#[derive(Clone, Copy, Debug)]
pub struct Files {
    /// The directory of the node's own that they are written to.
    pub directory: &'static str,
    /// Names and texts.
    pub files: &'static [(&'static str, &'static str)],
}

/// What is started in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Path of the program in the sandbox, and its arguments.
    pub argv: Vec<String>,
    /// What runs, for `INIT_START`: `python:3.11`.
    pub version: String,
}

/// Variables that depend on the runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// Those that a function may set otherwise.
    pub defaults: Vec<(&'static str, String)>,
    /// `AWS_EXECUTION_ENV`, where it is set.
    pub execution: Option<String>,
}

/// How a runtime goes together with snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotSupport {
    /// When its functions can be captured.
    pub capture: CapturePoints,
    /// When its functions are told their secrets.
    pub secrets: Secrets,
    /// Whether functions can begin in a snapshot of the runtime without a function.
    pub template: Template,
}

/// When functions of a runtime can be captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapturePoints {
    /// Only where it offers itself, as it does in `restore/next`: one that does not must not be captured.
    Offered,
    /// Also when it has asked for its first event, as it may know nothing of snapshots.
    OfferedOrFirstEvent,
}

/// When functions of a runtime are told their secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// In the answer to `restore/next`, after the capture.
    AfterRestore,
    /// In their environment, as they know of no other place: such a function is not captured if it has some.
    FromTheStart,
}

/// Whether functions of a runtime can begin in a snapshot of the runtime without a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// They cannot.
    None,
    /// In one for functions of any memory limit.
    AnyMemory,
    /// In one for functions of the same memory limit, which the interpreter looks at as it starts.
    SameMemory,
}
