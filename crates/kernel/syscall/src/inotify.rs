//! inotify_init(2), inotify_add_watch(2), inotify_rm_watch(2).

use base_abi::Errno;
use base_abi::general::{IN_DONT_FOLLOW, IN_ONLYDIR, O_CLOEXEC, O_NONBLOCK};
use kernel_files::Inotify;
use kernel_vfs::{Access, AccessMode, At, LastLink, permitted};

use crate::call::{Args, Sys, SysResult};
use crate::descriptors::{fd_flags, returned, status_flags};
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(253, "inotify_init", "", |s, _| init(s, 0)),
    Entry::full(294, "inotify_init1", "x", |s, a| init(s, a.u32(0))),
    Entry::partial(
        254,
        "inotify_add_watch",
        "dsx",
        add_watch,
        "IN_EXCL_UNLINK is ignored",
    ),
    Entry::full(255, "inotify_rm_watch", "dd", remove_watch),
];

fn init(sys: &mut Sys<'_>, flags: u32) -> SysResult {
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let objects = &sys.system.objects;
    let file = Inotify::new(&objects.inotify_watches, objects.inodes.next());
    let (status, fd_flags) = (status_flags(flags), fd_flags(flags));
    Ok(returned(sys.install(
        file,
        AccessMode::Read,
        status,
        fd_flags,
    )?))
}

fn add_watch(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let mask = args.u32(2);
    let description = sys.file(args.i32(0))?;
    let file = description.downcast::<Inotify>().ok_or(Errno::EINVAL)?;
    let path = sys.mm().read_cstr(args.u64(1), kernel_vfs::PATH_MAX)?;
    let who = sys.process().creds().for_files();
    let fs = sys.fs().read().clone();
    let last = if mask & IN_DONT_FOLLOW == 0 {
        LastLink::Follow
    } else {
        LastLink::Keep
    };
    let place = At::cwd(&fs, &who).find(&path, last)?;
    if mask & IN_ONLYDIR != 0 && !place.dentry().is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    permitted(&place.inode().attr()?, &who, Access::READ)?;
    let changes = &place.mount().vfs().notify;
    Ok(returned(file.add_watch(
        changes,
        place.inode().id()?,
        Some(place.clone()),
        mask,
    )?))
}

fn remove_watch(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let description = sys.file(args.i32(0))?;
    let file = description.downcast::<Inotify>().ok_or(Errno::EINVAL)?;
    file.remove_watch(args.i32(1))?;
    Ok(0)
}
