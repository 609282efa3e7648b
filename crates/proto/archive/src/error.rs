//! Why an archive is refused.

use std::io;

use proto_lambda::limits;
use zip::result::ZipError;

/// Most entries of a zip.
pub const MAX_ENTRIES: usize = 100_000;

/// Why a zip was refused. The texts reach API clients; the first three are AWS's.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It is no zip, or a damaged one.
    #[error("Could not unzip uploaded file. Please check your file, then try to upload again.")]
    NotZip,
    /// It has no entries.
    #[error("Uploaded file must be a non-empty zip")]
    Empty,
    /// It unpacks to too much.
    #[error("Unzipped size must be smaller than {} bytes", limits::UNZIPPED_BYTES)]
    TooLarge,
    /// It has too many entries.
    #[error("The zip file must have at most {MAX_ENTRIES} entries")]
    TooManyEntries,
    /// A name is absolute, climbs out of the root, or is too long.
    #[error("The zip file holds an entry with an unsafe name: {name}")]
    UnsafeName {
        /// The entry.
        name: String,
    },
    /// A symlink leads out of the root.
    #[error(
        "The zip file holds a symbolic link that leads out of the function's code: {name} -> {target}"
    )]
    UnsafeLink {
        /// The entry.
        name: String,
        /// Where it leads.
        target: String,
    },
    /// Two entries cannot both be.
    #[error("The zip file holds entries that exclude each other: {name}")]
    Conflict {
        /// The second of them.
        name: String,
    },
    /// A device, pipe or socket.
    #[error(
        "The zip file holds an entry that is neither file, directory nor symbolic link: {name}"
    )]
    SpecialFile {
        /// The entry.
        name: String,
    },
    /// The disk is full, or would be.
    #[error(
        "The server's disk has no room for the code: it needs {needed} bytes, and {free} are free"
    )]
    NoRoom {
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The disk.
    #[error("writing the unpacked code failed")]
    Io(#[source] io::Error),
}

impl From<ZipError> for UnpackError {
    fn from(_: ZipError) -> Self {
        // Whatever is wrong with it, AWS has one text for it.
        Self::NotZip
    }
}
