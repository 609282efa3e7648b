//! Lengths and storage of files: truncate(2), fallocate(2), fsync(2).

use base_abi::Errno;
use base_abi::general::FALLOC_FL_KEEP_SIZE;
use kernel_vfs::FileType;

use crate::call::{Args, Stop, Sys, SysResult};
use crate::entry::Entry;
use crate::file_limit::may_grow;
use crate::paths::AT_FDCWD;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(76, "truncate", "su", truncate),
    Entry::full(77, "ftruncate", "du", ftruncate),
    Entry::full(285, "fallocate", "dxuu", fallocate),
    Entry::full(74, "fsync", "d", fsync),
    Entry::full(75, "fdatasync", "d", fsync),
    Entry::full(162, "sync", "", |_, _| Ok(0)),
    Entry::full(306, "syncfs", "d", fsync),
    Entry::full(277, "sync_file_range", "duux", sync_file_range),
    Entry::full(221, "fadvise64", "duud", fadvise),
    Entry::full(187, "readahead", "duu", |s, a| {
        s.files().get_file(a.i32(0)).map(|_| 0).map_err(Stop::Errno)
    }),
];

fn truncate(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let len = u64::try_from(args.i64(1)).map_err(|_| Errno::EINVAL)?;
    let place = sys.place(AT_FDCWD, args.u64(0), 0)?;
    may_grow(sys, place.attr()?.size, len)?;
    place.truncate(&sys.process().creds().for_files(), len)?;
    Ok(0)
}

fn ftruncate(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let len = u64::try_from(args.i64(1)).map_err(|_| Errno::EINVAL)?;
    let description = sys.file(args.i32(0))?;
    if !description.access().writable() {
        return Err(Errno::EINVAL.into());
    }
    may_grow(sys, description.file().size()?, len)?;
    description.truncate(len)?;
    Ok(0)
}

/// `FALLOC_FL_KEEP_SIZE` and `FALLOC_FL_PUNCH_HOLE`.
const KEEP_SIZE: u32 = 1;
const PUNCH_HOLE: u32 = 2;
/// Those and `_COLLAPSE_RANGE`, `_ZERO_RANGE`, `_INSERT_RANGE`, `_UNSHARE_RANGE`.
const KNOWN_MODES: u32 = 0x7b;

fn fallocate(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let description = sys.file(args.i32(0))?;
    let offset = u64::try_from(args.i64(2)).map_err(|_| Errno::EINVAL)?;
    let mode = args.u32(1);
    let len = u64::try_from(args.i64(3))
        .ok()
        .filter(|n| *n > 0)
        .ok_or(Errno::EINVAL)?;
    // A hole keeps the size (fallocate(2)).
    if mode & !KNOWN_MODES != 0 || mode & (PUNCH_HOLE | KEEP_SIZE) == PUNCH_HOLE {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if !description.access().writable() {
        return Err(Errno::EBADF.into());
    }
    match FileType::from_mode(description.file().stat()?.mode) {
        Some(FileType::Regular | FileType::BlockDevice) => {}
        Some(FileType::Fifo) => return Err(Errno::ESPIPE.into()),
        Some(FileType::Directory) => return Err(Errno::EISDIR.into()),
        _ => return Err(Errno::ENODEV.into()),
    }
    if offset
        .checked_add(len)
        .is_none_or(|end| i64::try_from(end).is_err())
    {
        return Err(Errno::EFBIG.into());
    }
    if args.u32(1) & FALLOC_FL_KEEP_SIZE == 0 {
        may_grow(sys, description.file().size()?, offset + len)?;
    }
    description.allocate(args.u32(1), offset, len)?;
    Ok(0)
}

fn fsync(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let description = sys.file(args.i32(0))?;
    let stat = description.file().stat()?;
    let stored = matches!(
        FileType::from_mode(stat.mode),
        Some(FileType::Regular | FileType::Directory | FileType::BlockDevice)
    );
    // syncfs(2) takes any descriptor: each has a file system, if only one of pipes.
    const SYNCFS: u64 = 306;
    if stored {
        description.file().sync()?;
    } else if sys.nr != SYNCFS {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

fn sync_file_range(sys: &mut Sys<'_>, args: Args) -> SysResult {
    const KNOWN: u32 = 7;
    let description = sys.file(args.i32(0))?;
    let (offset, len) = (args.i64(1), args.i64(2));
    let end = offset.checked_add(len);
    if args.u32(3) & !KNOWN != 0 || offset < 0 || len < 0 || end.is_none() {
        return Err(Errno::EINVAL.into());
    }
    match FileType::from_mode(description.file().stat()?.mode) {
        Some(FileType::Regular | FileType::Directory | FileType::BlockDevice) => {}
        Some(FileType::Symlink) => {}
        _ => return Err(Errno::ESPIPE.into()),
    }
    description.file().sync()?;
    Ok(0)
}

fn fadvise(sys: &mut Sys<'_>, args: Args) -> SysResult {
    /// `POSIX_FADV_NOREUSE`, the highest.
    const LAST: u32 = 5;
    let description = sys.file(args.i32(0))?;
    let mode = description.file().stat()?.mode;
    if FileType::from_mode(mode) == Some(FileType::Fifo) {
        return Err(Errno::ESPIPE.into());
    }
    if args.i64(2) < 0 || args.u32(3) > LAST {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}
