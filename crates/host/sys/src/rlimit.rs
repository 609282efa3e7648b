//! Resource limits of this process (setrlimit(2)).

use std::io;

use crate::check;

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Size of a core dump in bytes.
    Core,
    /// One past the highest descriptor number.
    OpenFiles,
    /// Processes and threads of the real user.
    Tasks,
    /// Bytes of a file that may be written.
    FileSize,
    /// Bytes of memory that may be locked.
    LockedMemory,
    /// Bytes in POSIX message queues.
    MessageQueues,
}

impl Resource {
    fn raw(self) -> libc::__rlimit_resource_t {
        match self {
            Resource::Core => libc::RLIMIT_CORE,
            Resource::OpenFiles => libc::RLIMIT_NOFILE,
            Resource::Tasks => libc::RLIMIT_NPROC,
            Resource::FileSize => libc::RLIMIT_FSIZE,
            Resource::LockedMemory => libc::RLIMIT_MEMLOCK,
            Resource::MessageQueues => libc::RLIMIT_MSGQUEUE,
        }
    }
}

/// Soft and hard limit; `u64::MAX` is none.
///
/// # Errors
/// What the host said.
pub fn get(resource: Resource) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: needed because getrlimit(2) is a foreign function; it writes one `rlimit`.
    let result = unsafe { libc::getrlimit(resource.raw(), &raw mut limit) };
    check(result.into())?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Sets soft and hard limit.
///
/// # Errors
/// `EPERM` when raising the hard limit without the right to.
pub fn set(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: needed because setrlimit(2) is a foreign function; it reads one `rlimit`.
    let result = unsafe { libc::setrlimit(resource.raw(), &raw const limit) };
    check(result.into()).map(drop)
}
