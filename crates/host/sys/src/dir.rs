//! Host directories seen from above, never followed out of: one plain name at a time, no links, no `..`.
//!
//! Every look-up names a single component relative to an open directory, so the host never walks a
//! symbolic link for us, whatever the tree contains or changes into meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Statx, StatxFlags, openat2,
    readlinkat, statx,
};

/// An open host directory.
#[derive(Debug)]
pub struct Dir(OwnedFd);

/// What the host knows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "field names are stat(2)'s own")]
pub struct HostStat {
    pub dev_major: u32,
    pub dev_minor: u32,
    pub rdev_major: u32,
    pub rdev_minor: u32,
    pub ino: u64,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub blocks: u64,
    /// Seconds and nanoseconds.
    pub atime: (i64, u32),
    pub mtime: (i64, u32),
    pub ctime: (i64, u32),
    pub btime: (i64, u32),
}

/// One entry of a host directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    /// Name without slashes; never `.` or `..`.
    pub name: Vec<u8>,
    /// Inode number.
    pub ino: u64,
    /// The type as `mode >> 12`, 0 where the host file system does not say.
    pub kind: u8,
}

const INSIDE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

impl Dir {
    /// Opens a directory of the host by any path; links in it are followed, since the operator names it.
    ///
    /// # Errors
    /// What openat(2) says.
    pub fn open(path: &Path) -> io::Result<Dir> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Dir(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// Takes over a descriptor of a directory.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Dir {
        Dir(fd)
    }

    /// The directory at a relative path of plain names, links refused.
    ///
    /// # Errors
    /// What openat2(2) says; `ELOOP` for a link, `EXDEV` for a way out.
    pub fn open_dir(&self, path: &[u8]) -> io::Result<Dir> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Dir(openat2(&self.0, path, flags, Mode::empty(), INSIDE)?))
    }

    /// Status of the directory itself.
    ///
    /// # Errors
    /// What statx(2) says.
    pub fn stat(&self) -> io::Result<HostStat> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
        Ok(convert(&statx(&self.0, "", flags, wanted())?))
    }

    /// Status of the entry with one plain name; a link is not followed.
    ///
    /// # Errors
    /// `EINVAL` for a name that is not plain; what statx(2) says.
    pub fn stat_entry(&self, name: &[u8]) -> io::Result<HostStat> {
        plain(name)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        Ok(convert(&statx(&self.0, name, flags, wanted())?))
    }

    /// Opens an entry that is a regular file for reading. Anything else is refused without
    /// side effects beyond an open that does not wait.
    ///
    /// # Errors
    /// What openat2(2) says; `ELOOP` for a link; `EINVAL` for what is no regular file.
    pub fn open_file(&self, name: &[u8]) -> io::Result<File> {
        plain(name)?;
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(openat2(&self.0, name, flags, Mode::empty(), INSIDE)?);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    /// The text of a link.
    ///
    /// # Errors
    /// What readlinkat(2) says.
    pub fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        plain(name)?;
        Ok(readlinkat(&self.0, name, Vec::new())?.into_bytes())
    }

    /// All entries, in the host's order.
    ///
    /// # Errors
    /// What getdents64(2) says.
    pub fn list(&self) -> io::Result<Vec<HostEntry>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let readable = openat2(&self.0, c".", flags, Mode::empty(), INSIDE)?;
        let mut entries = Vec::new();
        let mut buffer = Vec::with_capacity(32 * 1024);
        let mut listing = RawDir::new(readable.as_fd(), buffer.spare_capacity_mut());
        while let Some(entry) = listing.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            entries.push(HostEntry {
                name: name.to_vec(),
                ino: entry.ino(),
                kind: kind(entry.file_type()),
            });
        }
        Ok(entries)
    }
}

fn plain(name: &[u8]) -> io::Result<()> {
    let fine = !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/');
    if fine {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

fn wanted() -> StatxFlags {
    StatxFlags::BASIC_STATS | StatxFlags::BTIME
}

fn kind(file_type: FileType) -> u8 {
    match file_type {
        FileType::Unknown => 0,
        known => u8::try_from(known.as_raw_mode() >> 12).unwrap_or(0),
    }
}

fn convert(stat: &Statx) -> HostStat {
    let time = |t: rustix::fs::StatxTimestamp| (t.tv_sec, t.tv_nsec);
    HostStat {
        dev_major: stat.stx_dev_major,
        dev_minor: stat.stx_dev_minor,
        rdev_major: stat.stx_rdev_major,
        rdev_minor: stat.stx_rdev_minor,
        ino: stat.stx_ino,
        mode: u32::from(stat.stx_mode),
        nlink: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        size: stat.stx_size,
        blocks: stat.stx_blocks,
        atime: time(stat.stx_atime),
        mtime: time(stat.stx_mtime),
        ctime: time(stat.stx_ctime),
        btime: time(stat.stx_btime),
    }
}
