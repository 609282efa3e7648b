//! The file with the keys that may sign.
//!
//! Whoever can read it can run code here, so a file that others than its owner can read is refused. It is changed by
//! putting another in its place, so that whoever reads it meanwhile reads all of one or all of the other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::AccessKey;
use crate::section::{self, Entry};

/// Longest file in bytes; thousands of keys fit.
const MAX_BYTES: u64 = 1024 * 1024;
/// Permissions that group and others must not have.
const OTHERS: u32 = 0o077;
/// What ids of keys made here begin with.
const ID_PREFIX: &str = "AKRK";
/// Characters of an id after that, and what they are.
const ID_CHARS: usize = 16;
const ID_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Random bytes of a secret: 40 characters, as AWS's have.
const SECRET_BYTES: usize = 30;
/// Longest name of a section.
const NAME_CHARS: usize = 64;
/// Times that the file is opened anew because another was put in its place meanwhile.
const TRIES: usize = 100;

/// Why the keys could not be had, or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("cannot read the keys in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// The file cannot be changed.
    #[error("cannot write the keys to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// Others than its owner can read or change the file.
    #[error("others can read or change the keys in {} (mode {mode:04o}): chmod 600 it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no file of keys.
    #[error("{}, line {line}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which line, from 1 on.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// There is no key in it, so nobody could sign.
    #[error("there is no key in {}", .0.display())]
    Empty(PathBuf),
    /// There is no key of this name or id in it.
    #[error("there is no key {wanted} in {}", path.display())]
    NoSuchKey {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        wanted: String,
    },
    /// There is one of this name.
    #[error("there is a key {name} in {} already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A name cannot be a section's, or an account is none.
    #[error("{0}")]
    BadName(&'static str),
}

/// Reads the keys in a file.
///
/// # Errors
/// When it cannot be read, others can, or it holds something else or nothing.
pub fn read_keys(path: &Path) -> Result<Vec<AccessKey>, KeysError> {
    let failed = |source| read_failed(path, source);
    let keys = keys_in(path, File::open(path).map_err(failed)?)?;
    match keys.is_empty() {
        true => Err(KeysError::Empty(path.to_owned())),
        false => Ok(keys),
    }
}

fn read_failed(path: &Path, source: io::Error) -> KeysError {
    let path = path.to_owned();
    KeysError::Read { path, source }
}

/// The keys in a file that is open; none is no error.
pub(crate) fn keys_in(path: &Path, file: File) -> Result<Vec<AccessKey>, KeysError> {
    let entries = entries_of(path, &text_of(path, file)?)?;
    Ok(entries.into_iter().map(|entry| entry.key).collect())
}

fn text_of(path: &Path, file: File) -> Result<String, KeysError> {
    let failed = |source| read_failed(path, source);
    // Of the open file: another one may have the name by now.
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(KeysError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    match read.map_err(failed)? as u64 > MAX_BYTES {
        true => Err(failed(io::ErrorKind::FileTooLarge.into())),
        false => Ok(text),
    }
}

fn entries_of(path: &Path, text: &str) -> Result<Vec<Entry>, KeysError> {
    section::parse(text).map_err(|(line, what)| KeysError::Malformed {
        path: path.to_owned(),
        line,
        what,
    })
}

/// A file of keys that is being changed: nobody else changes it meanwhile.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    text: String,
    entries: Vec<Entry>,
    /// Locked as long as this is there.
    _lock: File,
}

impl KeyFile {
    /// Opens a file, or makes it, for its owner only.
    ///
    /// # Errors
    /// When it cannot be read or made, others can read it, or it holds something else.
    pub fn open(path: &Path) -> Result<Self, KeysError> {
        let failed = |source| read_failed(path, source);
        for _ in 0..TRIES {
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600);
            let lock = options.open(path).map_err(failed)?;
            lock.lock().map_err(failed)?;
            // Whoever had the lock before may have put another file in this one's place.
            let (ours, there) = (lock.metadata(), fs::metadata(path));
            let (ours, there) = (ours.map_err(failed)?, there.map_err(failed)?);
            if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
                continue;
            }
            let text = text_of(path, lock.try_clone().map_err(failed)?)?;
            let entries = entries_of(path, &text)?;
            return Ok(Self {
                path: path.to_owned(),
                text,
                entries,
                _lock: lock,
            });
        }
        Err(failed(io::ErrorKind::ResourceBusy.into()))
    }

    /// Its keys.
    pub fn keys(&self) -> impl Iterator<Item = &AccessKey> {
        self.entries.iter().map(|entry| &entry.key)
    }

    /// Makes a key and adds it.
    ///
    /// # Errors
    /// When the name is taken or none, the account is none, or the file cannot be written.
    pub fn create(self, name: &str, account: Option<&str>) -> Result<AccessKey, KeysError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        if name.is_empty() || name.len() > NAME_CHARS || !name.chars().all(fits) {
            return Err(KeysError::BadName(
                "a key's name has 1 to 64 letters, digits, dots, dashes, underscores or @",
            ));
        }
        if account.is_some_and(|account| !section::is_account(account)) {
            return Err(KeysError::BadName("an account has twelve digits"));
        }
        if self.keys().any(|key| key.name == name) {
            return Err(KeysError::Exists {
                path: self.path,
                name: name.to_owned(),
            });
        }
        let (id, secret) = random().map_err(|source| self.write_failed(source))?;
        let key = AccessKey {
            id,
            secret,
            name: name.to_owned(),
            account: account.map(str::to_owned),
        };
        let mut text = self.text.clone();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&section::written(&key));
        self.replace(&text)?;
        Ok(key)
    }

    /// Takes the key with this id, or of this name, out of the file: a server that reads it takes it no more.
    ///
    /// # Errors
    /// When there is none, or the file cannot be written.
    pub fn revoke(self, wanted: &str) -> Result<AccessKey, KeysError> {
        let is = |entry: &&Entry| entry.key.id == wanted || entry.key.name == wanted;
        let Some(entry) = self.entries.iter().find(is) else {
            return Err(KeysError::NoSuchKey {
                path: self.path,
                wanted: wanted.to_owned(),
            });
        };
        self.replace(&section::without(&self.text, &entry.lines))?;
        Ok(entry.key.clone())
    }

    fn write_failed(&self, source: io::Error) -> KeysError {
        KeysError::Write {
            path: self.path.clone(),
            source,
        }
    }

    fn replace(&self, text: &str) -> Result<(), KeysError> {
        let directory = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let write = || -> io::Result<()> {
            // Readable by its owner only, as `tempfile` makes it.
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(|source| self.write_failed(source))
    }
}

/// A new id and a new secret.
fn random() -> io::Result<(String, String)> {
    let mut bytes = [0; ID_CHARS + SECRET_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let (id, secret) = bytes.split_at(ID_CHARS);
    let id = id.iter().map(|byte| {
        let letter = ID_ALPHABET.get(usize::from(byte % 32));
        char::from(letter.copied().unwrap_or(b'A'))
    });
    let id = ID_PREFIX.chars().chain(id).collect();
    Ok((id, STANDARD_NO_PAD.encode(secret)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        fs::write(&path, "[a]\naws_access_key_id=A\naws_secret_access_key=s\n").unwrap();
        for (mode, fits) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = read_keys(&path);
            assert_eq!(read.is_ok(), fits, "{mode:o}");
            if !fits {
                assert!(matches!(read, Err(KeysError::Exposed { .. })));
                assert!(matches!(
                    KeyFile::open(&path),
                    Err(KeysError::Exposed { .. })
                ));
            }
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "# none\n").unwrap();
        assert!(matches!(read_keys(&path), Err(KeysError::Empty(_))));
        let missing = read_keys(&directory.path().join("missing"));
        assert!(matches!(missing, Err(KeysError::Read { .. })));
    }

    #[test]
    fn keys_are_made_listed_and_revoked_in_a_file_of_ones_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let open = || KeyFile::open(&path).unwrap();
        let alice = open().create("alice", None).unwrap();
        let bob = open().create("bob", Some("111122223333")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!((alice.id.len(), alice.secret.len()), (20, 40));
        assert!(alice.id != bob.id && alice.secret != bob.secret);
        assert_eq!(read_keys(&path).unwrap(), [alice.clone(), bob.clone()]);
        let twice = open().create("bob", None);
        assert!(matches!(twice, Err(KeysError::Exists { .. })));
        for (name, account) in [("", None), ("a b", None), ("]", None), ("c", Some("12"))] {
            assert!(matches!(
                open().create(name, account),
                Err(KeysError::BadName(_))
            ));
        }
        assert_eq!(open().revoke("alice").unwrap(), alice);
        assert!(matches!(
            open().revoke("alice"),
            Err(KeysError::NoSuchKey { .. })
        ));
        assert_eq!(open().keys().collect::<Vec<_>>(), [&bob]);
        assert_eq!(open().revoke(&bob.id).unwrap(), bob);
        assert!(matches!(read_keys(&path), Err(KeysError::Empty(_))));
        let names = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(names, 1, "nothing else is left");
    }

    #[test]
    fn whoever_changes_the_file_at_once_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        std::thread::scope(|scope| {
            for number in 0..16 {
                let path = &path;
                scope.spawn(move || {
                    let file = KeyFile::open(path).unwrap();
                    file.create(&format!("k{number}"), None).unwrap();
                });
            }
        });
        assert_eq!(read_keys(&path).unwrap().len(), 16);
    }
}
