//! Process descriptors (pidfd_open(2)).

use std::sync::{Arc, Weak};

use base_abi::Errno;
use base_abi::general::O_NONBLOCK;
use kernel_core::Kernel;
use kernel_core::task::{Pid, Process};
use kernel_files::{Exit, PidFd};
use kernel_vfs::{AccessMode, Description, FdFlags, StatusFlags, WaitQueue};

use crate::call::{Args, Sys, SysResult};
use crate::descriptors::returned;
use crate::entry::Entry;

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(434, "pidfd_open", "dx", pidfd_open),
    Entry::refused(
        438,
        "pidfd_getfd",
        "ddx",
        |_, _| Err(Errno::EPERM.into()),
        "needs ptrace rights, which nobody has",
    ),
];

/// `PIDFD_NONBLOCK` is the same bit.
const PIDFD_NONBLOCK: u32 = O_NONBLOCK;

/// What a process descriptor holds.
struct Target {
    kernel: Weak<Kernel>,
    process: Arc<Process>,
}

impl Target {
    fn with_links<R>(&self, f: impl FnOnce(Option<&kernel_core::task::Links>) -> R) -> R {
        match self.kernel.upgrade() {
            Some(kernel) => {
                let tree = kernel.tree.lock();
                let links = tree.links(self.process.pid());
                f(links.filter(|l| Arc::ptr_eq(&l.process, &self.process)))
            }
            None => f(None),
        }
    }
}

/// The file of a process that was saved.
pub(crate) fn restored(kernel: &Arc<Kernel>, process: &Arc<Process>) -> Arc<PidFd> {
    let target = Target {
        kernel: Arc::downgrade(kernel),
        process: Arc::clone(process),
    };
    PidFd::new(Arc::new(target), u64::from(process.pid().cast_unsigned()))
}

impl Exit for Target {
    fn pid(&self) -> Option<i32> {
        self.with_links(|links| links.map(|l| l.process.pid()))
    }

    fn exited(&self) -> bool {
        self.with_links(|links| links.is_none_or(|l| l.ended.is_some()))
    }

    fn queue(&self) -> WaitQueue {
        self.process.exit_queue.clone()
    }
}

/// An open description for a process.
pub(crate) fn description(
    kernel: &Arc<Kernel>,
    process: &Arc<Process>,
    flags: StatusFlags,
) -> Arc<Description> {
    let target = Target {
        kernel: Arc::downgrade(kernel),
        process: Arc::clone(process),
    };
    let file = PidFd::new(Arc::new(target), u64::from(process.pid().cast_unsigned()));
    Description::anonymous(file, AccessMode::ReadWrite, flags)
}

/// The process behind a descriptor.
///
/// # Errors
/// `EBADF` for what is no process descriptor, `ESRCH` for one that was reaped.
pub(crate) fn pid_of(sys: &mut Sys<'_>, fd: i32) -> Result<Pid, Errno> {
    let description = sys.file_or_place(fd)?;
    match description.downcast::<PidFd>() {
        Some(pidfd) => pidfd.process().pid().ok_or(Errno::ESRCH),
        None => directory_of(&description).ok_or(Errno::EBADF),
    }
}

/// The process whose directory of `/proc` this is: pidfd_send_signal(2) takes those too.
fn directory_of(description: &Description) -> Option<Pid> {
    let place = description.location()?;
    let root = place.mount().root();
    let top = place
        .dentry()
        .parent()
        .is_some_and(|p| Arc::ptr_eq(&p, root));
    if !top || place.mount().fs().name() != "proc" {
        return None;
    }
    std::str::from_utf8(&place.dentry().name())
        .ok()?
        .parse()
        .ok()
}

fn pidfd_open(sys: &mut Sys<'_>, args: Args) -> SysResult {
    if args.u32(1) & !PIDFD_NONBLOCK != 0 || args.i32(0) <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let process = {
        let tree = sys.kernel().tree.lock();
        match tree.links(args.i32(0)) {
            Some(links) => Arc::clone(&links.process),
            None if tree.task(args.i32(0)).is_some() => return Err(Errno::EINVAL.into()),
            None => return Err(Errno::ESRCH.into()),
        }
    };
    let flags = StatusFlags::from_bits_truncate(args.u32(1) & PIDFD_NONBLOCK);
    let description = description(&sys.system.kernel, &process, flags);
    let fd = sys
        .files()
        .insert(description, FdFlags::CLOEXEC, sys.nofile())?;
    Ok(returned(fd))
}
