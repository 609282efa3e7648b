//! Errors of opening the registry, and how inner errors reach an API client.

use proto_lambda::{ApiError, ErrorCode};

use crate::{CodeError, StoreError, UnpackError};

/// Why the registry could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database.
    #[error("the function database cannot be opened")]
    Store(#[from] StoreError),
    /// The code store.
    #[error("the code store cannot be opened")]
    Code(#[from] CodeError),
    /// The thread that opened it died.
    #[error("opening was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            // The registry serialises changes, so these mean that somebody else wrote the database.
            StoreError::Exists | StoreError::Changed => Self::new(
                ErrorCode::RESOURCE_CONFLICT,
                "The function was changed at the same time; try again.",
            ),
            StoreError::Locked
            | StoreError::Backend(_)
            | StoreError::Record(_)
            | StoreError::Newer { .. }
            | StoreError::Interrupted(_) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "function database failed"
                );
                Self::service("The function database failed; the server's log has the reason.")
            }
        }
    }
}

impl From<CodeError> for ApiError {
    fn from(error: CodeError) -> Self {
        match error {
            CodeError::Unpack(UnpackError::Io(_))
            | CodeError::Io { .. }
            | CodeError::Interrupted(_) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "code store failed"
                );
                Self::service("The code could not be stored; the server's log has the reason.")
            }
            CodeError::Unpack(refused) => Self::invalid_parameter(refused.to_string()),
            CodeError::Full => Self::new(
                ErrorCode::CODE_STORAGE_EXCEEDED,
                "Code storage limit exceeded.",
            ),
        }
    }
}
