//! ioctl(2): what every descriptor knows; the rest is the file's.

use std::sync::Arc;

use base_abi::{Errno, general, ioctl};
use kernel_files::pty::Master;
use kernel_vfs::{AccessMode, Description, FdFlags, FileType, StatusFlags};

use crate::async_io;
use crate::call::{Args, Sys, SysResult};
use crate::descriptors::{fd_flags, returned};
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[Entry::partial(
    16,
    "ioctl",
    "dxx",
    ioctl,
    "descriptors, terminals, pipes, sockets; others answer ENOTTY",
)];

/// `FIGETBSZ`.
const FIGETBSZ: u32 = 2;
/// `FICLONE` and `FICLONERANGE`, which no file system here has.
const FICLONE: u32 = 0x4004_9409;
const FICLONERANGE: u32 = 0x4020_940d;

fn ioctl(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let (fd, request, arg) = (args.i32(0), args.u32(1), args.u64(2));
    let files = sys.files();
    let (description, flags) = files.get_with_flags(fd)?;
    if description.access() == AccessMode::Path {
        return Err(Errno::EBADF.into());
    }
    let mm = sys.mm();
    match request {
        ioctl::FIOCLEX => files.set_flags(fd, flags | FdFlags::CLOEXEC)?,
        ioctl::FIONCLEX => files.set_flags(fd, flags - FdFlags::CLOEXEC)?,
        ioctl::FIONBIO => switch(&description, StatusFlags::NONBLOCK, mm.read_obj(arg)?),
        ioctl::FIOASYNC => {
            let mut flags = description.flags();
            flags.set(StatusFlags::ASYNC, mm.read_obj::<i32>(arg)? != 0);
            if !async_io::switch(sys, fd, &description, flags) {
                return Err(Errno::ENOTTY.into());
            }
        }
        ioctl::TIOCGPTPEER => return peer(sys, &description, args.u32(2)),
        _ => {
            return match async_io::request(sys, &description, request, arg) {
                Some(answer) => answer,
                None => by_file(sys, &description, request, arg),
            };
        }
    }
    Ok(0)
}

fn switch(description: &Description, flag: StatusFlags, on: i32) {
    let mut flags = description.flags();
    flags.set(flag, on != 0);
    description.set_flags(flags);
}

fn peer(sys: &Sys<'_>, description: &Arc<Description>, flags: u32) -> SysResult {
    let master = description.downcast::<Master>().ok_or(Errno::ENOTTY)?;
    let slave = sys.system.objects.devpts.open_peer(master, flags)?;
    let status = StatusFlags::from_bits_truncate(flags & general::O_NONBLOCK);
    let access = AccessMode::from_flags(flags);
    Ok(returned(sys.install(
        slave,
        access,
        status,
        fd_flags(flags),
    )?))
}

fn by_file(sys: &Sys<'_>, description: &Description, request: u32, arg: u64) -> SysResult {
    let file = description.file();
    let mm = sys.mm();
    match file.ioctl(mm.as_ref(), request, arg) {
        Err(Errno::ENOTTY) => {}
        other => return Ok(other?),
    }
    let stat = file.stat()?;
    let regular = FileType::from_mode(stat.mode) == Some(FileType::Regular);
    match request {
        ioctl::FIONREAD if regular => {
            let left = stat
                .size
                .saturating_sub_unsigned(description.offset())
                .max(0);
            mm.write_obj(arg, &i32::try_from(left).unwrap_or(i32::MAX))?;
            Ok(0)
        }
        ioctl::FIOQSIZE if regular => {
            mm.write_obj(arg, &stat.size)?;
            Ok(0)
        }
        FIGETBSZ if file.inode().is_some() => {
            mm.write_obj(arg, &4096i32)?;
            Ok(0)
        }
        FICLONE | FICLONERANGE => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::ENOTTY.into()),
    }
}
