//! A function's code as a zip archive, from a directory or as it is.

use std::fs;
use std::io::{self, Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Most bytes of code before compression; AWS accepts as much unzipped.
const MAX_BYTES: u64 = 250 << 20;

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackageError {
    /// Reading the code failed.
    #[error("{path}")]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The code is longer than an API accepts.
    #[error("{0} holds more than {mb} MB of code", mb = MAX_BYTES >> 20)]
    TooLarge(PathBuf),
    /// The archive could not be written.
    #[error("cannot make the archive")]
    Zip(#[from] zip::result::ZipError),
}

/// The archive's bytes: of a directory's files (links followed to files, hidden version control
/// left out), or of an archive that is already one.
///
/// # Errors
/// When the code cannot be read or is too large.
pub(crate) fn package(code: &Path) -> Result<Vec<u8>, PackageError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PackageError::Read { path, source }
    };
    let metadata = fs::metadata(code).map_err(failed(code))?;
    if metadata.is_file() {
        if metadata.len() > MAX_BYTES {
            return Err(PackageError::TooLarge(code.to_owned()));
        }
        return fs::read(code).map_err(failed(code));
    }
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let mut left = MAX_BYTES;
    // Directories to read; depth-first, sorted, so that equal code gives equal archives.
    let mut stack = vec![PathBuf::new()];
    while let Some(relative) = stack.pop() {
        let directory = code.join(&relative);
        let mut names: Vec<_> = fs::read_dir(&directory)
            .and_then(|entries| entries.map(|e| e.map(|e| e.file_name())).collect())
            .map_err(failed(&directory))?;
        names.sort();
        for name in names {
            let inner = relative.join(&name);
            let path = code.join(&inner);
            let metadata = fs::metadata(&path).map_err(failed(&path))?;
            if metadata.is_dir() {
                if name != ".git" {
                    stack.push(inner);
                }
                continue;
            }
            left = left
                .checked_sub(metadata.len())
                .ok_or_else(|| PackageError::TooLarge(code.to_owned()))?;
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Deflated)
                .unix_permissions(metadata.permissions().mode() & 0o777);
            archive.start_file_from_path(&inner, options)?;
            let bytes = fs::read(&path).map_err(failed(&path))?;
            archive.write_all(&bytes).map_err(failed(&path))?;
        }
    }
    Ok(archive.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_becomes_the_same_archive_each_time() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("app.py"), "x = 1\n").unwrap();
        fs::create_dir(directory.path().join("lib")).unwrap();
        fs::write(directory.path().join("lib/b.py"), "y = 2\n").unwrap();
        let first = package(directory.path()).unwrap();
        assert_eq!(first, package(directory.path()).unwrap());
        let mut archive = zip::ZipArchive::new(Cursor::new(first)).unwrap();
        let mut names: Vec<String> = archive
            .file_names()
            .map(|name| name.unwrap().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["app.py", "lib/b.py"]);
        assert_eq!(archive.by_name("app.py").unwrap().size(), 6);
    }

    #[test]
    fn missing_code_names_its_path() {
        let error = package(Path::new("/no/such/code")).unwrap_err();
        assert_eq!(error.to_string(), "/no/such/code");
    }
}
