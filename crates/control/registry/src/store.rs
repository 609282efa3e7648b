//! Where function records are kept: the seam between the registry and a database.

use proto_node::BoxFuture;

use crate::{AliasRecord, FunctionRecord};

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A function of this name is there.
    #[error("the function exists")]
    Exists,
    /// The function is gone or has another revision than expected.
    #[error("the function was changed by someone else")]
    Changed,
    /// Another process works with the same data.
    #[error("another process has the database open")]
    Locked,
    /// The database failed.
    #[error("database failed")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
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

/// Everything that a store holds.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// `$LATEST` of every function.
    pub functions: Vec<FunctionRecord>,
    /// Published versions.
    pub versions: Vec<FunctionRecord>,
    /// Aliases.
    pub aliases: Vec<AliasRecord>,
}

/// Keeps records of functions, versions and aliases. When a method has answered `Ok`, its change
/// survives the death of the process and of the machine; when it has not, nothing of it is there.
pub trait Store: Send + Sync + 'static {
    /// Everything.
    fn load(&self) -> BoxFuture<'_, Result<Stored, StoreError>>;

    /// Adds a function, with a version of it if one is published at once;
    /// [`StoreError::Exists`] if its name is taken.
    fn insert(
        &self,
        latest: FunctionRecord,
        published: Option<FunctionRecord>,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Replaces `$LATEST` of a function whose revision id is `expected`, and adds a version if one
    /// is published with it; else [`StoreError::Changed`].
    fn replace(
        &self,
        latest: FunctionRecord,
        expected: String,
        published: Option<FunctionRecord>,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes a function whose revision id is `expected`, with its versions and aliases; else
    /// [`StoreError::Changed`].
    fn remove(&self, name: String, expected: String) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes a published version; [`StoreError::Changed`] if it is not there.
    fn remove_version(&self, name: String, version: u64) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Adds or replaces an alias.
    fn put_alias(&self, alias: AliasRecord) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes an alias, if it is there.
    fn remove_alias(&self, function: String, name: String)
    -> BoxFuture<'_, Result<(), StoreError>>;
}
