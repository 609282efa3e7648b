//! The embedded store: SQLite in WAL mode, synced before it answers.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use parking_lot::Mutex;
use proto_node::BoxFuture;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use crate::{FunctionRecord, Store, StoreError};

/// Version of the tables, in `PRAGMA user_version`.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE function (
        name        TEXT PRIMARY KEY NOT NULL,
        revision_id TEXT NOT NULL,
        record      TEXT NOT NULL  -- JSON, see FunctionRecord
    ) STRICT, WITHOUT ROWID;
";

/// SQLite in one file, held exclusively.
pub struct SqliteStore {
    connection: Arc<Mutex<Connection>>,
}

impl SqliteStore {
    /// Opens or makes the database file. Fails if another process has it open.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // Environment variables of functions are in it: nobody else may read it. SQLite gives its
        // side files the mode of the database. If this fails, opening the database says why.
        let _ = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path);
        let mut connection = Connection::open(path)?;
        // Only one process may have it, so there is nothing to wait for.
        connection.busy_timeout(std::time::Duration::ZERO)?;
        // WAL with synchronous=FULL syncs the log at every commit; the exclusive lock keeps a
        // second server off the same data.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match found {
            0 => {
                transaction.execute_batch(SCHEMA)?;
                transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            }
            SCHEMA_VERSION => {}
            found => {
                return Err(StoreError::Newer {
                    found,
                    known: SCHEMA_VERSION,
                });
            }
        }
        transaction.commit()?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// Runs `work` on a thread that may block.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let connection = Arc::clone(&self.connection);
        Box::pin(
            async move { tokio::task::spawn_blocking(move || work(&mut connection.lock())).await? },
        )
    }
}

impl Store for SqliteStore {
    fn load(&self) -> BoxFuture<'_, Result<Vec<FunctionRecord>, StoreError>> {
        self.run(|connection| {
            let mut statement = connection.prepare("SELECT record FROM function ORDER BY name")?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.map(|row| Ok(serde_json::from_str(&row?)?)).collect()
        })
    }

    fn insert(&self, record: FunctionRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |connection| {
            let json = serde_json::to_string(&record)?;
            let sql = "INSERT INTO function (name, revision_id, record) VALUES (?1, ?2, ?3)";
            match connection.execute(sql, params![record.name, record.revision_id, json]) {
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                    Err(StoreError::Exists)
                }
                other => Ok(other.map(|_| ())?),
            }
        })
    }

    fn replace(
        &self,
        record: FunctionRecord,
        expected: String,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |connection| {
            let json = serde_json::to_string(&record)?;
            let sql = "UPDATE function SET revision_id = ?3, record = ?4 WHERE name = ?1 AND revision_id = ?2";
            let changed = connection.execute(sql, params![record.name, expected, record.revision_id, json])?;
            if changed == 1 { Ok(()) } else { Err(StoreError::Changed) }
        })
    }

    fn remove(&self, name: String, expected: String) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |connection| {
            let sql = "DELETE FROM function WHERE name = ?1 AND revision_id = ?2 RETURNING name";
            let removed: Option<String> = connection
                .query_row(sql, params![name, expected], |row| row.get(0))
                .optional()?;
            removed.map(|_| ()).ok_or(StoreError::Changed)
        })
    }
}
