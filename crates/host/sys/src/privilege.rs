//! Giving up rights: `no_new_privs`, capabilities, dumpability, and dying with the parent.

use std::io;

use crate::check;

/// Forbids this process and its children to gain rights by execve(2), for good.
///
/// # Errors
/// Never on kernels since 3.5.
pub fn set_no_new_privs() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Asks for SIGKILL when the parent thread dies; false when the parent was already gone.
///
/// # Errors
/// What the host said.
pub fn die_with_parent(parent: u32) -> io::Result<bool> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)?;
    Ok(std::os::unix::process::parent_id() == parent)
}

/// Makes `/proc/self` of this process unreadable for processes of the same user, and core dumps impossible.
///
/// # Errors
/// What the host said.
pub fn set_undumpable() -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0)
}

/// Starts a session of its own: signals of the terminal no longer come here (setsid(2)).
///
/// # Errors
/// `EPERM` for a process group leader.
pub fn new_session() -> io::Result<()> {
    // SAFETY: needed because setsid(2) is a foreign function; it takes nothing.
    check(unsafe { libc::setsid() }.into()).map(drop)
}

fn prctl(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: needed because prctl(2) is a foreign function. Only options whose argument is a
    // number come here, so the kernel touches no memory of ours.
    let result = unsafe { libc::prctl(option, value, 0, 0, 0) };
    check(result.into()).map(drop)
}

/// Effective user and group of this process.
#[must_use]
pub fn effective_ids() -> (u32, u32) {
    // SAFETY: needed because these are foreign functions; they take nothing and cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`: two words of 32 capabilities.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// Drops every capability of the calling thread, the ambient and bounding sets included.
/// Call it before other threads start: each thread has its own.
///
/// # Errors
/// What the host said.
pub fn drop_capabilities() -> io::Result<()> {
    // Without CAP_SETPCAP the bounding set stays; with no_new_privs it grants nothing.
    for capability in 0..=63 {
        if prctl(libc::PR_CAPBSET_DROP, capability).is_err() {
            break;
        }
    }
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let data = [CapabilityData::default(); 2];
    // SAFETY: needed because libc has no wrapper for capset(2). Both pointers are to values of the
    // layout that the version promises, and the kernel only reads them.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    check(result).map(drop)
}

/// Whether the calling thread holds any capability at all.
///
/// # Errors
/// What the host said.
pub fn has_capabilities() -> io::Result<bool> {
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let mut data = [CapabilityData::default(); 2];
    // SAFETY: needed because libc has no wrapper for capget(2). The kernel writes two
    // `CapabilityData` for this version, which is what `data` holds.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    check(result)?;
    Ok(data.iter().any(|d| d.effective | d.permitted != 0))
}
