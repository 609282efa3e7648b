//! Structures that cross guest memory, laid out as x86-64 Linux lays them out.
//!
//! Each is plain old data: every bit pattern is a value, padding is explicit.
//! Add a structure beside its family and cite the header or man page.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct timespec` (time.h): seconds and nanoseconds.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    serde::Serialize,
    serde::Deserialize,
)]
#[repr(C)]
pub struct Timespec {
    /// Whole seconds.
    pub sec: i64,
    /// Nanoseconds, 0..1_000_000_000 in a valid value.
    pub nsec: i64,
}

/// `struct timeval` (sys/time.h): seconds and microseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Timeval {
    /// Whole seconds.
    pub sec: i64,
    /// Microseconds, 0..1_000_000 in a valid value.
    pub usec: i64,
}

/// `struct iovec` (readv(2)).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Iovec {
    /// Guest address.
    pub base: u64,
    /// Bytes.
    pub len: u64,
}

/// `struct stat` (stat(2)), 144 bytes on x86-64.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "field names are stat(2)'s own")]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub nlink: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub pad0: u32,
    pub rdev: u64,
    pub size: i64,
    pub blksize: i64,
    pub blocks: i64,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
    pub unused: [i64; 3],
}

/// `struct pollfd` (poll(2)).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PollFd {
    /// Descriptor; negative entries are skipped.
    pub fd: i32,
    /// Requested events.
    pub events: i16,
    /// Returned events.
    pub revents: i16,
}

/// The kernel's `struct sigaction` (rt_sigaction(2)), not the libc one.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    serde::Serialize,
    serde::Deserialize,
)]
#[repr(C)]
pub struct SigAction {
    /// `SIG_DFL` (0), `SIG_IGN` (1) or an address.
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Where a handler returns to (`SA_RESTORER`).
    pub restorer: u64,
    /// Signals blocked while the handler runs.
    pub mask: u64,
}

/// `stack_t` (sigaltstack(2)).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    serde::Serialize,
    serde::Deserialize,
)]
#[repr(C)]
pub struct SigAltStack {
    /// Lowest address.
    pub sp: u64,
    /// `SS_*`.
    pub flags: i32,
    /// Explicit padding.
    pub pad: u32,
    /// Bytes.
    pub size: u64,
}

/// `siginfo_t` (sigaction(2)) as 128 raw bytes with the common head.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    serde::Serialize,
    serde::Deserialize,
)]
#[repr(C)]
pub struct SigInfo {
    /// Signal number.
    pub signo: i32,
    /// An errno value, generally unused.
    pub errno: i32,
    /// `SI_*`, `SEGV_*`, …
    pub code: i32,
    /// Explicit padding.
    pub pad: i32,
    /// The union, by family: kill {pid, uid}, fault {addr}, timer, child, value.
    pub fields: [u64; 14],
}

/// `struct msghdr` as the kernel reads it (`struct user_msghdr`, sendmsg(2)), 56 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MsgHdr {
    /// Address of the socket address.
    pub name: u64,
    /// Its length.
    pub namelen: i32,
    /// Explicit padding.
    pub pad0: u32,
    /// Address of the parts.
    pub iov: u64,
    /// How many.
    pub iovlen: u64,
    /// Address of the control data.
    pub control: u64,
    /// Its length.
    pub controllen: u64,
    /// `MSG_*` (out).
    pub flags: u32,
    /// Explicit padding.
    pub pad1: u32,
}
