//! Where function records are kept: the seam between the registry and a database.

use proto_node::BoxFuture;

use crate::FunctionRecord;

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A function of this name is there.
    #[error("the function exists")]
    Exists,
    /// The function is gone or has another revision than expected.
    #[error("the function was changed by someone else")]
    Changed,
    /// The database failed.
    #[error("database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// A record could not be read or written.
    #[error("record is damaged")]
    Record(#[from] serde_json::Error),
    /// The data was written by a later version of this program.
    #[error("the database has version {found}, this program knows {known}")]
    Newer {
        /// Version in the database.
        found: i64,
        /// Version this program writes.
        known: i64,
    },
    /// The thread that worked on it died.
    #[error("database work was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// Keeps function records. When a method has answered `Ok`, its change survives the death of the
/// process and of the machine.
pub trait Store: Send + Sync + 'static {
    /// Every function.
    fn load(&self) -> BoxFuture<'_, Result<Vec<FunctionRecord>, StoreError>>;

    /// Adds a function; [`StoreError::Exists`] if its name is taken.
    fn insert(&self, record: FunctionRecord) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Replaces a function whose revision id is `expected`; else [`StoreError::Changed`].
    fn replace(
        &self,
        record: FunctionRecord,
        expected: String,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes a function whose revision id is `expected`; else [`StoreError::Changed`].
    fn remove(&self, name: String, expected: String) -> BoxFuture<'_, Result<(), StoreError>>;
}
