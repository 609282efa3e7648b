//! What a file is like: stat(2), statx(2), access(2), statfs(2).

use base_abi::Errno;
use kernel_vfs::{Access, Attr, Path, UserMemory};
use zerocopy::IntoBytes;

use crate::call::{Args, Sys, SysResult};
use crate::entry::Entry;
use crate::paths::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW};

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(4, "stat", "sp", stat),
    Entry::full(6, "lstat", "sp", lstat),
    Entry::full(262, "newfstatat", "dspx", newfstatat),
    Entry::full(332, "statx", "dsxxp", statx),
    Entry::full(21, "access", "so", access),
    Entry::full(269, "faccessat", "dso", faccessat),
    Entry::full(439, "faccessat2", "dsox", faccessat2),
    Entry::full(137, "statfs", "sp", statfs),
    Entry::full(5, "fstat", "dp", fstat),
    Entry::full(138, "fstatfs", "dp", fstatfs),
];

const AT_EACCESS: u32 = 0x200;

const AT_NO_AUTOMOUNT: u32 = 0x800;

const AT_STATX_SYNC: u32 = 0x6000;

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

fn fstat(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let stat = sys.files().get(args.i32(0))?.file().stat()?;
    sys.mm().write_bytes(args.u64(1), stat.as_bytes())?;
    Ok(0)
}

fn fstatfs(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let place = Path::of(&*sys.files().get(args.i32(0))?)?;
    sys.mm().write_obj(args.u64(1), &statfs_words(&place))?;
    Ok(0)
}
