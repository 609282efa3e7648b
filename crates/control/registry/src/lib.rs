//! Functions, their versions, aliases, code and tags: what was acknowledged survives, even `kill -9`.
//!
//! [`Registry`] is the one owner. It keeps every function in memory, so that an invocation reads
//! no database, and writes each change to its [`Store`] before anyone can see it. Code lies in the
//! [`CodeStore`], addressed by its SHA-256.
//!
//! ```text
//!   create / update / delete ──▶ check ──▶ code store (fsync, rename) ──▶ store (fsync) ──▶ memory ──▶ answer
//!   invoke / get / list ───────────────────────────────────────────────────────────────────▶ memory
//! ```
//!
//! A function is `Pending` in the answer to its creation and until its first snapshot is made or given
//! up; one that starts without is `Active` in every later answer. `RevisionId` differs between the two, as at AWS.

#![forbid(unsafe_code)]

mod alias;
mod catalogue;
mod change;
mod code;
mod config;
mod digest;
mod entry;
mod error;
mod function;
mod list;
mod readiness;
mod record;
mod registry;
mod sqlite;
mod store;
mod tags;
mod version;

pub use code::{CodeError, CodeStore, StoredCode};
pub use config::{Config, SnapshotPolicy};
pub use entry::{AliasRecord, Draw};
pub use error::{AliasError, ChangeError, DeleteError, FindError, ListError, OpenError};
pub use function::{Function, Phase, Retired};
pub use proto_archive::UnpackError;
pub use readiness::Readiness;
pub use record::{FunctionRecord, OtherRevision, RECORD_VERSION};
pub use registry::Registry;
pub use sqlite::SqliteStore;
pub use store::{Store, StoreError, Stored};
