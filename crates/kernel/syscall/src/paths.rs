//! Path arguments and `*at` descriptors; working directory, root and umask.

use base_abi::Errno;
use base_abi::general::CAP_SYS_CHROOT;
use kernel_vfs::{At, Credentials, FsContext, LastLink, Path, UserMemory};

use crate::call::{Args, Sys, SysResult};
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(79, "getcwd", "pu", getcwd),
    Entry::full(80, "chdir", "s", chdir),
    Entry::full(81, "fchdir", "d", fchdir),
    Entry::full(161, "chroot", "s", chroot),
    Entry::full(95, "umask", "o", umask),
];

pub(crate) const AT_FDCWD: i32 = -100;

pub(crate) const AT_SYMLINK_NOFOLLOW: u32 = 0x100;

pub(crate) const AT_EMPTY_PATH: u32 = 0x1000;

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
    if !creds.has(CAP_SYS_CHROOT) {
        return Err(Errno::EPERM.into());
    }
    sys.fs().write().set_root(place, &creds.for_files())?;
    Ok(0)
}

fn umask(sys: &mut Sys<'_>, args: Args) -> SysResult {
    Ok(u64::from(sys.fs().write().set_umask(args.u32(0) & 0o777)))
}
