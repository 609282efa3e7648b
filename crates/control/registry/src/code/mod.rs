//! The code store: zips and what they unpack to, addressed by SHA-256.
//!
//! ```text
//!   archives/<sha256>.zip     synced, then renamed into place: the truth
//!   unpacked/<sha256>/        made from the archive; `unpacked/<sha256>.boot` holds the boot id
//!   staging/                  work in progress; emptied at start
//! ```
//!
//! Unpacked trees are not synced file by file. A tree made in another boot may have lost bytes to
//! a power failure, so it is made again from its archive; a mere `kill -9` loses nothing.
//!
//! Lock order: `CodeStore::entries` is a leaf; nothing is locked while it is held.

mod tree;
mod unpack;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use proto_lambda::limits;
use sha2::{Digest, Sha256};

pub use unpack::{MAX_ENTRIES, UnpackError};

use crate::digest::hex;

/// Why code could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// The zip is not acceptable.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// A file could not be read or written.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// No room in the account.
    #[error("code storage limit exceeded")]
    Full,
    /// The thread that worked on it died.
    #[error("storing code was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> CodeError + 'a {
    move |source| CodeError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// Code on disk; it stays there while anyone but the store holds this.
#[derive(Debug)]
pub struct StoredCode {
    sha256: String,
    size: u64,
    directory: PathBuf,
    archive: PathBuf,
}

impl StoredCode {
    /// SHA-256 of the zip in hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Bytes of the zip.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The unpacked tree.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The zip as it was uploaded.
    pub fn archive(&self) -> &Path {
        &self.archive
    }
}

/// The code store in one directory. Its methods block.
#[derive(Debug)]
pub struct CodeStore {
    root: PathBuf,
    boot_id: String,
    entries: Mutex<HashMap<String, Arc<StoredCode>>>,
}

impl CodeStore {
    /// Opens or makes the store and throws away work that a dead process left behind.
    pub fn open(root: &Path) -> Result<Self, CodeError> {
        // The guest's path to its code is used after changes of directory.
        fs::create_dir_all(root).map_err(failed("make", root))?;
        let root = root.canonicalize().map_err(failed("resolve", root))?;
        let staging = root.join("staging");
        if staging.exists() {
            fs::remove_dir_all(&staging).map_err(failed("clear", &staging))?;
        }
        for directory in ["archives", "unpacked", "staging"] {
            let path = root.join(directory);
            fs::create_dir_all(&path).map_err(failed("make", &path))?;
        }
        sync_directory(&root)?;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Self {
            root,
            boot_id: boot_id.trim().to_owned(),
            entries: Mutex::default(),
        })
    }

    /// Checks a zip completely and leaves nothing behind.
    pub fn check(&self, zip: &[u8]) -> Result<(), CodeError> {
        let staged = self.staging_path();
        let result = unpack::unpack(zip, &staged);
        let _ = fs::remove_dir_all(&staged);
        Ok(result?)
    }

    /// Stores a zip: unpacked, synced and in place when this returns.
    pub fn put(&self, zip: &[u8]) -> Result<Arc<StoredCode>, CodeError> {
        let sha256 = hex(&Sha256::digest(zip));
        if let Some(known) = self.entries.lock().get(&sha256) {
            return Ok(Arc::clone(known));
        }
        let size = zip.len() as u64;
        let held: u64 = self.entries.lock().values().map(|entry| entry.size).sum();
        if held.saturating_add(size) > limits::TOTAL_CODE_BYTES {
            return Err(CodeError::Full);
        }
        let staged = self.staging_path();
        let staged_zip = staged.with_extension("zip");
        let stored = unpack::unpack(zip, &staged)
            .map_err(CodeError::from)
            .and_then(|()| write_synced(&staged_zip, zip))
            .and_then(|()| self.adopt(sha256, size, &staged, Some(&staged_zip)));
        if stored.is_err() {
            let _ = fs::remove_dir_all(&staged);
            let _ = fs::remove_file(&staged_zip);
        }
        stored
    }

    /// Takes up code that a stored function refers to, unpacking it again where that is needed.
    pub fn restore(&self, sha256: &str, size: u64) -> Result<Arc<StoredCode>, CodeError> {
        if let Some(known) = self.entries.lock().get(sha256) {
            return Ok(Arc::clone(known));
        }
        let entry = self.entry(sha256.to_owned(), size);
        let boot = fs::read_to_string(self.boot_mark(sha256)).unwrap_or_default();
        if entry.directory.is_dir() && boot == self.boot_id && !boot.is_empty() {
            let entry = Arc::new(entry);
            self.entries
                .lock()
                .insert(sha256.to_owned(), Arc::clone(&entry));
            return Ok(entry);
        }
        let zip = fs::read(&entry.archive).map_err(failed("read", &entry.archive))?;
        let staged = self.staging_path();
        unpack::unpack(&zip, &staged)?;
        self.adopt(sha256.to_owned(), size, &staged, None)
    }

    /// An entry for code that is lost: its function is shown, and cannot run.
    pub(crate) fn lost(&self, sha256: &str, size: u64) -> Arc<StoredCode> {
        Arc::new(self.entry(sha256.to_owned(), size))
    }

    /// Removes code that nobody holds any more, and files that belong to none.
    pub fn collect(&self) {
        let trash = self.move_unheld_away();
        for path in trash {
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            if let Err(error) = removed {
                tracing::warn!(path = %path.display(), %error, "old code could not be removed");
            }
        }
    }

    /// Renames what nobody holds into the staging directory: renaming is atomic, so what stays in
    /// place is whole.
    fn move_unheld_away(&self) -> Vec<PathBuf> {
        let mut trash = Vec::new();
        let mut entries = self.entries.lock();
        // While the map is locked nobody can take another reference to an unheld entry.
        entries.retain(|_, entry| Arc::strong_count(entry) > 1);
        for directory in ["archives", "unpacked"] {
            let Ok(listing) = fs::read_dir(self.root.join(directory)) else {
                continue;
            };
            for path in listing.flatten().map(|entry| entry.path()) {
                let name = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .unwrap_or_default();
                if entries.contains_key(name.split('.').next().unwrap_or_default()) {
                    continue;
                }
                let away = self.staging_path();
                match fs::rename(&path, &away) {
                    Ok(()) => trash.push(away),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "old code could not be moved")
                    }
                }
            }
        }
        trash
    }

    /// Moves staged code into place.
    fn adopt(
        &self,
        sha256: String,
        size: u64,
        staged: &Path,
        staged_zip: Option<&Path>,
    ) -> Result<Arc<StoredCode>, CodeError> {
        let entry = Arc::new(self.entry(sha256, size));
        let mut entries = self.entries.lock();
        if let Some(known) = entries.get(&entry.sha256) {
            // Someone else stored the same bytes meanwhile.
            let known = Arc::clone(known);
            drop(entries);
            let _ = fs::remove_dir_all(staged);
            let _ = staged_zip.map(fs::remove_file);
            return Ok(known);
        }
        if let Some(zip) = staged_zip {
            fs::rename(zip, &entry.archive).map_err(failed("move code to", &entry.archive))?;
            sync_directory(&self.root.join("archives"))?;
        }
        if entry.directory.exists() {
            // Left by another boot, or by a process that died before its function was stored.
            let trash = self.staging_path();
            fs::rename(&entry.directory, &trash).map_err(failed("clear", &entry.directory))?;
            let _ = fs::remove_dir_all(&trash);
        }
        fs::rename(staged, &entry.directory).map_err(failed("move code to", &entry.directory))?;
        let mark = self.boot_mark(&entry.sha256);
        fs::write(&mark, &self.boot_id).map_err(failed("write", &mark))?;
        entries.insert(entry.sha256.clone(), Arc::clone(&entry));
        Ok(entry)
    }

    fn entry(&self, sha256: String, size: u64) -> StoredCode {
        let directory = self.root.join("unpacked").join(&sha256);
        let archive = self.root.join("archives").join(format!("{sha256}.zip"));
        StoredCode {
            sha256,
            size,
            directory,
            archive,
        }
    }

    fn boot_mark(&self, sha256: &str) -> PathBuf {
        self.root.join("unpacked").join(format!("{sha256}.boot"))
    }

    fn staging_path(&self) -> PathBuf {
        self.root
            .join("staging")
            .join(uuid::Uuid::new_v4().to_string())
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), CodeError> {
    use io::Write;
    let mut file = fs::File::create(path).map_err(failed("make", path))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(failed("write", path))
}

fn sync_directory(path: &Path) -> Result<(), CodeError> {
    fs::File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("sync", path))
}
