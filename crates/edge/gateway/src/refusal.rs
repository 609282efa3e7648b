//! Errors of the service in the words of the Lambda API.

use control_service::{AdmitError, Interrupted, InvokeError, NotChanged};
use proto_lambda::{ApiError, ErrorCode};
use proto_node::InvokeError as NodeError;

/// What a request is refused with.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) ApiError);

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<Interrupted> for Refusal {
    fn from(_: Interrupted) -> Self {
        Self(ApiError::service(
            "The request could not be finished; the server's log has the reason.",
        ))
    }
}

impl<E> From<NotChanged<E>> for Refusal
where
    Self: From<E>,
{
    fn from(error: NotChanged<E>) -> Self {
        match error {
            NotChanged::Refused(error) => error.into(),
            NotChanged::Interrupted(error) => error.into(),
        }
    }
}

impl From<AdmitError> for Refusal {
    fn from(error: AdmitError) -> Self {
        match error {
            AdmitError::Unknown(error) => error.into(),
            AdmitError::NotReady => Self(ApiError::new(
                ErrorCode::SNAP_START_NOT_READY,
                "Lambda is initializing your function. \
                 It will be ready to invoke once your function state becomes active.",
            )),
        }
    }
}

impl From<InvokeError> for Refusal {
    fn from(error: InvokeError) -> Self {
        match error {
            InvokeError::Gone(error) => error.into(),
            InvokeError::Interrupted(error) => error.into(),
            InvokeError::Node(error) => Self(node_error(&error)),
        }
    }
}

fn node_error(error: &NodeError) -> ApiError {
    match error {
        NodeError::Throttled(_) => ApiError::throttled("ConcurrentInvocationLimitExceeded"),
        NodeError::RuntimeUnavailable { .. } => {
            ApiError::new(ErrorCode::INVALID_RUNTIME, error.to_string())
        }
        NodeError::PlatformUnavailable { reason } => ApiError::service(format!(
            "The platform of this function is not available here: {reason}. `rekindle doctor` tells what is; \
             REKINDLE_PLATFORM of the function, or --platform of the server, chooses another."
        )),
        NodeError::Sandbox(_)
        | NodeError::CodeMissing
        | NodeError::Event(_)
        | NodeError::NodeLost { .. } => {
            tracing::error!(%error, "an invocation could not be run");
            ApiError::service("The function could not be run; the server's log has the reason.")
        }
        NodeError::ShuttingDown => ApiError::new(
            ErrorCode::SERVICE_UNAVAILABLE,
            "The server is shutting down.",
        ),
    }
}
