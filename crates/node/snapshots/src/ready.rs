//! A snapshot in place: checked once, then handed out by the descriptors through which it was.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::authentic::ServiceKey;
use crate::directory;
use crate::manifest::{FileRecord, Manifest};

/// Least time between two notes on disk that a snapshot was used, in milliseconds.
const NOTE_EVERY_MS: u64 = 60_000;

/// A snapshot to restore from.
#[derive(Clone, Debug)]
pub struct Opened {
    /// What it is.
    pub manifest: Arc<Manifest>,
    /// Its files in the manifest's order, then those of the snapshots that it lies over, for reading at
    /// offsets; their position is shared.
    pub files: Vec<Arc<File>>,
    /// The snapshots that it lies over, the nearest first.
    pub bases: Vec<Arc<Manifest>>,
    /// By which those that lie over it know it.
    pub digest: String,
    /// What clones use at once, as [`Store::learn`](crate::Store::learn) was told last; empty before that.
    pub hot: Arc<[u8]>,
}

/// Most that is remembered of what clones use at once.
pub(crate) const MAX_HOT_BYTES: usize = 64 << 10;

impl Opened {
    /// How many snapshots its files belong to.
    #[must_use]
    pub fn layers(&self) -> usize {
        1 + self.bases.len()
    }
}

/// Why there is nothing to restore from.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is none.
    #[error("there is no such snapshot")]
    Absent,
    /// It was no good; it lies in quarantine now.
    #[error("the snapshot was put in quarantine: {0}")]
    Quarantined(String),
    /// It could not be read, which may pass.
    #[error("the snapshot cannot be read")]
    Io(#[from] io::Error),
}

/// What is wrong with a file of a snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    #[error("cannot read {0}")]
    Io(String, #[source] io::Error),
    #[error("{name} has {found} bytes and should have {expected}")]
    Length {
        name: String,
        found: u64,
        expected: u64,
    },
    #[error("the content of {0} is not what was written")]
    Content(String),
}

/// Tells whether a file was touched since it was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for Stamp {
    fn from(meta: &Metadata) -> Self {
        Self {
            inode: (meta.dev(), meta.ino()),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

#[derive(Debug)]
struct Checked {
    file: Arc<File>,
    stamp: Stamp,
}

/// A snapshot in place.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) manifest: Arc<Manifest>,
    /// See [`Base::digest`](crate::Base::digest).
    pub(crate) digest: String,
    used_ms: AtomicU64,
    noted_ms: AtomicU64,
    checked: Mutex<Option<Vec<Checked>>>,
    hot: Mutex<Arc<[u8]>>,
}

impl Ready {
    pub(crate) fn new(manifest: Manifest, digest: String, used_ms: u64, hot: &[u8]) -> Self {
        Self {
            digest,
            manifest: Arc::new(manifest),
            used_ms: AtomicU64::new(used_ms),
            noted_ms: AtomicU64::new(used_ms),
            checked: Mutex::new(None),
            hot: Mutex::new(Arc::from(hot)),
        }
    }

    pub(crate) fn hot(&self) -> Arc<[u8]> {
        Arc::clone(&self.hot.lock())
    }

    /// Remembers it for those to come, and for after a restart.
    pub(crate) fn learn(&self, directory: &Path, hot: &[u8]) -> io::Result<()> {
        let mut known = self.hot.lock();
        *known = Arc::from(hot);
        directory::replace(&directory.join(directory::HOT), hot)
    }

    pub(crate) fn used_ms(&self) -> u64 {
        self.used_ms.load(Ordering::Relaxed)
    }

    /// Its files if they were checked before and are untouched; `None` as well when it is time to [note its
    /// use](Ready::note_use) on disk. Reads nothing.
    pub(crate) fn known(&self, now_ms: u64) -> Option<Vec<Arc<File>>> {
        let noted = self.noted_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(noted) >= NOTE_EVERY_MS {
            return None;
        }
        let checked = self.checked.try_lock()?;
        let known = checked.as_deref().filter(|known| untouched(known))?;
        self.used_ms.fetch_max(now_ms, Ordering::Relaxed);
        Some(handles(known))
    }

    /// Its files, checked now or before and untouched since. `None` if they are gone.
    pub(crate) fn open(
        &self,
        directory: &Path,
        key: &ServiceKey,
    ) -> Result<Option<Vec<Arc<File>>>, Damage> {
        let mut checked = self.checked.lock();
        if let Some(known) = checked.as_deref() {
            if untouched(known) {
                return Ok(Some(handles(known)));
            }
            *checked = None;
        }
        let mut fresh = Vec::with_capacity(self.manifest.files.len());
        for record in &self.manifest.files {
            match check(directory, record, key) {
                Ok(file) => fresh.push(file),
                Err(Damage::Io(_, error))
                    if error.kind() == io::ErrorKind::NotFound && !directory.exists() =>
                {
                    return Ok(None);
                }
                Err(damage) => return Err(damage),
            }
        }
        let files = handles(&fresh);
        *checked = Some(fresh);
        Ok(Some(files))
    }

    /// Keeps it from being the first to go.
    pub(crate) fn note_use(&self, directory: &Path, now_ms: u64) {
        self.used_ms.fetch_max(now_ms, Ordering::Relaxed);
        let noted = self.noted_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(noted) < NOTE_EVERY_MS {
            return;
        }
        self.noted_ms.store(now_ms, Ordering::Relaxed);
        // Only a hint for after a restart.
        let path = directory.join(directory::USED);
        let note = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path);
        let _ = note.and_then(|file| file.set_modified(std::time::SystemTime::now()));
    }
}

/// Whether these are still the files in place, as they were checked: a removed one has another time of change.
fn untouched(known: &[Checked]) -> bool {
    known.iter().all(|entry| {
        let meta = entry.file.metadata();
        meta.is_ok_and(|meta| meta.nlink() > 0 && Stamp::from(&meta) == entry.stamp)
    })
}

fn handles(checked: &[Checked]) -> Vec<Arc<File>> {
    checked
        .iter()
        .map(|entry| Arc::clone(&entry.file))
        .collect()
}

/// Opens a file of a snapshot and reads it to its end.
fn check(directory: &Path, record: &FileRecord, key: &ServiceKey) -> Result<Checked, Damage> {
    let failed = |error| Damage::Io(record.name.clone(), error);
    let file = directory::open(&directory.join(&record.name)).map_err(failed)?;
    // Taken before the content is read: a change from here on is seen.
    let meta = file.metadata().map_err(failed)?;
    if meta.len() != record.bytes {
        return Err(Damage::Length {
            name: record.name.clone(),
            found: meta.len(),
            expected: record.bytes,
        });
    }
    let (hash, bytes) = key.of_file(&file).map_err(failed)?;
    if bytes != record.bytes || !ServiceKey::same(&hash, &record.hash) {
        return Err(Damage::Content(record.name.clone()));
    }
    Ok(Checked {
        file: Arc::new(file),
        stamp: Stamp::from(&meta),
    })
}

/// Checks every file of a snapshot from the start.
pub(crate) fn check_all(
    directory: &Path,
    manifest: &Manifest,
    key: &ServiceKey,
) -> Result<(), Damage> {
    manifest
        .files
        .iter()
        .try_for_each(|record| check(directory, record, key).map(|_| ()))
}
