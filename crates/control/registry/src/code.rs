//! The code store: zips, addressed by SHA-256. What they unpack to is with the nodes.
//!
//! ```text
//!   archives/<sha256>.zip     synced, then renamed into place
//!   staging/                  work in progress; emptied at start
//! ```
//!
//! Lock order: `CodeStore::entries` is a leaf; nothing is locked while it is held.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use proto_lambda::limits;
use proto_node::CodeRef;
use sha2::{Digest, Sha256};

use proto_archive::UnpackError;

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
    unpacked: u64,
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

    /// Bytes that the zip unpacks to.
    pub fn unpacked(&self) -> u64 {
        self.unpacked
    }

    /// What it takes of the account: the zip here, and what a node makes of it.
    pub(crate) fn takes(&self) -> u64 {
        self.size.saturating_add(self.unpacked)
    }

    /// What nodes know it as.
    pub fn reference(&self) -> CodeRef {
        CodeRef {
            sha256: self.sha256.clone(),
            bytes: self.size,
        }
    }

    /// The zip as it was uploaded.
    pub fn archive(&self) -> &Path {
        &self.archive
    }
}

type Entries = HashMap<String, Arc<StoredCode>>;

/// The code store in one directory. Its methods block.
#[derive(Debug)]
pub struct CodeStore {
    root: PathBuf,
    /// Most bytes that all code may take, packed and unpacked.
    limit: u64,
    entries: Mutex<Entries>,
}

impl CodeStore {
    /// Opens or makes the store and throws away work that a dead process left behind.
    pub fn open(root: &Path) -> Result<Self, CodeError> {
        Self::with_limit(root, limits::TOTAL_CODE_BYTES)
    }

    /// The same, with room for so many bytes of code.
    pub fn with_limit(root: &Path, limit: u64) -> Result<Self, CodeError> {
        fs::create_dir_all(root).map_err(failed("make", root))?;
        let root = root.canonicalize().map_err(failed("resolve", root))?;
        // Versions up to 0.1 unpacked here what their nodes now unpack.
        for directory in ["staging", "unpacked"] {
            let path = root.join(directory);
            if path.exists() {
                fs::remove_dir_all(&path).map_err(failed("clear", &path))?;
            }
        }
        for directory in ["archives", "staging"] {
            let path = root.join(directory);
            fs::create_dir_all(&path).map_err(failed("make", &path))?;
        }
        sync_directory(&root)?;
        Ok(Self {
            root,
            limit,
            entries: Mutex::default(),
        })
    }

    /// Stores a zip that unpacks well: checked, synced and in place when this returns.
    pub fn put(&self, zip: &[u8]) -> Result<Arc<StoredCode>, CodeError> {
        let sha256 = hex(&Sha256::digest(zip));
        if let Some(known) = self.entries.lock().get(&sha256) {
            return Ok(Arc::clone(known));
        }
        let size = zip.len() as u64;
        let unpacked = proto_archive::check(zip)?;
        let entry = self.entry(sha256, size, unpacked);
        // Before it is written, and again when it is: others may come meanwhile.
        self.check_limit(&self.entries.lock(), &entry)?;
        proto_archive::check_room(&self.root, size)?;
        let staged = self.staging_path();
        let stored = write_synced(&staged, zip).and_then(|()| self.adopt(entry, Some(&staged)));
        if stored.is_err() {
            let _ = fs::remove_file(&staged);
        }
        stored
    }

    fn check_limit(&self, entries: &Entries, new: &StoredCode) -> Result<(), CodeError> {
        let taken = entries.values().map(|entry| entry.takes());
        let taken = taken.fold(new.takes(), u64::saturating_add);
        match taken > self.limit {
            true => Err(CodeError::Full),
            false => Ok(()),
        }
    }

    /// Code that is there.
    pub(crate) fn get(&self, sha256: &str) -> Option<Arc<StoredCode>> {
        self.entries.lock().get(sha256).cloned()
    }

    /// All code that is there.
    pub(crate) fn references(&self) -> BTreeSet<CodeRef> {
        let entries = self.entries.lock();
        entries.values().map(|entry| entry.reference()).collect()
    }

    /// Takes up code that a stored function refers to.
    ///
    /// `unpacked` is what it unpacks to, none if that was not stored: then the zip says it.
    pub fn restore(
        &self,
        sha256: &str,
        size: u64,
        unpacked: Option<u64>,
    ) -> Result<Arc<StoredCode>, CodeError> {
        let mut entry = self.entry(sha256.to_owned(), size, unpacked.unwrap_or_default());
        if unpacked.is_none() {
            let zip = fs::read(&entry.archive).map_err(failed("read", &entry.archive))?;
            entry.unpacked = proto_archive::declared(&zip).unwrap_or_default();
        } else {
            fs::metadata(&entry.archive).map_err(failed("read", &entry.archive))?;
        }
        self.adopt(entry, None)
    }

    /// An entry for code that is lost: its function is shown, and cannot run.
    pub(crate) fn lost(&self, sha256: &str, size: u64) -> Arc<StoredCode> {
        Arc::new(self.entry(sha256.to_owned(), size, 0))
    }

    /// Removes code that nobody holds any more, and files that belong to none; what nodes may remove, too.
    pub fn collect(&self) -> Vec<CodeRef> {
        let (gone, trash) = self.move_unheld_away();
        for path in trash {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "old code could not be removed");
            }
        }
        gone
    }

    /// Renames what nobody holds into the staging directory: renaming is atomic, so what stays in
    /// place is whole.
    fn move_unheld_away(&self) -> (Vec<CodeRef>, Vec<PathBuf>) {
        let (mut gone, mut trash) = (Vec::new(), Vec::new());
        let mut entries = self.entries.lock();
        // While the map is locked nobody can take another reference to an unheld entry.
        entries.retain(|_, entry| {
            let held = Arc::strong_count(entry) > 1;
            if !held {
                gone.push(entry.reference());
            }
            held
        });
        let listing = fs::read_dir(self.root.join("archives"));
        for path in listing.into_iter().flatten().flatten() {
            let path = path.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            if name.is_some_and(|name| entries.contains_key(name)) {
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
        (gone, trash)
    }

    /// Moves a staged zip into place, if one is given, and knows it from now on.
    fn adopt(
        &self,
        entry: StoredCode,
        staged: Option<&Path>,
    ) -> Result<Arc<StoredCode>, CodeError> {
        let entry = Arc::new(entry);
        let mut entries = self.entries.lock();
        if let Some(known) = entries.get(&entry.sha256) {
            // Someone else stored the same bytes meanwhile.
            let known = Arc::clone(known);
            drop(entries);
            let _ = staged.map(fs::remove_file);
            return Ok(known);
        }
        if let Some(zip) = staged {
            self.check_limit(&entries, &entry)?;
            fs::rename(zip, &entry.archive).map_err(failed("move code to", &entry.archive))?;
            sync_directory(&self.root.join("archives"))?;
        }
        entries.insert(entry.sha256.clone(), Arc::clone(&entry));
        Ok(entry)
    }

    fn entry(&self, sha256: String, size: u64, unpacked: u64) -> StoredCode {
        let archive = self.root.join("archives").join(format!("{sha256}.zip"));
        StoredCode {
            sha256,
            size,
            unpacked,
            archive,
        }
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
