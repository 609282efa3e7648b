//! Why an operation was not done.

use control_registry::FindError;

/// The task that did the work died; what it did is unknown, and the log has the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a task of the service failed")]
pub struct Interrupted;

/// Why something was not changed; `E` is the registry's reason.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged<E> {
    /// The registry refused.
    #[error(transparent)]
    Refused(E),
    /// Nobody knows how far it went.
    #[error(transparent)]
    Interrupted(Interrupted),
}

impl<E> From<Interrupted> for NotChanged<E> {
    fn from(error: Interrupted) -> Self {
        Self::Interrupted(error)
    }
}

/// Why no event can be given to a function.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// There is none of this name.
    #[error(transparent)]
    Unknown(#[from] FindError),
    /// Its version is to start from a snapshot, which is not made yet.
    #[error("the snapshot of this version is not made yet")]
    NotReady,
}

/// Why an event was not run.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The function was there when the event came, and was deleted while it waited.
    #[error(transparent)]
    Gone(#[from] FindError),
    /// The node could not.
    #[error(transparent)]
    Node(#[from] proto_node::InvokeError),
    /// Nobody knows how far it went.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}
