//! Unpacks a zip into a directory that nobody else knows yet.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Cursor, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

use proto_lambda::limits;
use zip::{ZipArchive, read::ZipFile, result::ZipError};

use super::tree::Node;

/// Most entries of a zip.
pub const MAX_ENTRIES: usize = 100_000;
/// Longest target of a symlink in bytes.
const TARGET_BYTES: u64 = 4096;
/// Signature of an entry in a zip's central directory (APPNOTE.TXT, 4.3.12).
const CENTRAL_SIGNATURE: &[u8; 4] = b"PK\x01\x02";

const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFLNK: u32 = 0o120_000;

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

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// Unpacks `zip` into the new directory `into`. On an error the directory may be half made.
pub(crate) fn unpack(zip: &[u8], into: &Path) -> Result<(), UnpackError> {
    // The reader takes memory for each entry, so count before it starts.
    let signatures = zip
        .windows(4)
        .filter(|window| window == CENTRAL_SIGNATURE)
        .count();
    if signatures > 2 * MAX_ENTRIES {
        return Err(UnpackError::TooManyEntries);
    }
    let mut archive = Archive::new(Cursor::new(zip))?;
    let tree = plan(&mut archive)?;
    write(&mut archive, &tree, into)
}

/// Reads names, kinds and declared sizes, and checks them all.
fn plan(archive: &mut Archive<'_>) -> Result<Node, UnpackError> {
    if archive.is_empty() {
        return Err(UnpackError::Empty);
    }
    if archive.len() > MAX_ENTRIES {
        return Err(UnpackError::TooManyEntries);
    }
    let mut root = Node::root();
    let mut declared = 0_u64;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        declared = declared.saturating_add(entry.size());
        if declared > limits::UNZIPPED_BYTES {
            return Err(UnpackError::TooLarge);
        }
        let name = entry.name_raw().to_vec();
        let leaf = node_of(&mut entry, index, &name)?;
        root.insert(&name, leaf)?;
    }
    root.check_links()?;
    Ok(root)
}

fn node_of(
    entry: &mut ZipFile<'_, Cursor<&[u8]>>,
    index: usize,
    name: &[u8],
) -> Result<Node, UnpackError> {
    let mode = entry.unix_mode().unwrap_or(0);
    match mode & S_IFMT {
        S_IFLNK => {
            let mut target = Vec::new();
            entry
                .take(TARGET_BYTES)
                .read_to_end(&mut target)
                .map_err(|_| UnpackError::NotZip)?;
            Ok(Node::Link(target))
        }
        S_IFDIR => Ok(Node::root()),
        0 | S_IFREG if name.ends_with(b"/") => Ok(Node::root()),
        0 | S_IFREG => Ok(Node::File {
            index,
            executable: mode & 0o111 != 0,
        }),
        _ => Err(UnpackError::SpecialFile {
            name: String::from_utf8_lossy(name).escape_debug().to_string(),
        }),
    }
}

/// Writes the tree: directories 755, files 755 or 644, whatever the umask.
fn write(archive: &mut Archive<'_>, tree: &Node, into: &Path) -> Result<(), UnpackError> {
    let mut room = limits::UNZIPPED_BYTES;
    let mut todo: Vec<(PathBuf, &Node)> = vec![(into.to_owned(), tree)];
    while let Some((path, node)) = todo.pop() {
        match node {
            Node::Directory(entries) => {
                DirBuilder::new()
                    .mode(0o755)
                    .create(&path)
                    .map_err(UnpackError::Io)?;
                set_mode(&path, 0o755)?;
                todo.extend(
                    entries
                        .iter()
                        .map(|(name, child)| (path.join(OsStr::from_bytes(name)), child)),
                );
            }
            Node::Link(target) => {
                symlink(OsStr::from_bytes(target), &path).map_err(UnpackError::Io)?
            }
            Node::File { index, executable } => {
                room -= write_file(archive.by_index(*index)?, &path, *executable, room)?;
            }
        }
    }
    Ok(())
}

/// Writes one file of at most `room` bytes and says how many there were.
fn write_file(
    mut entry: ZipFile<'_, Cursor<&[u8]>>,
    path: &Path,
    executable: bool,
    room: u64,
) -> Result<u64, UnpackError> {
    let mode = if executable { 0o755 } else { 0o644 };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(UnpackError::Io)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut written = 0_u64;
    loop {
        // Errors of reading are the archive's fault, errors of writing the disk's.
        let count = entry.read(&mut buffer).map_err(|_| UnpackError::NotZip)?;
        if count == 0 {
            break;
        }
        written += count as u64;
        // Declared sizes may lie.
        if written > room {
            return Err(UnpackError::TooLarge);
        }
        io::Write::write_all(&mut file, &buffer[..count]).map_err(UnpackError::Io)?;
    }
    set_mode(path, mode)?;
    Ok(written)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), UnpackError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(UnpackError::Io)
}
