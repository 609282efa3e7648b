//! Where everything lies, and the few ways in which files come and go.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{StoreError, failed};
use crate::key::SnapshotKey;
use crate::manifest::MAX_BYTES;

/// Its time of change says when a snapshot was last used.
pub(crate) const USED: &str = ".used";
/// What clones use at once. Beside the snapshot, not of it: it is learnt later, and may be wrong.
pub(crate) const HOT: &str = ".hot";

/// The directories of a store.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Makes what is missing; only this user may look inside.
    pub(crate) fn make(&self) -> Result<(), StoreError> {
        for path in [
            self.root.clone(),
            self.staging(),
            self.ready(),
            self.quarantine(),
        ] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(failed("make", &path))?;
        }
        sync_directory(&self.root)
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.root.join("key")
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(crate) fn ready(&self) -> PathBuf {
        self.root.join("ready")
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub(crate) fn ready_one(&self, key: &SnapshotKey) -> PathBuf {
        self.ready().join(key.as_str())
    }

    pub(crate) fn staging_one(&self) -> PathBuf {
        self.staging().join(uuid::Uuid::new_v4().to_string())
    }

    pub(crate) fn quarantine_one(&self, key: &SnapshotKey) -> PathBuf {
        let name = format!("{key}.{}", uuid::Uuid::new_v4());
        self.quarantine().join(name)
    }

    /// Makes a directory vanish: at once by a rename, then its content.
    pub(crate) fn discard(&self, path: &Path) -> io::Result<()> {
        let away = self.staging_one();
        fs::rename(path, &away)?;
        match fs::remove_dir_all(&away) {
            // Somebody empties the staging directory at the same time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// The entries of a directory; none if it cannot be read.
pub(crate) fn entries(path: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(path) else {
        return Vec::new();
    };
    let mut entries: Vec<_> = listing.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

/// The key in the name of a snapshot's directory, in place or in quarantine.
pub(crate) fn key_of(path: &Path) -> Option<SnapshotKey> {
    let name = path.file_name()?.to_str()?;
    SnapshotKey::parse(name.split('.').next()?)
}

/// A file that this user alone may read.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Opens for reading, and follows no link.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

/// Reads a file that should be small.
pub(crate) fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Writes a file that was not there and syncs it.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Writes a file whole or not at all, over what was there. Not synced.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&staged)?;
    file.write_all(bytes)?;
    fs::rename(staged, path)
}

/// Makes the names in a directory survive a loss of power.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("sync", path))
}
