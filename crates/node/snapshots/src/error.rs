//! Why the store could not do something.

use std::io;
use std::path::{Path, PathBuf};

use crate::authentic::KeyError;
use crate::evict::NoRoom;
use crate::key::SnapshotKey;
use crate::manifest::MAX_LAYERS;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file could not be read or written.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("{} is in use by another server", .0.display())]
    Locked(PathBuf),
    /// The service key is no good.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Somebody else makes the same snapshot at this moment.
    #[error("this snapshot is being made already")]
    Pending,
    /// It was made already.
    #[error("this snapshot is there already")]
    Ready,
    /// The snapshot is larger than what may ever be kept.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// A snapshot without files, with too many, or with a name that is none.
    #[error("a snapshot cannot have a file of the name {0:?}")]
    FileName(String),
    /// What it lies over went away meanwhile.
    #[error("the snapshot {0} that it lies over is no more")]
    BaseGone(SnapshotKey),
    /// It would lie over too many others.
    #[error("a snapshot lies over at most {} others", MAX_LAYERS - 1)]
    TooManyLayers,
    /// A manifest could not be written.
    #[error("the manifest could not be written")]
    Manifest(#[from] serde_json::Error),
}

pub(crate) fn failed<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}
