//! A snapshot being made.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::directory::{self, write_synced};
use crate::error::{StoreError, failed};
use crate::key::{KeyParts, SnapshotKey};
use crate::manifest::{
    self, About, Base, FileRecord, MANIFEST_VERSION, MAX_FILES, MAX_LAYERS, Manifest, is_file_name,
};
use crate::ready::Opened;
use crate::scan::{Finding, Scanner};
use crate::store::Store;

/// A snapshot being made; dropped, nothing of it is left.
#[derive(Debug)]
pub struct Pending {
    store: Arc<Store>,
    key: SnapshotKey,
    parts: KeyParts,
    directory: PathBuf,
    files: Vec<(String, File)>,
    base: Option<Base>,
}

impl Store {
    /// Starts a snapshot; only one of a name at a time, and none in the place of one that is good: clones of the
    /// first are at work.
    pub fn begin(self: &Arc<Self>, parts: KeyParts) -> Result<Pending, StoreError> {
        let key = parts.key();
        self.reserve(&key)?;
        Pending::start(Arc::clone(self), key, parts)
    }
}

impl Pending {
    /// The caller has reserved `key`.
    fn start(store: Arc<Store>, key: SnapshotKey, parts: KeyParts) -> Result<Self, StoreError> {
        let directory = store.layout.staging_one();
        // From here on dropping it gives the key back.
        let pending = Self {
            store,
            key,
            parts,
            directory,
            files: Vec::new(),
            base: None,
        };
        DirBuilder::new()
            .mode(0o700)
            .create(&pending.directory)
            .map_err(failed("make", &pending.directory))?;
        Ok(pending)
    }

    /// The snapshot's name.
    pub fn key(&self) -> &SnapshotKey {
        &self.key
    }

    /// Has it lie over this one, whose files hold what it does not.
    ///
    /// # Errors
    /// [`StoreError::TooManyLayers`].
    pub fn over(&mut self, base: &Opened) -> Result<(), StoreError> {
        if base.layers() >= MAX_LAYERS {
            return Err(StoreError::TooManyLayers);
        }
        self.base = Some(Base {
            key: base.manifest.key.clone(),
            digest: base.digest.clone(),
        });
        Ok(())
    }

    /// Makes a file of the snapshot: empty, for reading and writing. Whoever writes it does so
    /// through this or a duplicate of it.
    pub fn create(&mut self, name: &str) -> Result<&File, StoreError> {
        let taken = self.files.iter().any(|(other, _)| other == name);
        if !is_file_name(name) || taken || self.files.len() >= MAX_FILES {
            return Err(StoreError::FileName(name.to_owned()));
        }
        let path = self.directory.join(name);
        let file = directory::create(&path).map_err(failed("make", &path))?;
        self.files.push((name.to_owned(), file));
        // Just pushed.
        let last = self.files.last().map(|(_, file)| file);
        last.ok_or_else(|| StoreError::FileName(name.to_owned()))
    }

    /// The files made so far, in order.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.files.iter().map(|(_, file)| file)
    }

    /// Looks for secrets in everything that was written.
    pub fn find_secret(&self, scanner: &Scanner) -> io::Result<Option<(String, Finding)>> {
        use std::io::{Seek, SeekFrom};
        for (name, file) in &self.files {
            let mut from: &File = file;
            from.seek(SeekFrom::Start(0))?;
            if let Some(finding) = scanner.find(from)? {
                return Ok(Some((name.clone(), finding)));
            }
        }
        Ok(None)
    }

    /// Puts the snapshot in place: synced and authenticated, whole or not at all. What must go for
    /// it goes.
    pub fn commit(mut self, about: About) -> Result<SnapshotKey, StoreError> {
        let files = std::mem::take(&mut self.files);
        let mut records = Vec::with_capacity(files.len());
        for (name, file) in files {
            let path = self.directory.join(&name);
            let hashed = self.store.service_key.of_file(&file);
            let (hash, bytes) = hashed.map_err(failed("read", &path))?;
            file.sync_all().map_err(failed("sync", &path))?;
            records.push(FileRecord { name, bytes, hash });
        }
        if records.is_empty() {
            return Err(StoreError::FileName(String::new()));
        }
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            key: self.key.clone(),
            parts: self.parts.clone(),
            about,
            files: records,
            base: self.base.take(),
        };
        let path = self.directory.join(manifest::MANIFEST);
        let text = manifest.to_bytes(&self.store.service_key)?;
        write_synced(&path, &text).map_err(failed("write", &path))?;
        directory::sync_directory(&self.directory)?;
        self.store.adopt(&self.directory, manifest)?;
        Ok(self.key.clone())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // After a commit there is nothing here, or what was in its place and no snapshot.
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.directory.display(), %error, "could not be removed");
            }
            _ => {}
        }
        self.store.release(&self.key);
    }
}
