//! Why a function cannot be run.

/// Why a function cannot be run on this machine.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// There is no interpreter or bootstrap for the runtime.
    #[error("runtime {runtime} is not available: {reason}")]
    Unavailable {
        /// The function's runtime identifier.
        runtime: String,
        /// What is missing.
        reason: String,
    },
    /// A function that brings its runtime has no `bootstrap` to run: its own fault.
    #[error("couldn't find valid bootstrap(s): {searched}")]
    InvalidEntrypoint {
        /// Where one was looked for.
        searched: String,
    },
}
