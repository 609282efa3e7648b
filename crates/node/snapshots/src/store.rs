//! The store itself: the one owner of what is ready, pending and in quarantine.
//!
//! Lock order: `Store::index`, then nothing; files are moved while it is held, read while it is not.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, RenameFlags, flock, renameat_with};
use serde::{Deserialize, Serialize};

use crate::Config;
use crate::authentic::ServiceKey;
use crate::directory::{self, Layout, entries, key_of};
use crate::error::{StoreError, failed};
use crate::evict::{Entry, Incoming, decide_evictions};
use crate::index::Index;
use crate::key::{KeyParts, SnapshotKey};
use crate::manifest::{self, MAX_LAYERS, Manifest};
use crate::ready::{Damage, MAX_HOT_BYTES, Opened, Ready, Unusable};

/// What the store knows of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotState {
    /// Nothing.
    Absent,
    /// It is being made.
    Pending,
    /// It can be restored from.
    Ready,
    /// The last one was no good, and why.
    Quarantined(String),
}

/// Why a snapshot lies in quarantine, on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reason {
    pub(crate) reason: String,
    pub(crate) at_ms: u64,
}

/// Snapshots in one directory, owned by one process. Its methods block.
#[derive(Debug)]
pub struct Store {
    config: Config,
    pub(crate) layout: Layout,
    pub(crate) service_key: ServiceKey,
    index: Mutex<Index>,
    /// Holds the lock as long as it is open.
    _lock: File,
}

impl std::fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServiceKey")
    }
}

impl Store {
    /// Opens or makes a store, and clears away what a dead process left half done.
    pub fn open(config: Config) -> Result<Arc<Self>, StoreError> {
        let layout = Layout::new(&config.directory);
        layout.make()?;
        let path = layout.lock_file();
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("open", &path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| StoreError::Locked(config.directory.clone()))?;
        for path in entries(&layout.staging()) {
            remove(&path);
        }
        let store = Self {
            service_key: ServiceKey::open(&layout.key_file())?,
            config,
            layout,
            index: Mutex::default(),
            _lock: lock,
        };
        store.find_ready();
        store.find_quarantined();
        store.make_room_for(&Incoming {
            bytes: 0,
            base: None,
        })?;
        Ok(Arc::new(store))
    }

    /// What is known of a snapshot.
    pub fn state(&self, key: &SnapshotKey) -> SnapshotState {
        let index = self.index.lock();
        if index.ready.contains_key(key) {
            SnapshotState::Ready
        } else if index.pending.contains(key) {
            SnapshotState::Pending
        } else if let Some(reason) = index.quarantined.get(key) {
            SnapshotState::Quarantined(reason.clone())
        } else {
            SnapshotState::Absent
        }
    }

    /// A snapshot to restore from. Checked completely the first time and whenever its files were
    /// touched; what fails the check goes to quarantine.
    pub fn open_snapshot(&self, key: &SnapshotKey) -> Result<Opened, Unusable> {
        let (top, mut files) = self.open_one(key)?;
        let mut bases: Vec<Arc<Manifest>> = Vec::new();
        loop {
            let nearest = bases.last().unwrap_or(&top.manifest);
            let Some(base) = nearest.base.clone() else {
                break;
            };
            let wrong = |what: String| {
                let reason = format!("the snapshot {} that it lies over {what}", base.key);
                self.quarantine(key, &reason);
                Err(Unusable::Quarantined(reason))
            };
            if bases.len() + 1 >= MAX_LAYERS {
                return wrong("lies over too many others".to_owned());
            }
            match self.open_one(&base.key) {
                Ok((ready, more)) if ready.digest == base.digest => {
                    files.extend(more);
                    bases.push(Arc::clone(&ready.manifest));
                }
                Ok(_) => return wrong("was made anew".to_owned()),
                Err(Unusable::Absent) => return wrong("is no more".to_owned()),
                Err(Unusable::Quarantined(reason)) => {
                    return wrong(format!("is no good: {reason}"));
                }
                Err(Unusable::Io(error)) => return Err(Unusable::Io(error)),
            }
        }
        Ok(Opened {
            manifest: Arc::clone(&top.manifest),
            files,
            bases,
            digest: top.digest.clone(),
            hot: top.hot(),
        })
    }

    /// A snapshot without those that it lies over.
    fn open_one(&self, key: &SnapshotKey) -> Result<(Arc<Ready>, Vec<Arc<File>>), Unusable> {
        let ready = match self.index.lock().ready.get(key) {
            Some(ready) => Arc::clone(ready),
            None => return Err(Unusable::Absent),
        };
        let directory = self.layout.ready_one(key);
        match ready.open(&directory, &self.service_key) {
            Ok(Some(files)) => {
                ready.note_use(&directory, base_clock::epoch_ms());
                Ok((ready, files))
            }
            Ok(None) => {
                self.forget(key, &ready);
                Err(Unusable::Absent)
            }
            Err(Damage::Io(_, error)) if may_pass(&error) => Err(Unusable::Io(error)),
            Err(damage) => {
                let reason = damage.to_string();
                self.quarantine(key, &reason);
                Err(Unusable::Quarantined(reason))
            }
        }
    }

    /// What [`open_snapshot`](Store::open_snapshot) would answer, where that takes no reading; `None` says nothing.
    pub fn open_known(&self, key: &SnapshotKey) -> Option<Opened> {
        let (index, now) = (self.index.try_lock()?, base_clock::epoch_ms());
        let top = index.ready.get(key)?;
        let (mut files, mut bases) = (top.known(now)?, Vec::new());
        let mut nearest = &top.manifest;
        while let Some(base) = &nearest.base {
            let ready = index.ready.get(&base.key)?;
            if ready.digest != base.digest || bases.len() + 1 >= MAX_LAYERS {
                return None;
            }
            files.extend(ready.known(now)?);
            bases.push(Arc::clone(&ready.manifest));
            nearest = &ready.manifest;
        }
        Some(Opened {
            manifest: Arc::clone(&top.manifest),
            digest: top.digest.clone(),
            hot: top.hot(),
            files,
            bases,
        })
    }

    /// Remembers what clones of a snapshot use at once, at most 64 KiB. It comes from a clone, which may
    /// lie: whoever reads it must not believe it.
    pub fn learn(&self, key: &SnapshotKey, hot: &[u8]) {
        let ready = self.index.lock().ready.get(key).map(Arc::clone);
        let (Some(ready), true) = (ready, hot.len() <= MAX_HOT_BYTES) else {
            return;
        };
        if let Err(error) = ready.learn(&self.layout.ready_one(key), hot) {
            tracing::debug!(%key, %error, "what clones use at once is known until the next start only");
        }
    }

    /// Takes a snapshot out of use and keeps it for a look.
    pub fn quarantine(&self, key: &SnapshotKey, reason: &str) {
        tracing::warn!(%key, reason, "a snapshot goes to quarantine");
        let mut index = self.index.lock();
        index.take_ready(key);
        index.quarantined.insert(key.clone(), reason.to_owned());
        self.move_to_quarantine(&self.layout.ready_one(key), key, reason);
        self.thin_quarantine(&mut index);
    }

    /// Deletes a snapshot, and before it those that lie over it; who restores from one at this moment is not
    /// disturbed.
    pub fn remove(&self, key: &SnapshotKey) {
        let mut index = self.index.lock();
        for key in index.with_dependants(key).iter().rev() {
            index.take_ready(key);
            self.discard(&self.layout.ready_one(key));
        }
    }

    /// Deletes every snapshot of a subject, see [`KeyParts::subject`].
    pub fn remove_subject(&self, subject: &str) {
        self.remove_subjects(|one| one == subject);
    }

    /// Deletes every snapshot of the subjects that `unwanted` names.
    pub fn remove_subjects(&self, unwanted: impl Fn(&str) -> bool) {
        let theirs: Vec<_> = {
            let index = self.index.lock();
            let theirs = index
                .ready
                .iter()
                .filter(|(_, ready)| unwanted(&ready.manifest.parts.subject));
            theirs.map(|(key, _)| key.clone()).collect()
        };
        theirs.iter().for_each(|key| self.remove(key));
    }

    /// Deletes every snapshot that does not fit here, for the reason that `why` gives. Their subjects.
    pub fn remove_unfit(&self, why: impl Fn(&KeyParts) -> Option<String>) -> BTreeSet<String> {
        let unfit: Vec<_> = {
            let index = self.index.lock();
            let all = index.ready.iter();
            all.filter_map(|(key, ready)| {
                let parts = &ready.manifest.parts;
                Some((key.clone(), parts.subject.clone(), why(parts)?))
            })
            .collect()
        };
        let mut subjects = BTreeSet::new();
        for (key, subject, reason) in unfit {
            tracing::warn!(%key, reason, "a snapshot does not fit any more and is removed");
            self.remove(&key);
            subjects.insert(subject);
        }
        subjects
    }

    /// Largest snapshot that there can be, in bytes.
    pub fn budget(&self) -> u64 {
        self.config.budget_bytes
    }

    /// Keys of all snapshots that can be restored from.
    pub fn ready(&self) -> Vec<SnapshotKey> {
        self.index.lock().ready.keys().cloned().collect()
    }

    /// Keeps a name for a snapshot that is being made, until [`release`](Store::release).
    pub(crate) fn reserve(&self, key: &SnapshotKey) -> Result<(), StoreError> {
        let mut index = self.index.lock();
        if index.ready.contains_key(key) {
            return Err(StoreError::Ready);
        }
        if !index.pending.insert(key.clone()) {
            return Err(StoreError::Pending);
        }
        Ok(())
    }

    /// Gives back the name of a snapshot that is no longer being made.
    pub(crate) fn release(&self, key: &SnapshotKey) {
        self.index.lock().pending.remove(key);
    }

    /// Moves a finished snapshot into place.
    pub(crate) fn adopt(&self, staged: &Path, manifest: Manifest) -> Result<(), StoreError> {
        let key = manifest.key.clone();
        self.make_room(&manifest)?;
        let digest = manifest.digest(&self.service_key)?;
        let mut index = self.index.lock();
        if let Some(base) = &manifest.base {
            let there = index.ready.get(&base.key);
            if there.is_none_or(|ready| ready.digest != base.digest) {
                return Err(StoreError::BaseGone(base.key.clone()));
            }
        }
        let place = self.layout.ready_one(&key);
        // Something in its place is none of ours, as the index has none: it goes with the staged directory.
        let flags = if place.exists() {
            RenameFlags::EXCHANGE
        } else {
            RenameFlags::NOREPLACE
        };
        renameat_with(rustix::fs::CWD, staged, rustix::fs::CWD, &place, flags)
            .map_err(|error| failed("move a snapshot to", &place)(error.into()))?;
        directory::sync_directory(&self.layout.ready())?;
        index.quarantined.remove(&key);
        tracing::info!(%key, bytes = manifest.bytes(), function = manifest.about.function, "snapshot ready");
        index.put_ready(
            key,
            Arc::new(Ready::new(manifest, digest, base_clock::epoch_ms(), &[])),
        );
        Ok(())
    }

    /// Removes what must go so that this one fits, too.
    fn make_room(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let base = manifest.base.as_ref();
        self.make_room_for(&Incoming {
            bytes: manifest.bytes(),
            base: base.map(|base| self.layout.ready_one(&base.key)),
        })
    }

    fn make_room_for(&self, incoming: &Incoming<PathBuf>) -> Result<(), StoreError> {
        let mut index = self.index.lock();
        let mut held: Vec<Entry<PathBuf>> = index
            .ready
            .iter()
            .map(|(key, ready)| Entry {
                key: self.layout.ready_one(key),
                bytes: ready.manifest.bytes(),
                used: ready.used_ms(),
                base: {
                    let base = ready.manifest.base.as_ref();
                    base.map(|base| self.layout.ready_one(&base.key))
                },
            })
            .collect();
        // What nobody will use goes first.
        held.extend(
            entries(&self.layout.quarantine())
                .into_iter()
                .map(|path| Entry {
                    bytes: size_of(&path),
                    key: path,
                    used: 0,
                    base: None,
                }),
        );
        for path in decide_evictions(&held, incoming, self.config.budget_bytes)? {
            tracing::info!(path = %path.display(), "a snapshot is evicted");
            if let Some(key) = key_of(&path).filter(|key| self.layout.ready_one(key) == path) {
                index.take_ready(&key);
            }
            self.discard(&path);
        }
        Ok(())
    }

    /// Somebody else deleted it.
    fn forget(&self, key: &SnapshotKey, gone: &Arc<Ready>) {
        let mut index = self.index.lock();
        if index
            .ready
            .get(key)
            .is_some_and(|now| Arc::ptr_eq(now, gone))
        {
            index.take_ready(key);
        }
    }

    /// Reads what is in place at the start.
    fn find_ready(&self) {
        let mut index = self.index.lock();
        for path in entries(&self.layout.ready()) {
            let Some(key) = key_of(&path).filter(|key| self.layout.ready_one(key) == path) else {
                self.discard(&path);
                continue;
            };
            // Being put into quarantine when the process died.
            let reason = read_reason(&path).map(|reason| reason.reason);
            let manifest = directory::read_small(&path.join(manifest::MANIFEST))
                .map_err(|error| format!("the manifest cannot be read: {error}"))
                .and_then(|bytes| {
                    let manifest = Manifest::from_bytes(&bytes, &self.service_key, &key)
                        .map_err(|error| error.to_string())?;
                    let digest = manifest.digest(&self.service_key);
                    Ok((manifest, digest.map_err(|error| error.to_string())?))
                });
            match (reason, manifest) {
                (None, Ok((manifest, digest))) => {
                    let used = used_ms(&path).unwrap_or(manifest.about.created_ms);
                    // Clones of one without it start without it.
                    let hot = directory::read_small(&path.join(directory::HOT)).ok();
                    let hot = hot.filter(|hot| hot.len() <= MAX_HOT_BYTES);
                    let hot = hot.unwrap_or_default();
                    let ready = Ready::new(manifest, digest, used, &hot);
                    index.put_ready(key, Arc::new(ready));
                }
                (Some(reason), _) | (None, Err(reason)) => {
                    tracing::warn!(%key, reason, "a snapshot goes to quarantine");
                    self.move_to_quarantine(&path, &key, &reason);
                }
            }
        }
    }

    fn find_quarantined(&self) {
        let mut index = self.index.lock();
        self.thin_quarantine(&mut index);
        for path in entries(&self.layout.quarantine()) {
            if let (Some(key), Some(reason)) = (key_of(&path), read_reason(&path)) {
                index.quarantined.insert(key, reason.reason);
            }
        }
    }

    /// Deletes the oldest of too many.
    fn thin_quarantine(&self, index: &mut Index) {
        let mut held: Vec<_> = entries(&self.layout.quarantine())
            .into_iter()
            .map(|path| (read_reason(&path).map_or(0, |reason| reason.at_ms), path))
            .collect();
        held.sort();
        let over = held.len().saturating_sub(self.config.quarantined);
        for (_, path) in held.into_iter().take(over) {
            if let Some(key) = key_of(&path) {
                index.quarantined.remove(&key);
            }
            self.discard(&path);
        }
    }

    /// The reason is written first: a process that dies in between finishes this at its next start.
    fn move_to_quarantine(&self, path: &Path, key: &SnapshotKey, reason: &str) {
        let note = Reason {
            reason: reason.to_owned(),
            at_ms: base_clock::epoch_ms(),
        };
        let written = serde_json::to_vec(&note)
            .map_err(io::Error::other)
            .and_then(|text| directory::write_synced(&path.join(manifest::REASON), &text));
        match written {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                tracing::warn!(%key, %error, "a snapshot's fault could not be noted");
            }
            _ => {}
        }
        if let Err(error) = fs::rename(path, self.layout.quarantine_one(key)) {
            tracing::warn!(%key, %error, "a snapshot could not be put into quarantine");
            self.discard(path);
        }
    }

    fn discard(&self, path: &Path) {
        match self.layout.discard(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "could not be removed");
            }
            _ => {}
        }
    }
}

/// Whether an error is of this moment and not of the file.
fn may_pass(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::INTR,
        Errno::AGAIN,
    ];
    Errno::from_io_error(error).is_some_and(|errno| passing.contains(&errno))
}

fn remove(path: &Path) {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    if let Err(error) = removed {
        tracing::warn!(path = %path.display(), %error, "could not be removed");
    }
}

pub(crate) fn read_reason(path: &Path) -> Option<Reason> {
    let text = directory::read_small(&path.join(manifest::REASON)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// When a snapshot was last used, as noted on disk.
pub(crate) fn used_ms(path: &Path) -> Option<u64> {
    let modified = fs::metadata(path.join(directory::USED))
        .ok()?
        .modified()
        .ok()?;
    let since = modified.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// Bytes of all files in a directory.
pub(crate) fn size_of(path: &Path) -> u64 {
    let sizes = entries(path)
        .into_iter()
        .filter_map(|path| fs::symlink_metadata(path).ok());
    sizes.fold(0, |all, meta| all.saturating_add(meta.len()))
}
