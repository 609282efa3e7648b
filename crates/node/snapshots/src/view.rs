//! A look at a store from outside, while a server may be using it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::authentic::{KeyError, ServiceKey};
use crate::directory::{self, Layout, entries, key_of};
use crate::key::SnapshotKey;
use crate::manifest::{self, Base, Manifest};
use crate::ready::check_all;
use crate::store::{read_reason, size_of, used_ms};

/// What is known of a snapshot on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum ListedStatus {
    /// Can be restored from, as far as its manifest tells.
    Ready,
    /// Was no good.
    Quarantined {
        /// Why.
        reason: String,
    },
}

/// One snapshot on disk.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Its name.
    pub key: SnapshotKey,
    /// Whether it can be used.
    #[serde(flatten)]
    pub status: ListedStatus,
    /// Bytes on disk.
    pub bytes: u64,
    /// When it was last used, in milliseconds since 1970; none if it is not known.
    pub used_ms: Option<u64>,
    /// What it is; none if its manifest is no good.
    pub manifest: Option<Manifest>,
    /// Where it lies.
    pub directory: PathBuf,
}

/// A store as somebody else than its owner sees it.
#[derive(Debug)]
pub struct StoreView {
    layout: Layout,
    service_key: ServiceKey,
}

impl StoreView {
    /// Looks at the store in `directory`; nothing is made or changed.
    pub fn open(directory: &Path) -> Result<Self, KeyError> {
        let layout = Layout::new(directory);
        Ok(Self {
            service_key: ServiceKey::read(&layout.key_file())?,
            layout,
        })
    }

    /// All snapshots: those in use first, by name.
    pub fn list(&self) -> Vec<Listed> {
        let places = [self.layout.ready(), self.layout.quarantine()];
        places
            .iter()
            .flat_map(|place| entries(place))
            .filter_map(|path| self.look(path))
            .collect()
    }

    /// Those whose names begin with `prefix`.
    pub fn find(&self, prefix: &str) -> Vec<Listed> {
        let mut all = self.list();
        all.retain(|listed| listed.key.as_str().starts_with(prefix));
        all
    }

    /// Reads every byte of a snapshot; what is wrong with it, if anything. Of what it lies over only that
    /// it is there and the same.
    pub fn verify(&self, listed: &Listed) -> Option<String> {
        let checked = self.manifest(&listed.directory, &listed.key);
        let checked = checked.and_then(|manifest| {
            check_all(&listed.directory, &manifest, &self.service_key)
                .map_err(|damage| damage.to_string())?;
            manifest.base.map_or(Ok(()), |base| self.verify_base(&base))
        });
        checked.err()
    }

    fn verify_base(&self, base: &Base) -> Result<(), String> {
        let directory = self.layout.ready_one(&base.key);
        if !directory.exists() {
            return Err(format!(
                "the snapshot {} that it lies over is no more",
                base.key
            ));
        }
        let manifest = self.manifest(&directory, &base.key)?;
        match manifest.digest(&self.service_key) {
            Ok(digest) if digest == base.digest => Ok(()),
            _ => Err(format!(
                "the snapshot {} that it lies over was made anew",
                base.key
            )),
        }
    }

    /// Deletes a snapshot, and before it those that lie over it. A server that has one open notices.
    pub fn remove(&self, listed: &Listed) -> io::Result<()> {
        if listed.directory == self.layout.ready_one(&listed.key) {
            for over in self.list() {
                let base = over.manifest.as_ref().and_then(|m| m.base.as_ref());
                if over.status == ListedStatus::Ready
                    && base.is_some_and(|base| base.key == listed.key)
                {
                    self.remove(&over)?;
                }
            }
        }
        self.layout.discard(&listed.directory)
    }

    fn look(&self, path: PathBuf) -> Option<Listed> {
        let key = key_of(&path)?;
        // It may go while we look.
        fs::symlink_metadata(&path).ok()?;
        let manifest = self.manifest(&path, &key);
        let status = match (read_reason(&path), &manifest) {
            (Some(noted), _) => ListedStatus::Quarantined {
                reason: noted.reason,
            },
            (None, Ok(_)) => ListedStatus::Ready,
            (None, Err(reason)) => ListedStatus::Quarantined {
                reason: reason.clone(),
            },
        };
        Some(Listed {
            key,
            status,
            bytes: size_of(&path),
            used_ms: used_ms(&path),
            manifest: manifest.ok(),
            directory: path,
        })
    }

    fn manifest(&self, path: &Path, key: &SnapshotKey) -> Result<Manifest, String> {
        let bytes = directory::read_small(&path.join(manifest::MANIFEST))
            .map_err(|error| format!("the manifest cannot be read: {error}"))?;
        Manifest::from_bytes(&bytes, &self.service_key, key).map_err(|error| error.to_string())
    }
}
