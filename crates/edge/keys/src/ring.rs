//! The keys that may sign now: what their file says, as it is when somebody asks.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::AccessKey;
use crate::file::{KeysError, keys_in, read_keys};

type Keys = BTreeMap<String, AccessKey>;

/// The keys of a running server. A file that is changed is read again; what cannot be read, or should not be
/// readable, changes nothing and is complained of.
#[derive(Debug)]
pub struct KeyRing {
    path: Option<PathBuf>,
    /// A leaf among locks.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What the file was when it was read, or could not be.
    stamp: Option<Stamp>,
    keys: Arc<Keys>,
}

/// What tells one state of a file from another. `rekindle key` puts another file in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    mode: u32,
    changed: (i64, i64),
}

impl From<Metadata> for Stamp {
    fn from(of: Metadata) -> Self {
        Self {
            device: of.dev(),
            inode: of.ino(),
            bytes: of.len(),
            mode: of.mode(),
            changed: (of.ctime(), of.ctime_nsec()),
        }
    }
}

fn by_id(keys: Vec<AccessKey>) -> Arc<Keys> {
    let keys = keys.into_iter();
    Arc::new(keys.map(|key| (key.id.clone(), key)).collect())
}

impl KeyRing {
    /// The keys in a file, now and later.
    ///
    /// # Errors
    /// When it cannot be read, others can, or it holds something else or nothing.
    pub fn open(path: &Path) -> Result<Self, KeysError> {
        // First, so that a change between the two is seen.
        let stamp = fs::metadata(path).ok().map(Stamp::from);
        let keys = by_id(read_keys(path)?);
        Ok(Self {
            path: Some(path.to_owned()),
            state: Mutex::new(State { stamp, keys }),
        })
    }

    /// These keys for good.
    pub fn of(keys: Vec<AccessKey>) -> Self {
        Self {
            path: None,
            state: Mutex::new(State {
                stamp: None,
                keys: by_id(keys),
            }),
        }
    }

    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.now().len()
    }

    /// The key with this id, if there is one now.
    pub(crate) fn find(&self, id: &str) -> Option<AccessKey> {
        self.now().get(id).cloned()
    }

    fn now(&self) -> Arc<Keys> {
        let mut state = self.state.lock();
        if let Some(path) = &self.path {
            let stamp = fs::metadata(path).ok().map(Stamp::from);
            if stamp != state.stamp {
                state.stamp = stamp;
                state.read(path);
            }
        }
        Arc::clone(&state.keys)
    }
}

impl State {
    fn read(&mut self, path: &Path) {
        let file = File::open(path).map_err(|source| KeysError::Read {
            path: path.to_owned(),
            source,
        });
        // The last one may be revoked: then nobody can sign any more.
        match file.and_then(|file| keys_in(path, file)) {
            Ok(keys) => {
                self.keys = by_id(keys);
                tracing::info!(keys = self.keys.len(), "the file of keys was read again");
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "the keys stay as they were");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::KeyFile;

    #[test]
    fn what_the_file_says_holds_at_once_and_what_it_must_not_say_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let create = |name| KeyFile::open(&path).unwrap().create(name, None).unwrap();
        let first = create("first");
        let ring = KeyRing::open(&path).unwrap();
        assert_eq!(ring.find(&first.id), Some(first.clone()));
        let second = create("second");
        assert_eq!(ring.find(&second.id), Some(second.clone()));
        KeyFile::open(&path).unwrap().revoke("first").unwrap();
        assert_eq!(ring.find(&first.id), None);
        // Others can read it now: it is not read, and what was known stays.
        let third = create("third");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(ring.find(&third.id), None);
        assert_eq!(ring.find(&second.id), Some(second.clone()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(ring.find(&third.id), Some(third));
        fs::remove_file(&path).unwrap();
        assert_eq!(ring.count(), 2);
        // An empty one is a decision.
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(ring.count(), 0);
    }
}
