//! Zips for tests.

#![allow(
    dead_code,
    reason = "not every test that shares this module needs all of it"
)]

use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use zip::{ZipArchive, ZipWriter, write::SimpleFileOptions};

/// A zip with one file.
pub(crate) fn zip_with(name: &str, content: &str) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer
        .start_file(name, SimpleFileOptions::default())
        .unwrap();
    writer.write_all(content.as_bytes()).unwrap();
    writer.finish().unwrap().into_inner()
}

/// The text of a file in a zip.
pub(crate) fn text_in(zip: &Path, name: &str) -> String {
    let mut zip = ZipArchive::new(File::open(zip).unwrap()).unwrap();
    let mut text = String::new();
    let mut file = zip.by_name(name).unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}
