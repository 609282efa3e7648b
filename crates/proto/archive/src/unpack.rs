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
use zip::{ZipArchive, read::ZipFile};

use crate::error::{MAX_ENTRIES, UnpackError};
use crate::tree::TreeNode;

/// Longest target of a symlink in bytes.
const TARGET_BYTES: u64 = 4096;
/// Signature of an entry in a zip's central directory (APPNOTE.TXT, 4.3.12).
const CENTRAL_SIGNATURE: &[u8; 4] = b"PK\x01\x02";

const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFLNK: u32 = 0o120_000;

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// Bytes of a disk that code leaves free: other things of the machine need some. Of a small disk, [`LEFT_PART`] of it.
const LEFT_FREE: u64 = 256 * 1024 * 1024;
/// What code leaves free of a small disk: one part in so many.
const LEFT_PART: u64 = 32;
/// Bytes that each entry takes beside its content, about: an inode, and a part of a block.
const ENTRY_BYTES: u64 = 4096;

/// Unpacks `zip` into the new directory `into`. On an error the directory may be half made.
pub fn unpack(zip: &[u8], into: &Path) -> Result<(), UnpackError> {
    let (mut archive, tree, declared) = open(zip)?;
    let entries = (archive.len() as u64).saturating_mul(ENTRY_BYTES);
    check_room(
        into.parent().unwrap_or(into),
        declared.saturating_add(entries),
    )?;
    write(&mut archive, &tree, into)
}

/// Whether the disk of a directory has room for so many bytes more, and some are left then.
pub fn check_room(directory: &Path, needed: u64) -> Result<(), UnpackError> {
    let disk = rustix::fs::statvfs(directory).map_err(|error| UnpackError::Io(error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let size = disk.f_blocks.saturating_mul(disk.f_frsize);
    let left = LEFT_FREE.min(size / LEFT_PART);
    match free.saturating_sub(left) >= needed {
        true => Ok(()),
        false => Err(UnpackError::NoRoom { needed, free }),
    }
}

/// Bytes that `zip` says that it unpacks to; [`check`] has seen that it keeps to its limits.
pub fn declared(zip: &[u8]) -> Result<u64, UnpackError> {
    open(zip).map(|(_, _, declared)| declared)
}

/// Whether `zip` could be unpacked, but for the disk: reads every byte of it and writes none. How many bytes it
/// unpacks to.
pub fn check(zip: &[u8]) -> Result<u64, UnpackError> {
    let (mut archive, ..) = open(zip)?;
    let mut room = limits::UNZIPPED_BYTES;
    for index in 0..archive.len() {
        room -= copy(archive.by_index(index)?, &mut io::sink(), room)?;
    }
    Ok(limits::UNZIPPED_BYTES - room)
}

fn open(zip: &[u8]) -> Result<(Archive<'_>, TreeNode, u64), UnpackError> {
    // The reader takes memory for each entry, so count before it starts.
    let signatures = zip
        .windows(4)
        .filter(|window| window == CENTRAL_SIGNATURE)
        .count();
    if signatures > 2 * MAX_ENTRIES {
        return Err(UnpackError::TooManyEntries);
    }
    let mut archive = Archive::new(Cursor::new(zip))?;
    let (tree, declared) = plan(&mut archive)?;
    Ok((archive, tree, declared))
}

/// Reads names, kinds and declared sizes, and checks them all; the sizes are added up.
fn plan(archive: &mut Archive<'_>) -> Result<(TreeNode, u64), UnpackError> {
    if archive.is_empty() {
        return Err(UnpackError::Empty);
    }
    if archive.len() > MAX_ENTRIES {
        return Err(UnpackError::TooManyEntries);
    }
    let mut root = TreeNode::root();
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
    Ok((root, declared))
}

fn node_of(
    entry: &mut ZipFile<'_, Cursor<&[u8]>>,
    index: usize,
    name: &[u8],
) -> Result<TreeNode, UnpackError> {
    let mode = entry.unix_mode().unwrap_or(0);
    match mode & S_IFMT {
        S_IFLNK => {
            let mut target = Vec::new();
            entry
                .take(TARGET_BYTES)
                .read_to_end(&mut target)
                .map_err(|_| UnpackError::NotZip)?;
            Ok(TreeNode::Link(target))
        }
        S_IFDIR => Ok(TreeNode::root()),
        0 | S_IFREG if name.ends_with(b"/") => Ok(TreeNode::root()),
        0 | S_IFREG => Ok(TreeNode::File {
            index,
            executable: mode & 0o111 != 0,
        }),
        _ => Err(UnpackError::SpecialFile {
            name: String::from_utf8_lossy(name).escape_debug().to_string(),
        }),
    }
}

/// Writes the tree: directories 755, files 755 or 644, whatever the umask.
fn write(archive: &mut Archive<'_>, tree: &TreeNode, into: &Path) -> Result<(), UnpackError> {
    let mut room = limits::UNZIPPED_BYTES;
    let mut todo: Vec<(PathBuf, &TreeNode)> = vec![(into.to_owned(), tree)];
    while let Some((path, node)) = todo.pop() {
        match node {
            TreeNode::Directory(entries) => {
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
            TreeNode::Link(target) => {
                symlink(OsStr::from_bytes(target), &path).map_err(UnpackError::Io)?
            }
            TreeNode::File { index, executable } => {
                room -= write_file(archive.by_index(*index)?, &path, *executable, room)?;
            }
        }
    }
    Ok(())
}

/// Writes one file of at most `room` bytes and says how many there were.
fn write_file(
    entry: ZipFile<'_, Cursor<&[u8]>>,
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
    let written = copy(entry, &mut file, room)?;
    set_mode(path, mode)?;
    Ok(written)
}

/// Copies what an entry unpacks to, at most `room` bytes, and says how many there were.
fn copy(
    mut entry: ZipFile<'_, Cursor<&[u8]>>,
    to: &mut impl io::Write,
    room: u64,
) -> Result<u64, UnpackError> {
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
        to.write_all(&buffer[..count]).map_err(UnpackError::Io)?;
    }
    Ok(written)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), UnpackError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(UnpackError::Io)
}
