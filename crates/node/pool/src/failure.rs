//! Why an instance is no good any more, and what its event is told.

use bytes::Bytes;
use proto_node::{FaultKind, FunctionFault, InvokeError, InvokeResult, StartKind};
use proto_sandbox::{ExitReason, FailureKind, FromSandbox, GuestExit};
use serde_json::json;

use crate::exit;
use crate::launch::LaunchError;
use crate::report::Status;

/// The end of an instance, or of the attempt to make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The runtime told of an init error, with this type and body.
    Reported(Option<String>, Bytes),
    /// Its process ended by itself.
    Exited(GuestExit),
    /// Its process was killed at the memory limit.
    OutOfMemory,
    /// The function has no program to run.
    Entrypoint(String),
    /// This machine cannot run the runtime: which, why.
    Unavailable(String, String),
    /// The platform that the function or the server asks for is not there.
    NoPlatform(String),
    /// The sandbox broke.
    Platform(String),
    /// The sandbox ended without a word.
    Vanished,
}

impl Failure {
    /// The failure that a last message of a sandbox tells, if it is one.
    pub(crate) fn told_by(head: &FromSandbox, payload: &Bytes) -> Option<Self> {
        Some(match head {
            FromSandbox::InitError { error_type } | FromSandbox::RestoreError { error_type } => {
                Self::Reported(error_type.clone(), payload.clone())
            }
            FromSandbox::Exited {
                reason: ExitReason::OutOfMemory,
                ..
            } => Self::OutOfMemory,
            FromSandbox::Exited { status, .. } => Self::Exited(*status),
            FromSandbox::Failed {
                kind: FailureKind::Program,
                message,
            } => Self::Entrypoint(message.clone()),
            FromSandbox::Failed {
                kind: FailureKind::Platform,
                message,
            } => Self::NoPlatform(message.clone()),
            FromSandbox::Failed { message, .. } => Self::Platform(message.clone()),
            FromSandbox::Refused { reason, .. } => Self::Platform(reason.clone()),
            _ => return None,
        })
    }

    /// Whether the function's own code failed, which may do better at another try.
    pub(crate) fn of_function(&self) -> bool {
        matches!(
            self,
            Self::Reported(..) | Self::Exited(_) | Self::OutOfMemory
        )
    }

    /// Whether the runtime itself said what was wrong with the function.
    pub(crate) fn is_told_by_function(&self) -> bool {
        matches!(self, Self::Reported(..))
    }

    /// Whether a sandbox that failed so before its first event is followed by another: the platform is
    /// to blame, or the snapshot can be.
    pub(crate) fn is_worth_another(&self, start: StartKind) -> bool {
        match self {
            Self::Platform(_) | Self::Vanished => true,
            Self::Exited(_) | Self::OutOfMemory => start == StartKind::Restored,
            // The function has spoken, or there is nothing to run it: a snapshot is not to blame for that.
            Self::Reported(..)
            | Self::Entrypoint(_)
            | Self::Unavailable(..)
            | Self::NoPlatform(_) => false,
        }
    }

    /// What the caller of the event gets.
    pub(crate) fn result(self, request_id: &str) -> Result<InvokeResult, InvokeError> {
        Ok(InvokeResult::Fault(match self {
            Self::Reported(_, body) => FunctionFault::reported(body),
            Self::Exited(status) => {
                FunctionFault::exited(request_id, exit::reason(status).as_deref())
            }
            Self::OutOfMemory => FunctionFault::out_of_memory(request_id),
            Self::Entrypoint(message) => invalid_entrypoint(request_id, &message),
            Self::Unavailable(runtime, reason) => {
                return Err(InvokeError::RuntimeUnavailable { runtime, reason });
            }
            Self::NoPlatform(reason) => return Err(InvokeError::PlatformUnavailable { reason }),
            Self::Platform(message) => return Err(InvokeError::Sandbox(message)),
            Self::Vanished => {
                return Err(InvokeError::Sandbox(
                    "the sandbox ended without a word".to_owned(),
                ));
            }
        }))
    }

    /// The error type for REPORT and INIT_REPORT.
    pub(crate) fn status(&self) -> Status {
        Status::Error(match self {
            Self::Reported(Some(error_type), _) => error_type.clone(),
            Self::Reported(None, _) => "Runtime.Unknown".to_owned(),
            Self::Exited(_) => "Runtime.ExitError".to_owned(),
            Self::OutOfMemory => "Runtime.OutOfMemory".to_owned(),
            Self::Entrypoint(_) => "Runtime.InvalidEntrypoint".to_owned(),
            Self::Unavailable(..) | Self::NoPlatform(_) | Self::Platform(_) | Self::Vanished => {
                "Sandbox.Failure".to_owned()
            }
        })
    }

    /// What the platform adds to the log of an event during which this happened.
    pub(crate) fn lines(&self, request_id: &str) -> Vec<String> {
        let how = match self {
            Self::Exited(status) => exit::reason(*status),
            Self::OutOfMemory => Some("signal: killed".to_owned()),
            _ => return Vec::new(),
        };
        let told = match how {
            Some(how) => format!("Runtime exited with error: {how}"),
            None => "Runtime exited without providing a reason".to_owned(),
        };
        let Status::Error(error_type) = self.status() else {
            return Vec::new();
        };
        vec![format!("RequestId: {request_id} Error: {told}"), error_type]
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        match error {
            LaunchError::RuntimeUnavailable { runtime, reason } => {
                Self::Unavailable(runtime, reason)
            }
            LaunchError::InvalidEntrypoint { searched } => {
                Self::Entrypoint(format!("Couldn't find valid bootstrap(s): {searched}"))
            }
            LaunchError::Spawn(error) => {
                Self::Platform(format!("the sandbox process could not be started: {error}"))
            }
        }
    }
}

fn invalid_entrypoint(request_id: &str, message: &str) -> FunctionFault {
    let body = json!({
        "errorType": "Runtime.InvalidEntrypoint",
        "errorMessage": format!("RequestId: {request_id} Error: {message}"),
    });
    FunctionFault {
        kind: FaultKind::Exit,
        body: Bytes::from(body.to_string()),
    }
}
