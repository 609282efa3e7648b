//! Extended attributes: getxattr(2), setxattr(2), listxattr(2), removexattr(2).

use base_abi::Errno;
use kernel_vfs::{LastLink, Path, UserMemory};

use crate::call::{Args, Sys, SysResult};
use crate::entry::Entry;
use crate::paths::{AT_FDCWD, AT_SYMLINK_NOFOLLOW};

pub(crate) const ENTRIES: &[Entry] = &[
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
    Entry::full(190, "fsetxattr", "dspux", |s, a| {
        with_place(s, a, set_xattr_of)
    }),
    Entry::full(193, "fgetxattr", "dspu", |s, a| {
        with_place(s, a, get_xattr_of)
    }),
    Entry::full(196, "flistxattr", "dpu", |s, a| {
        with_place(s, a, list_xattr_of)
    }),
    Entry::full(199, "fremovexattr", "ds", |s, a| {
        with_place(s, a, remove_xattr_of)
    }),
];

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

fn with_place(
    sys: &mut Sys<'_>,
    args: Args,
    f: fn(&Sys<'_>, &Path, Args) -> SysResult,
) -> SysResult {
    let description = sys.file(args.i32(0))?;
    let place = Path::of(&description)?;
    f(sys, &place, args)
}
