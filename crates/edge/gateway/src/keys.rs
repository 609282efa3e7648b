//! The file with the keys that may sign.
//!
//! It has the form of `~/.aws/credentials`, so that a server's file can be a client's too: each section is a key.
//!
//! ```text
//! [alice]
//! aws_access_key_id = AKIDALICE
//! aws_secret_access_key = any text without blanks
//! # more of either, and other settings, which say nothing here
//! ```
//!
//! Whoever can read it can run code here, so a file that others than its owner can read is refused.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::AccessKey;

/// Longest file in bytes; thousands of keys fit.
const MAX_BYTES: u64 = 1024 * 1024;
/// Permissions that group and others must not have.
const OTHERS: u32 = 0o077;

/// Why the keys could not be had.
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
}

/// Reads the keys in a file.
///
/// # Errors
/// When it cannot be read, others can, or it holds something else.
pub fn read_keys(path: &Path) -> Result<Vec<AccessKey>, KeysError> {
    let failed = |source| KeysError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
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
    if read.map_err(failed)? as u64 > MAX_BYTES {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    let keys = parse(&text).map_err(|(line, what)| KeysError::Malformed {
        path: path.to_owned(),
        line,
        what,
    })?;
    if keys.is_empty() {
        return Err(KeysError::Empty(path.to_owned()));
    }
    Ok(keys)
}

/// A section while it is read.
#[derive(Default)]
struct Section {
    line: usize,
    id: Option<String>,
    secret: Option<String>,
}

impl Section {
    /// Adds its key to the others.
    fn close(self, keys: &mut BTreeMap<String, String>) -> Result<(), (usize, &'static str)> {
        match (self.id, self.secret) {
            (Some(id), Some(secret)) => match keys.insert(id, secret) {
                None => Ok(()),
                Some(_) => Err((self.line, "this access key was there before")),
            },
            (None, None) => Ok(()),
            _ => Err((
                self.line,
                "a key has an aws_access_key_id and an aws_secret_access_key",
            )),
        }
    }
}

/// The keys in a text; else which line is wrong, and what with it.
fn parse(text: &str) -> Result<Vec<AccessKey>, (usize, &'static str)> {
    let mut keys = BTreeMap::new();
    let mut section: Option<Section> = None;
    for (line, content) in (1..).zip(text.lines().map(str::trim)) {
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if content.starts_with('[') && content.ends_with(']') {
            let new = Section {
                line,
                ..Section::default()
            };
            if let Some(before) = section.replace(new) {
                before.close(&mut keys)?;
            }
            continue;
        }
        let (name, value) = content.split_once('=').ok_or((line, "no 'name = value'"))?;
        let section = section
            .as_mut()
            .ok_or((line, "a setting before the first [section]"))?;
        let value = value.trim();
        let place = match name.trim() {
            "aws_access_key_id" => &mut section.id,
            "aws_secret_access_key" => &mut section.secret,
            _ => continue,
        };
        if value.is_empty() || value.contains(char::is_whitespace) {
            return Err((line, "a key is a text without blanks"));
        }
        if place.replace(value.to_owned()).is_some() {
            return Err((line, "this section has it twice"));
        }
    }
    if let Some(last) = section {
        last.close(&mut keys)?;
    }
    let keys = keys.into_iter();
    Ok(keys.map(|(id, secret)| AccessKey { id, secret }).collect())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_credentials_file_is_read_as_clients_read_it() {
        let text = "# ours\n[default]\naws_access_key_id = A\naws_secret_access_key=s+/=\nregion = x\n\n\
            [empty]\n[b]\naws_secret_access_key = t\naws_access_key_id = B\n";
        let keys = parse(text).unwrap();
        let pairs: Vec<_> = keys.iter().map(|key| (&*key.id, &*key.secret)).collect();
        assert_eq!(pairs, [("A", "s+/="), ("B", "t")]);
        for (wrong, line) in [
            ("aws_access_key_id = A", 1),
            ("[a]\naws_access_key_id = A", 1),
            ("[a]\nnonsense", 2),
            ("[a]\naws_access_key_id = A B", 2),
            ("[a]\naws_access_key_id =", 2),
            ("[a]\naws_access_key_id=A\naws_access_key_id=B", 3),
            (
                "[a]\naws_access_key_id=A\naws_secret_access_key=1\n[b]\naws_access_key_id=A\naws_secret_access_key=2",
                4,
            ),
        ] {
            assert_eq!(parse(wrong).unwrap_err().0, line, "{wrong}");
        }
    }

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
            }
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "# none\n").unwrap();
        assert!(matches!(read_keys(&path), Err(KeysError::Empty(_))));
        let missing = read_keys(&directory.path().join("missing"));
        assert!(matches!(missing, Err(KeysError::Read { .. })));
    }
}
