//! Own namespaces and an empty root directory (namespaces(7), pivot_root(2)).

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::check;

/// A kind of namespace to leave the host's for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Users and capabilities; needs a process with one thread.
    User,
    /// Network interfaces and sockets by address.
    Network,
    /// System V IPC and POSIX queues.
    Ipc,
    /// Host name.
    Uts,
    /// Mounts.
    Mount,
    /// Process ids, of children made from now on.
    Pid,
    /// Control group paths.
    Cgroup,
}

impl Kind {
    fn flag(self) -> libc::c_int {
        match self {
            Kind::User => libc::CLONE_NEWUSER,
            Kind::Network => libc::CLONE_NEWNET,
            Kind::Ipc => libc::CLONE_NEWIPC,
            Kind::Uts => libc::CLONE_NEWUTS,
            Kind::Mount => libc::CLONE_NEWNS,
            Kind::Pid => libc::CLONE_NEWPID,
            Kind::Cgroup => libc::CLONE_NEWCGROUP,
        }
    }

    /// Lower-case name as in `/proc/self/ns`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Network => "net",
            Kind::Ipc => "ipc",
            Kind::Uts => "uts",
            Kind::Mount => "mnt",
            Kind::Pid => "pid",
            Kind::Cgroup => "cgroup",
        }
    }
}

/// Enters new namespaces of these kinds at once.
///
/// # Errors
/// `EPERM` where the host does not permit it, `EINVAL` for a user namespace with more than one thread.
pub fn unshare(kinds: &[Kind]) -> io::Result<()> {
    let flags = kinds.iter().fold(0, |flags, kind| flags | kind.flag());
    // SAFETY: needed because unshare(2) is a foreign function. None of the flags splits what Rust
    // takes to be shared between threads (memory, descriptors), so no invariant is at stake.
    let result = unsafe { libc::unshare(flags) };
    check(result.into()).map(drop)
}

/// Which side of [`fork_once`] this is.
#[derive(Debug)]
pub enum Side {
    /// The original process; the number is the child's id.
    Parent(i32),
    /// The new process.
    Child,
}

/// Forks a process that has one thread: the way into a process id namespace made by [`unshare`].
///
/// # Errors
/// `EBUSY` when there is more than one thread, otherwise what the host said.
pub fn fork_once() -> io::Result<Side> {
    has_one_thread()?;
    // SAFETY: needed because there is no safe fork. With one thread (just counted; nobody else could
    // start another) no lock is held by a thread that the child lacks, so the child may go on normally.
    let pid = check(unsafe { libc::fork() }.into())?;
    Ok(if pid == 0 {
        Side::Child
    } else {
        Side::Parent(pid as i32)
    })
}

/// As [`fork_once`], but the child begins in new namespaces of these kinds, and it is a child of the caller's parent
/// (clone(2), `CLONE_PARENT`), who waits for it and whose end it can ask to die with.
///
/// # Errors
/// As [`fork_once`] and [`unshare`].
pub fn fork_sibling(kinds: &[Kind]) -> io::Result<Side> {
    /// prctl(2): where the C library keeps the number of the calling thread.
    const GET_TID_ADDRESS: libc::c_int = 40;
    has_one_thread()?;
    let flags = kinds
        .iter()
        .fold(libc::CLONE_PARENT, |flags, kind| flags | kind.flag());
    let mut flags = u64::from(flags.cast_unsigned()) | libc::SIGCHLD as u64;
    let mut tid: *mut libc::pid_t = std::ptr::null_mut();
    // SAFETY: needed because prctl(2) is a foreign function; it writes one pointer to the place given.
    if unsafe { libc::prctl(GET_TID_ADDRESS, &raw mut tid) } == 0 && !tid.is_null() {
        let told = libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
        flags |= u64::from(told.cast_unsigned());
    }
    let args = [flags, 0, 0, tid as u64, 0, 0];
    // SAFETY: needed because the C library's fork has no flags. Without CLONE_VM, and with no stack given, the child
    // has a copy of all memory and goes on from here, as after fork(2); with one thread (just counted) no lock is held by
    // a thread that it lacks. `tid` is where the kernel keeps this thread's number up to date for
    // the C library, as it said itself, or null and unused.
    let pid = crate::call::check(unsafe { crate::call::syscall6(libc::SYS_clone, args) })?;
    Ok(match i32::try_from(pid) {
        Ok(0) => Side::Child,
        Ok(pid) => Side::Parent(pid),
        Err(_) => return Err(io::ErrorKind::InvalidData.into()),
    })
}

fn has_one_thread() -> io::Result<()> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads == 1 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }
}

/// Stays behind as the parent of `child`: closes every descriptor, waits for its end and ends likewise.
pub fn stand_in_for(child: i32) -> ! {
    // SAFETY: needed because close_range(2) is a foreign function. This process never returns to code
    // that owns a descriptor.
    unsafe { libc::close_range(0, u32::MAX, 0) };
    let mut status = 0;
    loop {
        // SAFETY: needed because waitpid(2) is a foreign function; it writes one int.
        let result = unsafe { libc::waitpid(child, &raw mut status, 0) };
        if result == child {
            break;
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            break;
        }
    }
    let code = if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status)
    } else {
        libc::WEXITSTATUS(status)
    };
    // SAFETY: _exit ends the process at once; nothing is left to clean up.
    unsafe { libc::_exit(code) }
}

/// Shows the process id namespace of the caller at `/proc`, in the caller's mount namespace only.
///
/// # Errors
/// `EPERM` where parts of the host's `/proc` are hidden (containers).
pub fn mount_own_proc() -> io::Result<()> {
    mount(None, "/", None, libc::MS_REC | libc::MS_PRIVATE, None)?;
    let quiet = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), quiet, None)
}

/// Makes an empty, read-only directory the root of this mount namespace and forgets the old tree.
/// Descriptors opened before keep working.
///
/// # Errors
/// `EPERM` outside an own mount namespace.
pub fn enter_empty_root() -> io::Result<()> {
    // Our changes must not travel to the host.
    mount(None, "/", None, libc::MS_REC | libc::MS_PRIVATE, None)?;
    let quiet = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // Any existing directory serves as the place; /tmp is hidden only in this namespace.
    let place = ["/tmp", "/run", "/mnt"]
        .into_iter()
        .find(|p| Path::new(p).is_dir())
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
    mount(
        Some("none"),
        place,
        Some("tmpfs"),
        quiet,
        Some("size=4k,mode=555"),
    )?;
    std::env::set_current_dir(place)?;
    pivot_root(".", ".")?;
    // The old root now lies on top of the new one at "."; see pivot_root(2), "pivot_root(".", ".")".
    detach(".")?;
    mount(
        None,
        "/",
        None,
        quiet | libc::MS_REMOUNT | libc::MS_RDONLY | libc::MS_BIND,
        None,
    )?;
    std::env::set_current_dir("/")
}

fn c_string(path: impl AsRef<Path>) -> io::Result<CString> {
    CString::new(path.as_ref().as_os_str().as_bytes()).map_err(io::Error::other)
}

fn mount(
    source: Option<&str>,
    target: &str,
    kind: Option<&str>,
    flags: libc::c_ulong,
    data: Option<&str>,
) -> io::Result<()> {
    let source = source.map(c_string).transpose()?;
    let target = c_string(target)?;
    let kind = kind.map(c_string).transpose()?;
    let data = data.map(c_string).transpose()?;
    let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |t| t.as_ptr());
    // SAFETY: needed because mount(2) is a foreign function. Each pointer is null, which the
    // call allows, or to a NUL-terminated string that outlives it.
    let result = unsafe {
        libc::mount(
            pointer(&source),
            target.as_ptr(),
            pointer(&kind),
            flags,
            pointer(&data).cast(),
        )
    };
    check(result.into()).map(drop)
}

fn pivot_root(new: &str, old: &str) -> io::Result<()> {
    let (new, old) = (c_string(new)?, c_string(old)?);
    // SAFETY: needed because libc has no wrapper for pivot_root(2); both strings are
    // NUL-terminated and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_pivot_root, new.as_ptr(), old.as_ptr()) };
    check(result).map(drop)
}

fn detach(path: &str) -> io::Result<()> {
    let path = c_string(path)?;
    // SAFETY: needed because umount2(2) is a foreign function; the string is NUL-terminated and outlives it.
    let result = unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    check(result.into()).map(drop)
}
