//! What the kernel objects of a sandbox share: numbering, allowances, clock, terminals, fifos.

use std::sync::Arc;

use kernel_core::Kernel;
use kernel_files::pty::{DevPts, TtyDriver};
use kernel_files::{AnonInodes, Budget, Clock, FifoDriver};
use kernel_vfs::{FileType, MountTable};

use crate::jobs::Jobs;

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
    /// Nothing open; what memory files hold is bounded by the kernel's memory. Puts its drivers behind fifos and terminal nodes.
    pub(crate) fn new(clock: Arc<dyn Clock>, mounts: &MountTable, kernel: &Arc<Kernel>) -> Objects {
        let inodes = AnonInodes::new();
        let pipe_pages = Budget::new(PIPE_PAGES);
        let jobs = Arc::new(Jobs::new(kernel));
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
            memfd_bytes: Budget::new(kernel.config.memory),
            clock,
            fifos,
            devpts,
            jobs,
        }
    }
}
