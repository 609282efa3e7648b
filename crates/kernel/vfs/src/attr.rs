//! What an inode is, in plain words: type, attributes, who asks and what is to be changed.

use base_abi::structs::{Stat, Timespec};

/// The type bits of `st_mode` (inode(7)); discriminants are `mode >> 12`, which are also the `DT_*` values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FileType {
    /// Named or anonymous pipe.
    Fifo = 1,
    /// Character device.
    CharDevice = 2,
    /// Directory.
    Directory = 4,
    /// Block device.
    BlockDevice = 6,
    /// Regular file.
    Regular = 8,
    /// Symbolic link.
    Symlink = 10,
    /// Socket.
    Socket = 12,
}

impl FileType {
    /// The type in a `st_mode`.
    #[must_use]
    pub fn from_mode(mode: u32) -> Option<FileType> {
        Some(match (mode >> 12) & 0xf {
            1 => FileType::Fifo,
            2 => FileType::CharDevice,
            4 => FileType::Directory,
            6 => FileType::BlockDevice,
            8 => FileType::Regular,
            10 => FileType::Symlink,
            12 => FileType::Socket,
            _ => return None,
        })
    }

    /// The bits for `st_mode`.
    #[must_use]
    pub fn mode_bits(self) -> u32 {
        u32::from(self as u8) << 12
    }
}

/// Attributes of an inode: what stat(2) tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attr {
    /// Device of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Hard links.
    pub nlink: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Bytes.
    pub size: u64,
    /// 512-byte blocks.
    pub blocks: u64,
    /// Last access.
    pub atime: Timespec,
    /// Last change of contents.
    pub mtime: Timespec,
    /// Last change of the inode.
    pub ctime: Timespec,
    /// Birth (statx(2)).
    pub btime: Timespec,
}

impl Attr {
    /// The type bits as a type; `Regular` for nonsense.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        FileType::from_mode(self.mode).unwrap_or(FileType::Regular)
    }

    /// As `struct stat`.
    #[must_use]
    pub fn to_stat(&self) -> Stat {
        Stat {
            dev: self.dev,
            ino: self.ino,
            nlink: self.nlink,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev,
            size: i64::try_from(self.size).unwrap_or(i64::MAX),
            blksize: 4096,
            blocks: i64::try_from(self.blocks).unwrap_or(i64::MAX),
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            ..Stat::default()
        }
    }
}

/// Device and number: what makes an inode the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeId {
    /// `st_dev`.
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
}

/// A time to set (utimensat(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// `UTIME_NOW`.
    Now,
    /// A given time.
    At(Timespec),
}

/// Which attributes to change; `None` leaves one alone. Permission was checked by the caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    /// Permission bits (chmod(2)), without type.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length (truncate(2)).
    pub size: Option<u64>,
    /// Access time.
    pub atime: Option<SetTime>,
    /// Modification time.
    pub mtime: Option<SetTime>,
}

/// Who asks: what permission checks and new inodes need (credentials(7)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// File system user id.
    pub uid: u32,
    /// File system group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Whether `CAP_DAC_OVERRIDE`, `CAP_FOWNER` and `CAP_CHOWN` are effective.
    pub privileged: bool,
}

/// What to create in a directory.
#[derive(Clone, Debug)]
pub enum NewNode<'a> {
    /// open(2) with `O_CREAT`.
    Regular,
    /// mkdir(2).
    Directory,
    /// symlink(2) with its target.
    Symlink(&'a [u8]),
    /// mknod(2): fifo, socket or device with its number.
    Special(FileType, u64),
}

/// renameat2(2) flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// Replace what is there.
    Replace,
    /// `RENAME_NOREPLACE`.
    NoReplace,
    /// `RENAME_EXCHANGE`.
    Exchange,
}

/// statfs(2).
#[derive(Clone, Copy, Debug, Default)]
pub struct FsStat {
    /// `f_type` magic.
    pub magic: u64,
    /// Block size in bytes.
    pub block_size: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks free.
    pub free: u64,
    /// Inodes in all.
    pub files: u64,
    /// Inodes free.
    pub files_free: u64,
}
