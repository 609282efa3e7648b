//! What a snapshot is, beside its files: read by people, checked before a restore.

use serde::{Deserialize, Serialize};

use crate::authentic::ServiceKey;
use crate::key::{KeyParts, SnapshotKey};

/// Name of the manifest in a snapshot's directory.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Name of the reason in a quarantined snapshot's directory.
pub(crate) const REASON: &str = "reason.json";
/// Most snapshots whose files one restore needs.
pub const MAX_LAYERS: usize = 4;
/// Version of the manifest; another one is not read.
pub const MANIFEST_VERSION: u32 = 2;
/// Longest manifest in bytes.
pub(crate) const MAX_BYTES: u64 = 1 << 20;
/// Most files of a snapshot.
pub(crate) const MAX_FILES: usize = 16;

/// What a person wants to know of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Function name; empty for a template.
    pub function: String,
    /// `$LATEST` or a number.
    pub version: String,
    /// Runtime identifier.
    pub runtime: String,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// How long the original stood still for it, in microseconds.
    pub capture_us: u64,
}

/// One file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Its name in the snapshot's directory.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its keyed hash, in hex.
    pub hash: String,
}

/// The snapshot that another one lies over: it holds pages that the other does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Its name.
    pub key: SnapshotKey,
    /// Keyed hash of its manifest, and so of its files: one made anew under the same name is another.
    pub digest: String,
}

/// Everything about a snapshot but its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`] of the writer.
    pub version: u32,
    /// The snapshot's name.
    pub key: SnapshotKey,
    /// What it is made of; `key` is their hash.
    pub parts: KeyParts,
    /// For people.
    pub about: About,
    /// In the order in which they were given.
    pub files: Vec<FileRecord>,
    /// What it lies over.
    pub base: Option<Base>,
}

/// A manifest as it lies on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    manifest: Manifest,
    /// Keyed hash of the manifest's JSON without blanks.
    hash: String,
}

/// Why a manifest is no good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("the manifest cannot be read")]
    Json(#[from] serde_json::Error),
    #[error("the manifest was not written by this service, or was changed since")]
    Hash,
    #[error("the manifest has version {0}, and {MANIFEST_VERSION} is known")]
    Version(u32),
    #[error("the manifest belongs to another snapshot")]
    Key,
    #[error("the manifest names files that cannot be")]
    Files,
}

impl Manifest {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        let sum = |all: u64, file: &FileRecord| all.saturating_add(file.bytes);
        self.files.iter().fold(0, sum)
    }

    /// The keyed hash by which those that lie over it know it.
    pub(crate) fn digest(&self, key: &ServiceKey) -> serde_json::Result<String> {
        Ok(key.of_bytes(&serde_json::to_vec(self)?))
    }

    pub(crate) fn to_bytes(&self, key: &ServiceKey) -> serde_json::Result<Vec<u8>> {
        let hash = self.digest(key)?;
        let manifest = self.clone();
        serde_json::to_vec_pretty(&Signed { manifest, hash })
    }

    /// Reads and authenticates a manifest that lies in the directory of `wanted`.
    pub(crate) fn from_bytes(
        bytes: &[u8],
        key: &ServiceKey,
        wanted: &SnapshotKey,
    ) -> Result<Self, ManifestError> {
        let signed: Signed = serde_json::from_slice(bytes)?;
        let manifest = signed.manifest;
        // Authenticated before anything in it is believed.
        let hash = manifest.digest(key)?;
        if !ServiceKey::same(&hash, &signed.hash) {
            return Err(ManifestError::Hash);
        }
        if manifest.version != MANIFEST_VERSION {
            return Err(ManifestError::Version(manifest.version));
        }
        if manifest.key != *wanted || manifest.parts.key() != *wanted {
            return Err(ManifestError::Key);
        }
        let names = manifest.files.iter().all(|file| is_file_name(&file.name));
        if !names || manifest.files.is_empty() || manifest.files.len() > MAX_FILES {
            return Err(ManifestError::Files);
        }
        Ok(manifest)
    }
}

/// Whether a file of a snapshot may have this name.
pub(crate) fn is_file_name(name: &str) -> bool {
    let word =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len())
        && name.bytes().all(word)
        && !name.starts_with('.')
        && name != MANIFEST
        && name != REASON
}
