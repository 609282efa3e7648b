//! Zips for tests.

#![allow(
    dead_code,
    reason = "not every test that shares this module needs all of it"
)]

use std::io::{Cursor, Write};

use zip::{ZipWriter, write::SimpleFileOptions};

/// What an entry is.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// Content and permission bits.
    File(Vec<u8>, u32),
    /// A directory.
    Directory,
    /// A symlink with its target.
    Link(String),
}

/// A zip with these entries.
pub(crate) fn zip_of(entries: &[(&str, Entry)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, entry) in entries {
        let options = SimpleFileOptions::default();
        match entry {
            Entry::File(content, mode) => {
                writer
                    .start_file(*name, options.unix_permissions(*mode))
                    .unwrap();
                writer.write_all(content).unwrap();
            }
            Entry::Directory => writer.add_directory(*name, options).unwrap(),
            Entry::Link(target) => writer.add_symlink(*name, target.as_str(), options).unwrap(),
        }
    }
    writer.finish().unwrap().into_inner()
}

/// A zip with one file.
pub(crate) fn zip_with(name: &str, content: &str) -> Vec<u8> {
    zip_of(&[(name, Entry::File(content.as_bytes().to_vec(), 0o644))])
}
