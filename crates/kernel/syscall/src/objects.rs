//! What the kernel objects of a sandbox share: numbering, allowances, clock, terminals, fifos.

use std::sync::Arc;

use kernel_files::pty::{DevPts, TtyDriver};
use kernel_files::{AnonInodes, Budget, Clock, FifoDriver};
use kernel_vfs::{
    AccessMode, Description, Errno, Fd, FdFlags, File, FileType, MountTable, StatusFlags,
};

use crate::call::Sys;
use crate::current::Jobs;

/// Pages in all pipes together: 64 MiB.
const PIPE_PAGES: u64 = 16384;
/// `/proc/sys/fs/epoll/max_user_watches`.
pub(crate) const EPOLL_WATCHES: u64 = 1 << 18;
/// `/proc/sys/fs/inotify/max_user_watches`.
pub(crate) const INOTIFY_WATCHES: u64 = 1 << 13;
/// Pseudo-terminals at once.
pub(crate) const TERMINALS: u32 = 256;
/// `st_dev` of the terminal file system.
const DEVPTS_DEV: u64 = base_abi::device::make(0, 24);

/// Shared by the kernel objects that are files.
pub struct Objects {
    /// Numbers of anonymous inodes.
    pub inodes: AnonInodes,
    /// Pages of pipes.
    pub pipe_pages: Budget,
    /// Items of epoll files.
    pub epoll_watches: Budget,
    /// Watches of inotify files.
    pub inotify_watches: Budget,
    /// Bytes of memory files.
    pub memfd_bytes: Budget,
    /// Guest time with alarms.
    pub clock: Arc<dyn Clock>,
    /// Pipes of fifos.
    pub fifos: Arc<FifoDriver>,
    /// What to mount at `/dev/pts`.
    pub devpts: Arc<DevPts>,
    pub(crate) jobs: Arc<Jobs>,
}

impl Objects {
    /// Nothing open; `memory` bounds what memory files hold. Puts its drivers behind fifos and terminal nodes.
    pub(crate) fn new(clock: Arc<dyn Clock>, mounts: &MountTable, memory: u64) -> Objects {
        let inodes = AnonInodes::new();
        let pipe_pages = Budget::new(PIPE_PAGES);
        let jobs = Arc::new(Jobs::default());
        let devpts = DevPts::new(DEVPTS_DEV, TERMINALS, jobs.clone(), Arc::clone(&clock));
        let fifos = FifoDriver::new(&pipe_pages, &inodes);
        let drivers = &mounts.vfs().drivers;
        drivers.register_fifo(fifos.clone());
        drivers.register(FileType::CharDevice, DevPts::PTMX, devpts.clone());
        let tty = TtyDriver::new(jobs.clone());
        drivers.register(FileType::CharDevice, TtyDriver::TTY, tty);
        Objects {
            inodes,
            pipe_pages,
            epoll_watches: Budget::new(EPOLL_WATCHES),
            inotify_watches: Budget::new(INOTIFY_WATCHES),
            memfd_bytes: Budget::new(memory),
            clock,
            fifos,
            devpts,
            jobs,
        }
    }
}

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
        self.process().limit(kernel_core::task::Resource::Nofile)
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
