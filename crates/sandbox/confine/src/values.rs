//! Values of arguments that the kernel process may pass: requests of ioctl(2) and ptrace(2), options of prctl(2), commands of
//! fcntl(2). Each names its caller, as the rows of [`crate::calls`] do.

use base_abi::{general as linux, prctl, ptrace};
use host_sys::{page_map, seccomp};

use crate::rule::{Value, by, value};

/// Requests of ioctl(2).
pub(crate) const IOCTLS: &[Value] = &[
    value(
        seccomp::IOCTL_RECEIVE as u32,
        "SECCOMP_IOCTL_NOTIF_RECV",
        by("host/sys/src/seccomp.rs", "receive", "IOCTL_RECEIVE"),
    ),
    value(
        seccomp::IOCTL_SEND as u32,
        "SECCOMP_IOCTL_NOTIF_SEND",
        by("host/sys/src/seccomp.rs", "respond", "IOCTL_SEND"),
    ),
    value(
        seccomp::IOCTL_ADD_DESCRIPTOR as u32,
        "SECCOMP_IOCTL_NOTIF_ADDFD",
        by(
            "host/sys/src/seccomp.rs",
            "add_descriptor",
            "IOCTL_ADD_DESCRIPTOR",
        ),
    ),
    value(
        seccomp::IOCTL_SET_FLAGS as u32,
        "SECCOMP_IOCTL_NOTIF_SET_FLAGS",
        by(
            "host/sys/src/seccomp.rs",
            "wake_synchronously",
            "IOCTL_SET_FLAGS",
        ),
    ),
    value(
        page_map::SCAN as u32,
        "PAGEMAP_SCAN",
        by("host/sys/src/page_map.rs", "scan", "SCAN"),
    ),
];

/// Requests of ptrace(2).
pub(crate) const PTRACE: &[Value] = &[
    value(
        ptrace::PTRACE_CONT,
        "PTRACE_CONT",
        by("host/sys/src/ptrace.rs", "resume", "libc::PTRACE_CONT"),
    ),
    value(
        ptrace::PTRACE_GETREGS,
        "PTRACE_GETREGS",
        by(
            "host/sys/src/ptrace.rs",
            "registers",
            "libc::PTRACE_GETREGS",
        ),
    ),
    value(
        ptrace::PTRACE_SETREGS,
        "PTRACE_SETREGS",
        by(
            "host/sys/src/ptrace.rs",
            "set_registers",
            "libc::PTRACE_SETREGS",
        ),
    ),
    value(
        ptrace::PTRACE_DETACH,
        "PTRACE_DETACH",
        by("host/sys/src/ptrace.rs", "detach", "libc::PTRACE_DETACH"),
    ),
    value(
        ptrace::PTRACE_GETEVENTMSG,
        "PTRACE_GETEVENTMSG",
        by(
            "host/sys/src/ptrace.rs",
            "event_message",
            "libc::PTRACE_GETEVENTMSG",
        ),
    ),
    value(
        ptrace::PTRACE_GETSIGINFO,
        "PTRACE_GETSIGINFO",
        by(
            "host/sys/src/ptrace.rs",
            "signal_info",
            "libc::PTRACE_GETSIGINFO",
        ),
    ),
    value(
        ptrace::PTRACE_GETREGSET,
        "PTRACE_GETREGSET",
        by(
            "host/sys/src/ptrace.rs",
            "extended_state",
            "libc::PTRACE_GETREGSET",
        ),
    ),
    value(
        ptrace::PTRACE_SETREGSET,
        "PTRACE_SETREGSET",
        by(
            "host/sys/src/ptrace.rs",
            "set_extended_state",
            "libc::PTRACE_SETREGSET",
        ),
    ),
    value(
        ptrace::PTRACE_SEIZE,
        "PTRACE_SEIZE",
        by("host/sys/src/ptrace.rs", "seize", "libc::PTRACE_SEIZE"),
    ),
    value(
        ptrace::PTRACE_INTERRUPT,
        "PTRACE_INTERRUPT",
        by(
            "host/sys/src/ptrace.rs",
            "interrupt",
            "libc::PTRACE_INTERRUPT",
        ),
    ),
    value(
        ptrace::PTRACE_PEEKSIGINFO,
        "PTRACE_PEEKSIGINFO",
        by(
            "host/sys/src/ptrace.rs",
            "queued_signals",
            "libc::PTRACE_PEEKSIGINFO",
        ),
    ),
    value(
        ptrace::PTRACE_SETSIGMASK,
        "PTRACE_SETSIGMASK",
        by(
            "host/sys/src/ptrace.rs",
            "block_signals",
            "libc::PTRACE_SETSIGMASK",
        ),
    ),
];

/// Options of prctl(2).
pub(crate) const PRCTLS: &[Value] = &[value(
    prctl::PR_SET_NAME,
    "PR_SET_NAME",
    by("sandbox/instance/src/memory.rs", "start", ".name("),
)];

/// Commands of fcntl(2).
pub(crate) const FCNTLS: &[Value] = &[
    // The standard library asks before each close where debug assertions are on, as in tests.
    value(
        linux::F_GETFD,
        "F_GETFD",
        by("host/sys/src/dir.rs", "list", "let readable = openat2("),
    ),
    value(
        linux::F_ADD_SEALS,
        "F_ADD_SEALS",
        by("host/sys/src/seal.rs", "add_seals", "F_ADD_SEALS"),
    ),
    value(
        linux::F_GET_SEALS,
        "F_GET_SEALS",
        by("host/sys/src/seal.rs", "seals", "F_GET_SEALS"),
    ),
];
