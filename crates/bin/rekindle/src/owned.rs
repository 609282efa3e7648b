//! A data directory that is one process's alone.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use edge_cli::{ExitCode, Failure};

/// The file whose lock says that a process is there. It says nothing else, and stays.
const LOCK: &str = "owner.lock";

/// A data directory of this process, which nobody else reads or uses.
#[must_use = "it is anybody's again when this is dropped"]
pub(crate) struct Owned {
    _lock: File,
}

impl Owned {
    /// Makes the directory if it is missing, and takes it.
    pub(crate) fn take(path: &Path) -> Result<Self, Failure> {
        let failed = |doing: &str, error: &std::io::Error| {
            let text = format!("cannot {doing} {}: {error}", path.display());
            Failure::new(ExitCode::Failed, text).next("choose another directory with --data")
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| failed("make", &error))?;
        let mode = fs::metadata(path).map_err(|error| failed("look at", &error))?;
        if mode.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                .map_err(|error| failed("close to others", &error))?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(|error| failed("lock", &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                let text = format!("another process uses {}", path.display());
                Err(Failure::new(ExitCode::Failed, text)
                    .next("stop it, or choose another directory with --data"))
            }
            Err(TryLockError::Error(error)) => Err(failed("lock", &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_and_no_reader() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("a/b");
        let owned = Owned::take(&path).expect("taken");
        let mode = || fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(), 0o700);
        let second = Owned::take(&path).err().expect("refused");
        assert!(
            second.to_string().contains("another process uses"),
            "{second}"
        );
        drop(owned);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("changed");
        let _owned = Owned::take(&path).expect("taken again");
        assert_eq!(mode(), 0o700);
    }
}
