//! Errors as people meet them: what happened, and what to do next.

use std::fmt;

/// Exit codes of the binary, besides those of programs that it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// It failed.
    Failed = 1,
    /// The arguments make no sense (as clap has it).
    Usage = 2,
    /// The function answered with an error.
    Function = 3,
    /// The server could not be reached.
    Unreachable = 4,
    /// This machine cannot run sandboxes.
    Unsupported = 5,
    /// The time limit of `run` passed (as timeout(1)).
    TimedOut = 124,
    /// The sandbox could not be built (as env(1), docker run).
    NoSandbox = 125,
    /// The program cannot be executed.
    NotExecutable = 126,
    /// The program does not exist.
    NotFound = 127,
}

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    code: ExitCode,
    what: String,
    next: Option<String>,
}

impl Failure {
    /// What happened; lower case, without the causes' prefix.
    #[must_use]
    pub fn new(code: ExitCode, what: impl Into<String>) -> Failure {
        Failure {
            code,
            what: what.into(),
            next: None,
        }
    }

    /// The same with the causes of an error appended.
    #[must_use]
    pub fn from_error(code: ExitCode, error: &dyn std::error::Error) -> Failure {
        let mut what = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !what.ends_with(&text) {
                what.push_str(": ");
                what.push_str(&text);
            }
            cause = error.source();
        }
        Failure::new(code, what)
    }

    /// Adds what a person can do about it.
    #[must_use]
    pub fn next(mut self, step: impl Into<String>) -> Failure {
        self.next = Some(step.into());
        self
    }

    /// For `exit(2)`.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.code as u8
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rekindle: {}", self.what)?;
        if let Some(next) = &self.next {
            write!(f, "\n  next: {next}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
