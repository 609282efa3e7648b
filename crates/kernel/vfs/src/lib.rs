//! Files as Linux has them: inodes, open file descriptions, descriptor tables,
//! path walks, mounts and readiness.
//!
//! Nothing here knows tasks, guest memory or a platform. Two rules hold for
//! every implementation:
//!
//! * **No operation blocks.** What cannot be done now is `EAGAIN`; whoever wants
//!   to wait registers with [`File::poll`] first and looks again.
//! * **State is plain data** behind short locks, so that it can be serialised:
//!   no host stack and no host descriptor is the truth of anything but the
//!   contents of memory files.
//!
//! Lock order: rename lock of a file system, directory inode, child inode,
//! file description, wait queue. No lock is held while calling [`Notify::notify`].
#![forbid(unsafe_code)]

mod description;
mod file;
mod inode;
mod memory;
mod wait;

pub use base_abi::Errno;
pub use description::{AccessMode, Description, StatusFlags};
pub use file::{DirEntry, File, FileType, Whence};
pub use inode::{
    Attr, Credentials, FileSystem, FsStat, Inode, NewNode, RenameMode, SetAttr, SetTime,
};
pub use memory::{NoMemory, UserMemory};
pub use wait::{Events, Notify, PollTable, Registration, WaitQueue};

/// What every operation returns.
pub type Result<T> = std::result::Result<T, Errno>;
