//! New descriptors: where files of all families are entered, and what the flags that all of them share mean.

use std::sync::Arc;

use kernel_core::task::Resource;
use kernel_vfs::{AccessMode, Description, Errno, Fd, FdFlags, File, StatusFlags};

use crate::call::Sys;

impl Sys<'_> {
    /// Opens a descriptor for an anonymous file.
    ///
    /// # Errors
    /// `EMFILE`.
    pub(crate) fn install(
        &self,
        file: Arc<dyn File>,
        access: AccessMode,
        status: StatusFlags,
        flags: FdFlags,
    ) -> Result<Fd, Errno> {
        let description = Description::anonymous(file, access, status);
        self.files().insert(description, flags, self.nofile())
    }

    /// `RLIMIT_NOFILE`.
    pub(crate) fn nofile(&self) -> u64 {
        self.process().limit(Resource::Nofile)
    }
}

/// `O_CLOEXEC` as a descriptor flag; `SOCK_`, `EFD_`, `EPOLL_`, `TFD_` and `IN_CLOEXEC` are the same bit.
pub(crate) fn fd_flags(flags: u32) -> FdFlags {
    if flags & base_abi::general::O_CLOEXEC == 0 {
        FdFlags::empty()
    } else {
        FdFlags::CLOEXEC
    }
}

/// `O_NONBLOCK` as a status flag; the other families' bits are the same.
pub(crate) fn status_flags(flags: u32) -> StatusFlags {
    StatusFlags::from_bits_truncate(flags & base_abi::general::O_NONBLOCK)
}

/// A descriptor as a return value.
pub(crate) fn returned(fd: Fd) -> u64 {
    u64::from(fd.cast_unsigned())
}
