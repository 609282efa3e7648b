//! The embedded store: SQLite in WAL mode, synced before it answers.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use parking_lot::Mutex;
use proto_node::BoxFuture;
use rusqlite::{Connection, ErrorCode, Transaction, params};
use serde::de::DeserializeOwned;

use crate::{AliasRecord, FunctionRecord, Store, StoreError, store::Stored};

/// Version of the tables, in `PRAGMA user_version`.
const SCHEMA_VERSION: i64 = 2;

/// What leads from one version of the tables to the next: entry `n` makes version `n + 1`.
const STEPS: [&str; SCHEMA_VERSION as usize] = [
    "
    CREATE TABLE function (
        name        TEXT PRIMARY KEY NOT NULL,
        revision_id TEXT NOT NULL,
        record      TEXT NOT NULL  -- JSON, see FunctionRecord
    ) STRICT, WITHOUT ROWID;
    ",
    "
    CREATE TABLE version (
        name    TEXT NOT NULL,
        version INTEGER NOT NULL,
        record  TEXT NOT NULL,     -- JSON, see FunctionRecord
        PRIMARY KEY (name, version)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE alias (
        function TEXT NOT NULL,
        name     TEXT NOT NULL,
        record   TEXT NOT NULL,    -- JSON, see AliasRecord
        PRIMARY KEY (function, name)
    ) STRICT, WITHOUT ROWID;
    ",
];

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
        let done = usize::try_from(found)
            .ok()
            .filter(|done| *done <= STEPS.len());
        let Some(done) = done else {
            return Err(StoreError::Newer {
                found,
                known: SCHEMA_VERSION,
            });
        };
        for step in &STEPS[done..] {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
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

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            _ => Self::Backend(Box::new(error)),
        }
    }
}

/// The records of a query whose only column holds them as JSON.
fn records<T: DeserializeOwned>(connection: &Connection, sql: &str) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|row| Ok(serde_json::from_str(&row?)?)).collect()
}

fn add_version(
    transaction: &Transaction<'_>,
    published: Option<&FunctionRecord>,
) -> Result<(), StoreError> {
    if let Some(record) = published {
        let sql = "INSERT INTO version (name, version, record) VALUES (?1, ?2, ?3)";
        let json = serde_json::to_string(record)?;
        let number = number_of(record.version.unwrap_or_default());
        transaction.execute(sql, params![record.name, number, json])?;
    }
    Ok(())
}

/// SQLite's integers are signed; nobody publishes that many versions.
fn number_of(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

impl Store for SqliteStore {
    fn load(&self) -> BoxFuture<'_, Result<Stored, StoreError>> {
        self.run(|connection| {
            Ok(Stored {
                functions: records(connection, "SELECT record FROM function ORDER BY name")?,
                versions: records(
                    connection,
                    "SELECT record FROM version ORDER BY name, version",
                )?,
                aliases: records(
                    connection,
                    "SELECT record FROM alias ORDER BY function, name",
                )?,
            })
        })
    }

    fn insert(
        &self,
        latest: FunctionRecord,
        published: Option<FunctionRecord>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let json = serde_json::to_string(&latest)?;
            let sql = "INSERT INTO function (name, revision_id, record) VALUES (?1, ?2, ?3)";
            match transaction.execute(sql, params![latest.name, latest.revision_id, json]) {
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                    return Err(StoreError::Exists);
                }
                other => other?,
            };
            add_version(&transaction, published.as_ref())?;
            Ok(transaction.commit()?)
        })
    }

    fn replace(
        &self,
        latest: FunctionRecord,
        expected: String,
        published: Option<FunctionRecord>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let json = serde_json::to_string(&latest)?;
            let sql = "UPDATE function SET revision_id = ?3, record = ?4 WHERE name = ?1 AND revision_id = ?2";
            let changed = transaction.execute(sql, params![latest.name, expected, latest.revision_id, json])?;
            if changed != 1 {
                return Err(StoreError::Changed);
            }
            add_version(&transaction, published.as_ref())?;
            Ok(transaction.commit()?)
        })
    }

    fn remove(&self, name: String, expected: String) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            let sql = "DELETE FROM function WHERE name = ?1 AND revision_id = ?2";
            if transaction.execute(sql, params![name, expected])? != 1 {
                return Err(StoreError::Changed);
            }
            transaction.execute("DELETE FROM version WHERE name = ?1", params![name])?;
            transaction.execute("DELETE FROM alias WHERE function = ?1", params![name])?;
            Ok(transaction.commit()?)
        })
    }

    fn remove_version(&self, name: String, version: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |connection| {
            let sql = "DELETE FROM version WHERE name = ?1 AND version = ?2";
            match connection.execute(sql, params![name, number_of(version)])? {
                1 => Ok(()),
                _ => Err(StoreError::Changed),
            }
        })
    }

    fn put_alias(&self, alias: AliasRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |connection| {
            let json = serde_json::to_string(&alias)?;
            let sql = "INSERT OR REPLACE INTO alias (function, name, record) VALUES (?1, ?2, ?3)";
            connection.execute(sql, params![alias.function, alias.name, json])?;
            Ok(())
        })
    }

    fn remove_alias(
        &self,
        function: String,
        name: String,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |connection| {
            let sql = "DELETE FROM alias WHERE function = ?1 AND name = ?2";
            connection.execute(sql, params![function, name])?;
            Ok(())
        })
    }
}
