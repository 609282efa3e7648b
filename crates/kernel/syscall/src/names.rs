//! Making, removing and moving names: mkdir(2), link(2), symlink(2), unlink(2), rename(2), readlink(2).

use base_abi::Errno;
use kernel_vfs::{FileType, Path, RenameMode, UserMemory};

use crate::call::{Sys, SysResult};
use crate::entry::Entry;
use crate::paths::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW};

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(83, "mkdir", "so", |s, a| {
        mkdir_at(s, AT_FDCWD, a.u64(0), a.u32(1))
    }),
    Entry::full(258, "mkdirat", "dso", |s, a| {
        mkdir_at(s, a.i32(0), a.u64(1), a.u32(2))
    }),
    Entry::full(133, "mknod", "sox", |s, a| {
        mknod_at(s, AT_FDCWD, a.u64(0), a.u32(1), a.u64(2))
    }),
    Entry::full(259, "mknodat", "dsox", |s, a| {
        mknod_at(s, a.i32(0), a.u64(1), a.u32(2), a.u64(3))
    }),
    Entry::full(84, "rmdir", "s", |s, a| {
        unlink_at(s, AT_FDCWD, a.u64(0), AT_REMOVEDIR)
    }),
    Entry::full(87, "unlink", "s", |s, a| {
        unlink_at(s, AT_FDCWD, a.u64(0), 0)
    }),
    Entry::full(263, "unlinkat", "dsx", |s, a| {
        unlink_at(s, a.i32(0), a.u64(1), a.u32(2))
    }),
    Entry::full(86, "link", "ss", |s, a| {
        link_at(s, (AT_FDCWD, a.u64(0)), (AT_FDCWD, a.u64(1)), 0)
    }),
    Entry::full(265, "linkat", "dsdsx", |s, a| {
        link_at(s, (a.i32(0), a.u64(1)), (a.i32(2), a.u64(3)), a.u32(4))
    }),
    Entry::full(88, "symlink", "ss", |s, a| {
        symlink_at(s, a.u64(0), AT_FDCWD, a.u64(1))
    }),
    Entry::full(266, "symlinkat", "sds", |s, a| {
        symlink_at(s, a.u64(0), a.i32(1), a.u64(2))
    }),
    Entry::full(89, "readlink", "spu", |s, a| {
        readlink_at(s, AT_FDCWD, a.u64(0), a.u64(1), a.i64(2))
    }),
    Entry::full(267, "readlinkat", "dspu", |s, a| {
        readlink_at(s, a.i32(0), a.u64(1), a.u64(2), a.i64(3))
    }),
    Entry::full(82, "rename", "ss", |s, a| {
        rename_at(s, (AT_FDCWD, a.u64(0)), (AT_FDCWD, a.u64(1)), 0)
    }),
    Entry::full(264, "renameat", "dsds", |s, a| {
        rename_at(s, (a.i32(0), a.u64(1)), (a.i32(2), a.u64(3)), 0)
    }),
    Entry::full(316, "renameat2", "dsdsx", |s, a| {
        rename_at(s, (a.i32(0), a.u64(1)), (a.i32(2), a.u64(3)), a.u32(4))
    }),
];

const AT_REMOVEDIR: u32 = 0x200;

const AT_SYMLINK_FOLLOW: u32 = 0x400;

fn mkdir_at(sys: &mut Sys<'_>, fd: i32, addr: u64, mode: u32) -> SysResult {
    let path = sys.read_path(addr)?;
    sys.with_at(fd, &path, |at, fs, _| {
        at.mkdir(&path, mode & 0o7777 & !fs.umask())
    })?;
    Ok(0)
}

fn mknod_at(sys: &mut Sys<'_>, fd: i32, addr: u64, mode: u32, dev: u64) -> SysResult {
    let path = sys.read_path(addr)?;
    let kind = if mode & 0o170_000 == 0 {
        FileType::Regular
    } else {
        FileType::from_mode(mode).ok_or(Errno::EINVAL)?
    };
    if kind == FileType::Directory {
        return Err(Errno::EPERM.into());
    }
    sys.with_at(fd, &path, |at, fs, _| {
        at.mknod(&path, kind, mode & 0o7777 & !fs.umask(), dev)
    })?;
    Ok(0)
}

fn unlink_at(sys: &mut Sys<'_>, fd: i32, addr: u64, flags: u32) -> SysResult {
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = sys.read_path(addr)?;
    sys.with_at(fd, &path, |at, _, _| {
        if flags == 0 {
            at.unlink(&path)
        } else {
            at.rmdir(&path)
        }
    })?;
    Ok(0)
}

fn link_at(sys: &mut Sys<'_>, from: (i32, u64), to: (i32, u64), flags: u32) -> SysResult {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let follow = if flags & AT_SYMLINK_FOLLOW != 0 {
        0
    } else {
        AT_SYMLINK_NOFOLLOW
    };
    let source = sys.place(from.0, from.1, follow | (flags & AT_EMPTY_PATH))?;
    let path = sys.read_path(to.1)?;
    sys.with_at(to.0, &path, |at, _, _| at.link(&source, &path))?;
    Ok(0)
}

fn symlink_at(sys: &mut Sys<'_>, target: u64, fd: i32, addr: u64) -> SysResult {
    let target = sys.read_path(target)?;
    let path = sys.read_path(addr)?;
    sys.with_at(fd, &path, |at, _, _| at.symlink(&target, &path))?;
    Ok(0)
}

fn readlink_at(sys: &mut Sys<'_>, fd: i32, addr: u64, out: u64, size: i64) -> SysResult {
    let size = usize::try_from(size)
        .ok()
        .filter(|s| *s > 0)
        .ok_or(Errno::EINVAL)?;
    let flags = AT_SYMLINK_NOFOLLOW | if fd == AT_FDCWD { 0 } else { AT_EMPTY_PATH };
    let place = sys.place(fd, addr, flags)?;
    let text = sys.link_text(&place)?;
    let n = text.len().min(size);
    sys.mm().write_bytes(out, &text[..n])?;
    Ok(n as u64)
}

impl Sys<'_> {
    fn link_text(&self, place: &Path) -> Result<Vec<u8>, Errno> {
        place.read_link()
    }
}

fn rename_at(sys: &mut Sys<'_>, from: (i32, u64), to: (i32, u64), flags: u32) -> SysResult {
    let mode = match flags {
        0 => RenameMode::Replace,
        1 => RenameMode::NoReplace,
        2 => RenameMode::Exchange,
        _ => return Err(Errno::EINVAL.into()),
    };
    let (old, new) = (sys.read_path(from.1)?, sys.read_path(to.1)?);
    let fs = sys.fs().read().clone();
    let who = sys.process().creds().for_files();
    let source = sys.at(&fs, &who, from.0, &old)?;
    let target = sys.at(&fs, &who, to.0, &new)?;
    source.rename(&old, &target, &new, mode)?;
    Ok(0)
}
