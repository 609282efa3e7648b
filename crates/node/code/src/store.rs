//! The store: takes archives, keeps trees.
//!
//! ```text
//!   trees/<sha256>/           the unpacked archive, put in place by renaming
//!   trees/<sha256>.boot       the boot in which that was done, written last
//!   staging/                  work in progress; emptied at start
//! ```
//!
//! A tree without its mark, or with that of another boot, may have lost bytes to a crash of the machine: it counts as
//! absent, and who has the archive gives it again. A mere `kill -9` loses nothing and leaves nothing half.
//!
//! Lock order: `CodeStore::users` is a leaf. What it says is there is there on disk while it is held.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use proto_lambda::limits;
use proto_node::{Body, CodeError, CodeRef, Revision};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::users::Users;

/// Archives that are taken in at once: each may take [`limits::ZIPPED_BYTES`] of memory.
const AT_ONCE: usize = 2;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", path.display())]
pub struct OpenError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The code of functions in one directory.
#[derive(Debug)]
pub struct CodeStore {
    root: PathBuf,
    boot: String,
    users: Mutex<Users>,
    room: Semaphore,
}

impl CodeStore {
    /// Opens or makes the store, and throws away work that a dead process left behind.
    pub fn open(root: &Path) -> Result<Self, OpenError> {
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError {
                doing,
                path,
                source,
            }
        };
        let staging = root.join("staging");
        if staging.exists() {
            fs::remove_dir_all(&staging).map_err(failed("clear", &staging))?;
        }
        for path in [&staging, &root.join("trees")] {
            fs::create_dir_all(path).map_err(failed("make", path))?;
        }
        // Sandboxes are told the path, and have another working directory.
        let root = root.canonicalize().map_err(failed("resolve", root))?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Self {
            root,
            boot: boot.trim().to_owned(),
            users: Mutex::default(),
            room: Semaphore::new(AT_ONCE),
        })
    }

    /// Where the tree of `code` lies, if it is there.
    pub fn tree(&self, code: &CodeRef) -> PathBuf {
        self.root.join("trees").join(&code.sha256)
    }

    /// Whether `code` is there.
    pub fn has(&self, code: &CodeRef) -> bool {
        self.find(&mut self.users.lock(), code)
    }

    /// `revision` uses `code` from now on, until it is forgotten; whether that is there.
    pub fn use_by(&self, code: &CodeRef, revision: &Revision) -> bool {
        let mut users = self.users.lock();
        self.find(&mut users, code) && users.use_by(&code.sha256, revision)
    }

    fn find(&self, users: &mut Users, code: &CodeRef) -> bool {
        if users.knows(&code.sha256) {
            return true;
        }
        let whole = code.is_well_formed()
            && !self.boot.is_empty()
            && fs::read_to_string(self.mark(&code.sha256)).is_ok_and(|boot| boot == self.boot)
            && self.tree(code).is_dir();
        if whole {
            users.add(&code.sha256);
        }
        whole
    }

    /// Takes in `code`: checked, unpacked and in place when this returns. Any number may come at once; some wait.
    pub async fn put(&self, code: &CodeRef, archive: Body) -> Result<(), CodeError> {
        if !code.is_well_formed() || code.bytes > limits::ZIPPED_BYTES {
            return Err(CodeError::Differs);
        }
        let room = self.room.acquire().await;
        let _room = room.map_err(|_| CodeError::Disk("the store is closed".to_owned()))?;
        if self.has(code) {
            self.users.lock().add(&code.sha256);
            return Ok(());
        }
        let zip = receive(code, archive).await?;
        let staged = self.staging_path();
        let into = staged.clone();
        let unpacking = tokio::task::spawn_blocking(move || proto_archive::unpack(&zip, &into));
        let unpacked = unpacking
            .await
            .map_err(|error| CodeError::Disk(error.to_string()))
            .and_then(|unpacked| unpacked.map_err(refused))
            .and_then(|()| self.adopt(code, &staged).map_err(disk));
        if unpacked.is_err() {
            let _ = fs::remove_dir_all(&staged);
        }
        unpacked
    }

    /// Puts a tree in place.
    fn adopt(&self, code: &CodeRef, staged: &Path) -> io::Result<()> {
        let mut users = self.users.lock();
        if self.find(&mut users, code) {
            // Somebody else brought the same meanwhile.
            return fs::remove_dir_all(staged);
        }
        self.move_away(&code.sha256)?;
        fs::rename(staged, self.tree(code))?;
        fs::write(self.mark(&code.sha256), &self.boot)?;
        users.add(&code.sha256);
        Ok(())
    }

    /// No instance of `revision` is left: code goes that only it kept.
    pub fn forget(&self, revision: &Revision) {
        let mut users = self.users.lock();
        let gone = users.forget(revision);
        self.remove_all(&gone);
        drop(users);
        self.clear_staging();
    }

    /// Nobody needs `code`: it goes, at once or with its last user.
    pub fn remove(&self, code: &CodeRef) {
        if !code.is_well_formed() {
            return;
        }
        let mut users = self.users.lock();
        if users.remove(&code.sha256) {
            self.remove_all(std::slice::from_ref(&code.sha256));
        }
        drop(users);
        self.clear_staging();
    }

    /// There is no other code than this: the rest goes.
    pub fn keep_only(&self, codes: &BTreeSet<CodeRef>) {
        let kept: BTreeSet<&str> = codes.iter().map(|code| code.sha256.as_str()).collect();
        let mut users = self.users.lock();
        let listing = fs::read_dir(self.root.join("trees"));
        let there: BTreeSet<String> = listing
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
            .collect();
        let mut gone: Vec<String> = Vec::new();
        for sha256 in there {
            if !kept.contains(sha256.as_str()) && users.remove(&sha256) {
                gone.push(sha256);
            }
        }
        self.remove_all(&gone);
        drop(users);
        self.clear_staging();
    }

    /// Moves trees away while nobody can begin to use them.
    fn remove_all(&self, gone: &[String]) {
        for sha256 in gone {
            if let Err(error) = self.move_away(sha256) {
                tracing::warn!(sha256, %error, "old code could not be removed");
            }
        }
    }

    /// The mark first: a tree without one is none.
    fn move_away(&self, sha256: &str) -> io::Result<()> {
        let there = |error: &io::Error| error.kind() != io::ErrorKind::NotFound;
        fs::remove_file(self.mark(sha256))
            .or_else(|error| if there(&error) { Err(error) } else { Ok(()) })?;
        fs::rename(self.root.join("trees").join(sha256), self.trash_path())
            .or_else(|error| if there(&error) { Err(error) } else { Ok(()) })
    }

    /// Removes what was moved away.
    fn clear_staging(&self) {
        let listing = fs::read_dir(self.root.join("staging"));
        for entry in listing.into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|kind| kind == "old")
                && let Err(error) = fs::remove_dir_all(&path)
            {
                tracing::debug!(%error, "old code is removed later");
            }
        }
    }

    fn mark(&self, sha256: &str) -> PathBuf {
        self.root.join("trees").join(format!("{sha256}.boot"))
    }

    fn staging_path(&self) -> PathBuf {
        let name = uuid::Uuid::new_v4().to_string();
        self.root.join("staging").join(name)
    }

    fn trash_path(&self) -> PathBuf {
        self.staging_path().with_extension("old")
    }
}

/// Reads an archive and holds it against its name.
async fn receive(code: &CodeRef, mut archive: Body) -> Result<Vec<u8>, CodeError> {
    let length = usize::try_from(code.bytes).map_err(|_| CodeError::Differs)?;
    let (mut zip, mut digest) = (Vec::new(), Sha256::new());
    while let Some(piece) = archive.next().await.map_err(CodeError::Broken)? {
        if zip.len() + piece.len() > length {
            return Err(CodeError::Differs);
        }
        digest.update(&piece);
        zip.extend_from_slice(&piece);
    }
    let hex: String = digest
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    match zip.len() == length && hex == code.sha256 {
        true => Ok(zip),
        false => Err(CodeError::Differs),
    }
}

fn refused(error: proto_archive::UnpackError) -> CodeError {
    match error {
        proto_archive::UnpackError::Io(error) => disk(error),
        full @ proto_archive::UnpackError::NoRoom { .. } => CodeError::Disk(full.to_string()),
        error => CodeError::Refused(error.to_string()),
    }
}

fn disk(error: io::Error) -> CodeError {
    CodeError::Disk(error.to_string())
}
