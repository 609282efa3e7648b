//! Calls that name files by path: open, stat, links, directories, permissions, times, attributes.

use base_abi::Errno;
use base_abi::general as g;
use base_abi::structs::{Timespec, Timeval};
use kernel_vfs::{
    Access, At, Attr, Credentials, FdFlags, FileType, FsContext, LastLink, OpenHow, Path,
    RenameMode, Resolve, SetTime, UserMemory,
};
use zerocopy::IntoBytes;

use crate::call::{Args, Sys, SysResult};
use crate::table::Entry;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(2, "open", "sxo", open),
    Entry::full(257, "openat", "dsxo", openat),
    Entry::full(437, "openat2", "dspu", openat2),
    Entry::full(85, "creat", "so", creat),
    Entry::full(4, "stat", "sp", stat),
    Entry::full(6, "lstat", "sp", lstat),
    Entry::full(262, "newfstatat", "dspx", newfstatat),
    Entry::full(332, "statx", "dsxxp", statx),
    Entry::full(21, "access", "so", access),
    Entry::full(269, "faccessat", "dso", faccessat),
    Entry::full(439, "faccessat2", "dsox", faccessat2),
    Entry::full(79, "getcwd", "pu", getcwd),
    Entry::full(80, "chdir", "s", chdir),
    Entry::full(81, "fchdir", "d", fchdir),
    Entry::full(161, "chroot", "s", chroot),
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
    Entry::full(90, "chmod", "so", |s, a| {
        chmod_at(s, AT_FDCWD, a.u64(0), a.u32(1), 0)
    }),
    Entry::full(268, "fchmodat", "dso", |s, a| {
        chmod_at(s, a.i32(0), a.u64(1), a.u32(2), 0)
    }),
    Entry::full(452, "fchmodat2", "dsox", |s, a| {
        chmod_at(s, a.i32(0), a.u64(1), a.u32(2), a.u32(3))
    }),
    Entry::full(92, "chown", "sdd", |s, a| {
        chown_at(s, AT_FDCWD, a.u64(0), a.u32(1), a.u32(2), 0)
    }),
    Entry::full(94, "lchown", "sdd", |s, a| {
        chown_at(
            s,
            AT_FDCWD,
            a.u64(0),
            a.u32(1),
            a.u32(2),
            AT_SYMLINK_NOFOLLOW,
        )
    }),
    Entry::full(260, "fchownat", "dsddx", |s, a| {
        chown_at(s, a.i32(0), a.u64(1), a.u32(2), a.u32(3), a.u32(4))
    }),
    Entry::full(95, "umask", "o", umask),
    Entry::full(76, "truncate", "su", truncate),
    Entry::full(132, "utime", "sp", utime),
    Entry::full(235, "utimes", "sp", |s, a| {
        utimes_at(s, AT_FDCWD, a.u64(0), a.u64(1))
    }),
    Entry::full(261, "futimesat", "dsp", |s, a| {
        utimes_at(s, a.i32(0), a.u64(1), a.u64(2))
    }),
    Entry::full(280, "utimensat", "dspx", utimensat),
    Entry::full(137, "statfs", "sp", statfs),
    Entry::full(188, "setxattr", "sspux", |s, a| {
        set_xattr(s, a, LastLink::Follow)
    }),
    Entry::full(189, "lsetxattr", "sspux", |s, a| {
        set_xattr(s, a, LastLink::Keep)
    }),
    Entry::full(191, "getxattr", "sspu", |s, a| {
        get_xattr(s, a, LastLink::Follow)
    }),
    Entry::full(192, "lgetxattr", "sspu", |s, a| {
        get_xattr(s, a, LastLink::Keep)
    }),
    Entry::full(194, "listxattr", "spu", |s, a| {
        list_xattr(s, a, LastLink::Follow)
    }),
    Entry::full(195, "llistxattr", "spu", |s, a| {
        list_xattr(s, a, LastLink::Keep)
    }),
    Entry::full(197, "removexattr", "ss", |s, a| {
        remove_xattr(s, a, LastLink::Follow)
    }),
    Entry::full(198, "lremovexattr", "ss", |s, a| {
        remove_xattr(s, a, LastLink::Keep)
    }),
];

pub(crate) const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_REMOVEDIR: u32 = 0x200;
const AT_EACCESS: u32 = 0x200;
const AT_SYMLINK_FOLLOW: u32 = 0x400;
const AT_NO_AUTOMOUNT: u32 = 0x800;
const AT_EMPTY_PATH: u32 = 0x1000;
const AT_STATX_SYNC: u32 = 0x6000;

impl Sys<'_> {
    /// A path argument, not empty.
    ///
    /// # Errors
    /// `EFAULT`, `ENAMETOOLONG`, `ENOENT` when empty.
    pub(crate) fn read_path(&self, addr: u64) -> Result<Vec<u8>, Errno> {
        let path = self.read_path_or_empty(addr)?;
        if path.is_empty() {
            Err(Errno::ENOENT)
        } else {
            Ok(path)
        }
    }

    /// A path argument that may be empty.
    ///
    /// # Errors
    /// `EFAULT`, `ENAMETOOLONG`.
    pub(crate) fn read_path_or_empty(&self, addr: u64) -> Result<Vec<u8>, Errno> {
        self.mm().read_cstr(addr, kernel_vfs::PATH_MAX)
    }

    /// The view of an `*at` call. An absolute path ignores the descriptor.
    ///
    /// # Errors
    /// `EBADF`, `ENOTDIR` for a descriptor without a place.
    pub(crate) fn at<'a>(
        &self,
        fs: &'a FsContext,
        who: &'a Credentials,
        fd: i32,
        path: &[u8],
    ) -> Result<At<'a>, Errno> {
        if fd == AT_FDCWD || path.first() == Some(&b'/') {
            return Ok(At::cwd(fs, who));
        }
        let description = self.files().get(fd)?;
        let place = Path::of(&description)?;
        if !path.is_empty() && !place.dentry().is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(At::dir(fs, who, place))
    }

    /// Runs with the view of an `*at` call.
    pub(crate) fn with_at<R>(
        &self,
        fd: i32,
        path: &[u8],
        f: impl FnOnce(&At<'_>, &FsContext, &Credentials) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        // A copy: links of /proc ask for the same context in the middle of the walk.
        let fs = self.fs().read().clone();
        let who = self.process().creds().for_files();
        let at = self.at(&fs, &who, fd, path)?;
        f(&at, &fs, &who)
    }

    /// Finds the place an `*at` call with flags means.
    pub(crate) fn place(&self, fd: i32, addr: u64, flags: u32) -> Result<Path, Errno> {
        let path = if addr == 0 && flags & AT_EMPTY_PATH != 0 {
            Vec::new()
        } else {
            self.read_path_or_empty(addr)?
        };
        if path.is_empty() && flags & AT_EMPTY_PATH == 0 {
            return Err(Errno::ENOENT);
        }
        let last = if flags & AT_SYMLINK_NOFOLLOW != 0 {
            LastLink::Keep
        } else {
            LastLink::Follow
        };
        self.with_at(fd, &path, |at, _, _| at.find_or_start(&path, last))
    }
}

/// A descriptor as a return value.
pub(crate) fn fd_value(fd: i32) -> u64 {
    u64::from(fd.cast_unsigned())
}

fn open(sys: &mut Sys<'_>, args: Args) -> SysResult {
    open_at(
        sys,
        AT_FDCWD,
        args.u64(0),
        args.u32(1),
        args.u32(2),
        Resolve::empty(),
    )
}

fn openat(sys: &mut Sys<'_>, args: Args) -> SysResult {
    open_at(
        sys,
        args.i32(0),
        args.u64(1),
        args.u32(2),
        args.u32(3),
        Resolve::empty(),
    )
}

fn creat(sys: &mut Sys<'_>, args: Args) -> SysResult {
    open_at(
        sys,
        AT_FDCWD,
        args.u64(0),
        g::O_CREAT | g::O_WRONLY | g::O_TRUNC,
        args.u32(1),
        Resolve::empty(),
    )
}

fn openat2(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let size = args.usize(3);
    if size < 24 {
        return Err(Errno::EINVAL.into());
    }
    if size > 4096 {
        return Err(Errno::E2BIG.into());
    }
    let mut raw = vec![0u8; size];
    sys.mm().read_bytes(args.u64(2), &mut raw)?;
    if raw[24..].iter().any(|b| *b != 0) {
        return Err(Errno::E2BIG.into());
    }
    let [flags, mode, resolve]: [u64; 3] = sys.mm().read_obj(args.u64(2))?;
    let flags = u32::try_from(flags).map_err(|_| Errno::EINVAL)?;
    let creates = flags & (g::O_CREAT | (g::__O_TMPFILE)) != 0;
    let mode = u32::try_from(mode)
        .ok()
        .filter(|m| m & !0o7777 == 0)
        .ok_or(Errno::EINVAL)?;
    if mode != 0 && !creates {
        return Err(Errno::EINVAL.into());
    }
    let resolve = Resolve::from_bits(resolve).ok_or(Errno::EINVAL)?;
    if resolve.contains(Resolve::BENEATH | Resolve::IN_ROOT) {
        return Err(Errno::EINVAL.into());
    }
    open_at(sys, args.i32(0), args.u64(1), flags, mode, resolve)
}

fn open_at(
    sys: &mut Sys<'_>,
    fd: i32,
    addr: u64,
    flags: u32,
    mode: u32,
    resolve: Resolve,
) -> SysResult {
    let path = sys.read_path(addr)?;
    let flags = flags | g::O_LARGEFILE;
    let opened = sys.with_at(fd, &path, |at, fs, _| {
        let mode = mode & 0o7777 & !fs.umask();
        at.open(
            &path,
            OpenHow {
                flags,
                mode,
                resolve,
            },
        )
    });
    let description = match opened {
        Err(Errno::EAGAIN) if flags & g::O_NONBLOCK == 0 => return wait_for_fifo(sys),
        other => other?,
    };
    let close = if flags & g::O_CLOEXEC != 0 {
        FdFlags::CLOEXEC
    } else {
        FdFlags::empty()
    };
    let limit = sys.nofile();
    Ok(fd_value(sys.files().insert(description, close, limit)?))
}

/// Opening a fifo waits for its other end (fifo(7)); the driver keeps this thread's half-open end.
fn wait_for_fifo(sys: &mut Sys<'_>) -> SysResult {
    let mut table = sys.waiting_table(kernel_vfs::Events::all());
    sys.system.objects.fifos.poll(&mut table);
    Err(sys.block(table, kernel_core::task::OnSignal::Restart))
}

fn write_stat(sys: &Sys<'_>, place: &Path, addr: u64) -> SysResult {
    let stat = place.stat()?;
    sys.mm().write_bytes(addr, stat.as_bytes())?;
    Ok(0)
}

fn stat(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let place = sys.place(AT_FDCWD, args.u64(0), 0)?;
    write_stat(sys, &place, args.u64(1))
}

fn lstat(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let place = sys.place(AT_FDCWD, args.u64(0), AT_SYMLINK_NOFOLLOW)?;
    write_stat(sys, &place, args.u64(1))
}

fn newfstatat(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let flags = args.u32(3);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & AT_EMPTY_PATH != 0 && args.i32(0) >= 0 {
        let empty = args.u64(1) == 0 || sys.read_path_or_empty(args.u64(1))?.is_empty();
        if empty {
            let stat = sys.files().get(args.i32(0))?.file().stat()?;
            sys.mm().write_bytes(args.u64(2), stat.as_bytes())?;
            return Ok(0);
        }
    }
    let place = sys.place(args.i32(0), args.u64(1), flags)?;
    write_stat(sys, &place, args.u64(2))
}

fn statx(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let flags = args.u32(2);
    let known = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_SYNC;
    if flags & !known != 0
        || flags & AT_STATX_SYNC == AT_STATX_SYNC
        || args.u32(3) & 0x8000_0000 != 0
    {
        return Err(Errno::EINVAL.into());
    }
    let empty = flags & AT_EMPTY_PATH != 0
        && (args.u64(1) == 0 || sys.read_path_or_empty(args.u64(1))?.is_empty());
    let attr = if empty && args.i32(0) >= 0 {
        let description = sys.files().get(args.i32(0))?;
        match description.inode() {
            Some(inode) => inode.attr()?,
            None => attr_of(&description.file().stat()?),
        }
    } else {
        sys.place(args.i32(0), args.u64(1), flags)?.attr()?
    };
    sys.mm().write_bytes(args.u64(4), &statx_bytes(&attr))?;
    Ok(0)
}

fn attr_of(stat: &base_abi::structs::Stat) -> Attr {
    Attr {
        dev: stat.dev,
        ino: stat.ino,
        mode: stat.mode,
        nlink: stat.nlink,
        uid: stat.uid,
        gid: stat.gid,
        rdev: stat.rdev,
        size: stat.size.max(0).cast_unsigned(),
        blocks: stat.blocks.max(0).cast_unsigned(),
        atime: stat.atime,
        mtime: stat.mtime,
        ctime: stat.ctime,
        btime: stat.ctime,
    }
}

/// `struct statx` (statx(2)), 256 bytes.
fn statx_bytes(attr: &Attr) -> [u8; 256] {
    const BASIC_AND_BTIME: u32 = 0xfff;
    let mut out = [0u8; 256];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    let low = |v: u64| u32::try_from(v & 0xffff_ffff).unwrap_or(0);
    put(0, &BASIC_AND_BTIME.to_le_bytes());
    put(4, &4096u32.to_le_bytes());
    put(16, &low(attr.nlink).to_le_bytes());
    put(20, &attr.uid.to_le_bytes());
    put(24, &attr.gid.to_le_bytes());
    put(28, &attr.mode.to_le_bytes()[..2]);
    put(32, &attr.ino.to_le_bytes());
    put(40, &attr.size.to_le_bytes());
    put(48, &attr.blocks.to_le_bytes());
    for (at, time) in [
        (64, attr.atime),
        (80, attr.btime),
        (96, attr.ctime),
        (112, attr.mtime),
    ] {
        put(at, &time.sec.to_le_bytes());
        put(at + 8, &u32::try_from(time.nsec).unwrap_or(0).to_le_bytes());
    }
    for (at, dev) in [(128, attr.rdev), (136, attr.dev)] {
        let major = ((dev >> 8) & 0xfff) | ((dev >> 32) & !0xfff);
        let minor = (dev & 0xff) | ((dev >> 12) & !0xff);
        put(at, &low(major).to_le_bytes());
        put(at + 4, &low(minor).to_le_bytes());
    }
    out
}

fn access(sys: &mut Sys<'_>, args: Args) -> SysResult {
    access_at(sys, AT_FDCWD, args.u64(0), args.u32(1), 0)
}

fn faccessat(sys: &mut Sys<'_>, args: Args) -> SysResult {
    access_at(sys, args.i32(0), args.u64(1), args.u32(2), 0)
}

fn faccessat2(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u32(3) & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_EACCESS) != 0 {
        return Err(Errno::EINVAL.into());
    }
    access_at(sys, args.i32(0), args.u64(1), args.u32(2), args.u32(3))
}

fn access_at(sys: &mut Sys<'_>, fd: i32, addr: u64, mode: u32, flags: u32) -> SysResult {
    let want = Access::from_bits(mode).ok_or(Errno::EINVAL)?;
    let place = sys.place(fd, addr, flags)?;
    let creds = sys.process().creds();
    let mut who = creds.for_files();
    if flags & AT_EACCESS == 0 {
        (who.uid, who.gid) = (creds.uid, creds.gid);
        who.privileged = if creds.uid == 0 {
            creds.permitted & 2 != 0
        } else {
            creds.uid == creds.euid && who.privileged
        };
    }
    place.access(&who, want)?;
    Ok(0)
}

fn getcwd(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let mut text = sys.fs().read().getcwd()?;
    text.push(0);
    if args.usize(1) < text.len() {
        return Err(Errno::ERANGE.into());
    }
    sys.mm().write_bytes(args.u64(0), &text)?;
    Ok(text.len() as u64)
}

fn chdir(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let place = sys.place(AT_FDCWD, args.u64(0), 0)?;
    let who = sys.process().creds().for_files();
    sys.fs().write().set_cwd(place, &who)?;
    Ok(0)
}

fn fchdir(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let place = Path::of(&*sys.files().get(args.i32(0))?)?;
    let who = sys.process().creds().for_files();
    sys.fs().write().set_cwd(place, &who)?;
    Ok(0)
}

fn chroot(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let place = sys.place(AT_FDCWD, args.u64(0), 0)?;
    let creds = sys.process().creds();
    if !creds.has(18) {
        return Err(Errno::EPERM.into());
    }
    sys.fs().write().set_root(place, &creds.for_files())?;
    Ok(0)
}

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

fn chmod_at(sys: &mut Sys<'_>, fd: i32, addr: u64, mode: u32, flags: u32) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let place = sys.place(fd, addr, flags)?;
    place.chmod(&sys.process().creds().for_files(), mode & 0o7777)?;
    Ok(0)
}

pub(crate) fn owner(id: u32) -> Option<u32> {
    (id != u32::MAX).then_some(id)
}

fn chown_at(sys: &mut Sys<'_>, fd: i32, addr: u64, uid: u32, gid: u32, flags: u32) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let place = sys.place(fd, addr, flags)?;
    place.chown(&sys.process().creds().for_files(), owner(uid), owner(gid))?;
    Ok(0)
}

fn umask(sys: &mut Sys<'_>, args: Args) -> SysResult {
    Ok(u64::from(sys.fs().write().set_umask(args.u32(0) & 0o777)))
}

fn truncate(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let len = u64::try_from(args.i64(1)).map_err(|_| Errno::EINVAL)?;
    let place = sys.place(AT_FDCWD, args.u64(0), 0)?;
    crate::descriptors::within_size_limit(sys, len)?;
    place.truncate(&sys.process().creds().for_files(), len)?;
    Ok(0)
}

const UTIME_NOW: i64 = 0x3fff_ffff;
const UTIME_OMIT: i64 = 0x3fff_fffe;

fn set_time(time: Timespec) -> Result<Option<SetTime>, Errno> {
    match time.nsec {
        UTIME_NOW => Ok(Some(SetTime::Now)),
        UTIME_OMIT => Ok(None),
        n if (0..1_000_000_000).contains(&n) => Ok(Some(SetTime::At(time))),
        _ => Err(Errno::EINVAL),
    }
}

fn utimensat(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let flags = args.u32(3);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (atime, mtime) = match args.u64(2) {
        0 => (Some(SetTime::Now), Some(SetTime::Now)),
        at => {
            let access: Timespec = sys.mm().read_obj(at)?;
            let modification: Timespec = sys.mm().read_obj(at.wrapping_add(16))?;
            (set_time(access)?, set_time(modification)?)
        }
    };
    let place = if args.u64(1) == 0 {
        Path::of(&*sys.files().get(args.i32(0))?)?
    } else {
        sys.place(args.i32(0), args.u64(1), flags)?
    };
    place.set_times(&sys.process().creds().for_files(), atime, mtime)?;
    Ok(0)
}

fn utimes_at(sys: &mut Sys<'_>, fd: i32, addr: u64, times: u64) -> SysResult {
    let (atime, mtime) = match times {
        0 => (SetTime::Now, SetTime::Now),
        at => {
            let [access, modification]: [Timeval; 2] = [
                sys.mm().read_obj(at)?,
                sys.mm().read_obj(at.wrapping_add(16))?,
            ];
            let convert = |t: Timeval| -> Result<SetTime, Errno> {
                let usec = if (0..1_000_000).contains(&t.usec) {
                    t.usec
                } else {
                    return Err(Errno::EINVAL);
                };
                Ok(SetTime::At(Timespec {
                    sec: t.sec,
                    nsec: usec * 1000,
                }))
            };
            (convert(access)?, convert(modification)?)
        }
    };
    let place = sys.place(fd, addr, 0)?;
    place.set_times(&sys.process().creds().for_files(), Some(atime), Some(mtime))?;
    Ok(0)
}

fn utime(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (atime, mtime) = match args.u64(1) {
        0 => (SetTime::Now, SetTime::Now),
        at => {
            let [access, modification]: [i64; 2] = sys.mm().read_obj(at)?;
            let whole = |sec| SetTime::At(Timespec { sec, nsec: 0 });
            (whole(access), whole(modification))
        }
    };
    let place = sys.place(AT_FDCWD, args.u64(0), 0)?;
    place.set_times(&sys.process().creds().for_files(), Some(atime), Some(mtime))?;
    Ok(0)
}

fn statfs(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let place = sys.place(AT_FDCWD, args.u64(0), 0)?;
    sys.mm().write_obj(args.u64(1), &statfs_words(&place))?;
    Ok(0)
}

/// `struct statfs` (statfs(2)): fifteen words.
pub(crate) fn statfs_words(place: &Path) -> [u64; 15] {
    let s = place.statfs();
    let dev = place.mount().fs().dev();
    let mut words = [0u64; 15];
    words[..7].copy_from_slice(&[
        s.magic,
        s.block_size,
        s.blocks,
        s.free,
        s.free,
        s.files,
        s.files_free,
    ]);
    words[7] = dev;
    words[8] = 255;
    words[9] = s.block_size;
    const ST_VALID: u64 = 0x20;
    words[10] = ST_VALID | u64::from(place.mount().flags().bits());
    words
}

fn name_at(sys: &Sys<'_>, addr: u64) -> Result<Vec<u8>, Errno> {
    let name = sys.mm().read_cstr(addr, 257).map_err(|e| {
        if e == Errno::ENAMETOOLONG {
            Errno::ERANGE
        } else {
            e
        }
    })?;
    if name.is_empty() || name.len() > 255 {
        Err(Errno::ERANGE)
    } else {
        Ok(name)
    }
}

fn link_flags(last: LastLink) -> u32 {
    if last == LastLink::Keep {
        AT_SYMLINK_NOFOLLOW
    } else {
        0
    }
}

fn set_xattr(sys: &mut Sys<'_>, args: Args, last: LastLink) -> SysResult {
    let place = sys.place(AT_FDCWD, args.u64(0), link_flags(last))?;
    set_xattr_of(sys, &place, args)
}

/// Arguments 1 to 4 of setxattr(2) and fsetxattr(2).
pub(crate) fn set_xattr_of(sys: &Sys<'_>, place: &Path, args: Args) -> SysResult {
    if args.u32(4) > 2 {
        return Err(Errno::EINVAL.into());
    }
    let name = name_at(sys, args.u64(1))?;
    if args.usize(3) > 65536 {
        return Err(Errno::E2BIG.into());
    }
    let mut value = vec![0u8; args.usize(3)];
    sys.mm().read_bytes(args.u64(2), &mut value)?;
    place.set_xattr(
        &sys.process().creds().for_files(),
        &name,
        Some(&value),
        args.u32(4),
    )?;
    Ok(0)
}

fn get_xattr(sys: &mut Sys<'_>, args: Args, last: LastLink) -> SysResult {
    let place = sys.place(AT_FDCWD, args.u64(0), link_flags(last))?;
    get_xattr_of(sys, &place, args)
}

/// Arguments 1 to 3 of getxattr(2) and fgetxattr(2).
pub(crate) fn get_xattr_of(sys: &Sys<'_>, place: &Path, args: Args) -> SysResult {
    let name = name_at(sys, args.u64(1))?;
    let value = place.xattr(&sys.process().creds().for_files(), &name)?;
    give(sys, &value, args.u64(2), args.usize(3))
}

fn give(sys: &Sys<'_>, value: &[u8], at: u64, size: usize) -> SysResult {
    if size != 0 {
        if value.len() > size {
            return Err(Errno::ERANGE.into());
        }
        sys.mm().write_bytes(at, value)?;
    }
    Ok(value.len() as u64)
}

fn list_xattr(sys: &mut Sys<'_>, args: Args, last: LastLink) -> SysResult {
    let place = sys.place(AT_FDCWD, args.u64(0), link_flags(last))?;
    list_xattr_of(sys, &place, args)
}

/// Arguments 1 and 2 of listxattr(2) and flistxattr(2).
pub(crate) fn list_xattr_of(sys: &Sys<'_>, place: &Path, args: Args) -> SysResult {
    let names: Vec<u8> = place
        .list_xattr()?
        .into_iter()
        .flat_map(|n| [n, vec![0]].concat())
        .collect();
    give(sys, &names, args.u64(1), args.usize(2))
}

fn remove_xattr(sys: &mut Sys<'_>, args: Args, last: LastLink) -> SysResult {
    let place = sys.place(AT_FDCWD, args.u64(0), link_flags(last))?;
    remove_xattr_of(sys, &place, args)
}

/// Argument 1 of removexattr(2) and fremovexattr(2).
pub(crate) fn remove_xattr_of(sys: &Sys<'_>, place: &Path, args: Args) -> SysResult {
    let name = name_at(sys, args.u64(1))?;
    place.set_xattr(&sys.process().creds().for_files(), &name, None, 0)?;
    Ok(0)
}
