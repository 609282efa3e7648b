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

mod anonymous;
mod attr;
mod attributes;
mod context;
mod dentry;
mod description;
mod drivers;
mod fd_table;
mod file;
mod inode;
mod locks;
mod memory;
mod mount;
mod names;
pub mod notify;
mod open;
mod ownership;
mod path;
mod permission;
mod places;
pub mod save;
mod shared;
mod signal_driven;
mod status;
mod wait;
mod walk;

pub use attr::{
    Attr, Credentials, FileType, FsStat, InodeId, NewNode, RenameMode, SetAttr, SetTime,
};
pub use base_abi::Errno;
pub use context::{At, FsContext};
pub use dentry::{Dentry, Limits};
pub use description::Description;
pub use drivers::{Driver, Drivers};
pub use fd_table::{Fd, FdFlags, FdTable, ReservedFd};
pub use file::{DirEntry, File, Whence};
pub use inode::{FileSystem, Inode};
pub use locks::{FileLocks, FlockKind, LockKind, LockOwner, LockRange, RecordLock, SavedLock};
pub use memory::{NoMemory, UserMemory};
pub use mount::{Mount, MountFlags, MountTable, Unmount};
pub use open::OpenHow;
pub use ownership::{Owned, Ownership};
pub use path::Path;
pub use permission::{Access, permitted};
pub use shared::Vfs;
pub use signal_driven::{Owner, SharedSettings, SignalDriven};
pub use status::{AccessMode, StatusFlags};
pub use wait::{Events, Notify, PollTable, Registration, WaitQueue};
pub use walk::{LastLink, NAME_MAX, PATH_MAX, Resolve};

/// What every operation returns.
pub type Result<T> = std::result::Result<T, Errno>;
