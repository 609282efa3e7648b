//! Why a sandbox could not be built.

use proto_sandbox::FailureKind;

/// A failure with who is at fault and a text for a person.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct BuildError {
    /// Who is at fault.
    pub kind: FailureKind,
    /// For a person.
    pub message: String,
}

impl BuildError {
    /// The host lacks something.
    pub(crate) fn host(what: &str, error: &dyn std::error::Error) -> BuildError {
        BuildError::with_causes(FailureKind::Host, what, error)
    }

    /// The platform that was asked for is not there.
    pub(crate) fn platform(what: &str, error: &dyn std::error::Error) -> BuildError {
        BuildError::with_causes(FailureKind::Platform, what, error)
    }

    /// The root file system cannot be put together.
    pub(crate) fn rootfs(what: &str, error: &dyn std::error::Error) -> BuildError {
        BuildError::with_causes(FailureKind::RootFs, what, error)
    }

    fn with_causes(kind: FailureKind, what: &str, error: &dyn std::error::Error) -> BuildError {
        let mut message = format!("{what}: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Many errors tell their cause themselves.
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = error.source();
        }
        BuildError { kind, message }
    }
}
