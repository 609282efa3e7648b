//! The service key, and the keyed hash that tells our own files from edited or foreign ones.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of the key.
const KEY_BYTES: usize = 32;
/// Bytes read from a file at once.
const PIECE: usize = 256 * 1024;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It could not be read or made.
    #[error("the service key {} cannot be read", path.display())]
    Io {
        /// The key's file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// Somebody else may have read or written it.
    #[error("the service key {} must be a file of mode 0600 of this user; it has mode {mode:o}", path.display())]
    Exposed {
        /// The key's file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It has another length than a key has.
    #[error("the service key {} is damaged", .0.display())]
    Damaged(PathBuf),
}

/// The service's own key; made once, never leaves this machine.
#[derive(Clone)]
pub struct ServiceKey([u8; KEY_BYTES]);

impl ServiceKey {
    /// Reads the key, or makes it where there is none.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        match Self::read(path) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        make(path).map_err(|source| KeyError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::read(path)
    }

    /// Reads the key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Io {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        let mode = meta.mode() & 0o7777;
        let own = meta.uid() == rustix::process::geteuid().as_raw();
        if mode & 0o077 != 0 || !own || !meta.is_file() {
            let path = path.to_owned();
            return Err(KeyError::Exposed { path, mode });
        }
        let mut bytes = Vec::with_capacity(KEY_BYTES);
        file.take(KEY_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        let key = bytes.try_into();
        key.map(Self)
            .map_err(|_| KeyError::Damaged(path.to_owned()))
    }

    /// The keyed hash of a text.
    pub(crate) fn of_bytes(&self, bytes: &[u8]) -> String {
        blake3::keyed_hash(&self.0, bytes).to_hex().to_string()
    }

    /// The keyed hash of a file from its start, and its length.
    pub(crate) fn of_file(&self, mut file: &File) -> io::Result<(String, u64)> {
        use std::io::{Seek, SeekFrom};
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        let mut piece = vec![0; PIECE];
        let mut length = 0u64;
        file.seek(SeekFrom::Start(0))?;
        loop {
            match file.read(&mut piece)? {
                0 => return Ok((hasher.finalize().to_hex().to_string(), length)),
                count => {
                    hasher.update(&piece[..count]);
                    length = length.saturating_add(count as u64);
                }
            }
        }
    }

    /// Whether two keyed hashes are the same, in a time that tells nothing.
    pub(crate) fn same(ours: &str, given: &str) -> bool {
        match (blake3::Hash::from_hex(ours), blake3::Hash::from_hex(given)) {
            (Ok(ours), Ok(given)) => ours == given,
            _ => false,
        }
    }
}

/// Writes a new key beside its place and links it there: who comes second keeps the first one's.
fn make(path: &Path) -> io::Result<()> {
    let mut bytes = [0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let fresh = path.with_extension(uuid::Uuid::new_v4().to_string());
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    let written = file.write_all(&bytes).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&fresh, path));
    let _ = fs::remove_file(&fresh);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
