//! The seam to whatever makes sandboxes.

use std::io;

use bytes::Bytes;
use proto_node::{BoxFuture, FunctionSpec, StartKind};
use proto_sandbox::{FromSandbox, Message, ToSandbox};

/// Why no sandbox came to be.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// This machine has no interpreter or bootstrap for the runtime.
    #[error("runtime {runtime} is not available: {reason}")]
    RuntimeUnavailable {
        /// The function's runtime identifier.
        runtime: String,
        /// What is missing.
        reason: String,
    },
    /// A `provided` function has no `bootstrap` to run: its own fault.
    #[error("couldn't find valid bootstrap(s): {searched}")]
    InvalidEntrypoint {
        /// Where one was looked for.
        searched: String,
    },
    /// The sandbox process could not be started.
    #[error("the sandbox process could not be started")]
    Spawn(#[source] io::Error),
}

/// Makes sandboxes.
pub trait Launcher: Send + Sync + 'static {
    /// Starts a sandbox for one instance of `function`, whose log stream and hostname
    /// go by `stream`, and sends it `Start`. The messages before `Ready` come later by
    /// [`Link::receive`].
    fn launch<'a>(
        &'a self,
        function: &'a FunctionSpec,
        stream: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LaunchError>>;

    /// Name and version of what runs `function`, for INIT_START (`python:3.11`).
    fn runtime_version(&self, function: &FunctionSpec) -> String;
}

/// A running sandbox. Dropping it kills the sandbox.
pub trait Link: Send {
    /// How this sandbox comes up: from the beginning, or from a snapshot.
    fn start(&self) -> StartKind {
        StartKind::Cold
    }

    /// Sends a message with its payload.
    fn send(&mut self, head: ToSandbox, payload: Bytes) -> BoxFuture<'_, io::Result<()>>;

    /// The next message; `None` when the sandbox is gone. Dropping the future loses nothing.
    fn receive(&mut self) -> BoxFuture<'_, io::Result<Option<Message<FromSandbox>>>>;

    /// Kills the sandbox and waits until nothing of it is left; what it said on its
    /// own standard error, for a person.
    fn kill(self: Box<Self>) -> BoxFuture<'static, String>;
}
