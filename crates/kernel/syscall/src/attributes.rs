//! Changing permissions, owners and times: chmod(2), chown(2), utimensat(2).

use base_abi::Errno;
use base_abi::structs::{Timespec, Timeval};
use kernel_vfs::{Path, SetTime};

use crate::call::{Args, Sys, SysResult};
use crate::entry::Entry;
use crate::paths::{AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW};

pub(crate) const ENTRIES: &[Entry] = &[
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
    Entry::full(132, "utime", "sp", utime),
    Entry::full(235, "utimes", "sp", |s, a| {
        utimes_at(s, AT_FDCWD, a.u64(0), a.u64(1))
    }),
    Entry::full(261, "futimesat", "dsp", |s, a| {
        utimes_at(s, a.i32(0), a.u64(1), a.u64(2))
    }),
    Entry::full(280, "utimensat", "dspx", utimensat),
    Entry::full(91, "fchmod", "do", fchmod),
    Entry::full(93, "fchown", "ddd", fchown),
];

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

fn fchmod(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let place = Path::of(&*sys.files().get_file(args.i32(0))?)?;
    place.chmod(&sys.process().creds().for_files(), args.u32(1) & 0o7777)?;
    Ok(0)
}

fn fchown(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let place = Path::of(&*sys.files().get_file(args.i32(0))?)?;
    let who = sys.process().creds().for_files();
    place.chown(&who, owner(args.u32(1)), owner(args.u32(2)))?;
    Ok(0)
}
