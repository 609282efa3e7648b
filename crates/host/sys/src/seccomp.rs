//! Suspending and answering other threads' system calls (seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::call::{check, syscall6};

/// `SECCOMP_IOCTL_NOTIF_RECV`.
pub const IOCTL_RECEIVE: u64 = 0xc050_2100;
/// `SECCOMP_IOCTL_NOTIF_SEND`.
pub const IOCTL_SEND: u64 = 0xc018_2101;
/// `SECCOMP_IOCTL_NOTIF_ADDFD`.
pub const IOCTL_ADD_DESCRIPTOR: u64 = 0x4018_2103;
/// `SECCOMP_IOCTL_NOTIF_SET_FLAGS`.
pub const IOCTL_SET_FLAGS: u64 = 0x4008_2104;
const FLAG_CONTINUE: u32 = 1;
const ADD_FLAG_SET: u32 = 1;
const SYNC_WAKE_UP: u64 = 1;

/// `struct seccomp_notif`: a suspended system call. Must be zero before it is received into.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Notification {
    /// Cookie for the answer.
    pub id: u64,
    /// Thread, in our pid namespace.
    pub tid: u32,
    /// Always 0.
    pub flags: u32,
    /// System call number.
    pub nr: i32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Address after the instruction.
    pub ip: u64,
    /// Arguments.
    pub args: [u64; 6],
}

#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

#[repr(C)]
struct AddDescriptor {
    id: u64,
    flags: u32,
    src: u32,
    new: u32,
    new_flags: u32,
}

/// The descriptor at which a filter's suspended system calls arrive.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Takes a descriptor that a filter installation with `SECCOMP_FILTER_FLAG_NEW_LISTENER` gave.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Listener {
        Listener(fd)
    }

    /// Asks for the synchronous wake-up that keeps a pair of threads on one processor.
    ///
    /// # Errors
    /// `EINVAL` or `ENOTTY` before Linux 6.6: everything works, slower.
    pub fn wake_synchronously(&self) -> io::Result<()> {
        // SAFETY: needed because ioctl is a raw call; this request takes flags by value.
        check(unsafe {
            syscall6(
                libc::SYS_ioctl,
                [
                    self.0.as_raw_fd() as u64,
                    IOCTL_SET_FLAGS,
                    SYNC_WAKE_UP,
                    0,
                    0,
                    0,
                ],
            )
        })?;
        Ok(())
    }

    /// Blocks until a thread under the filter makes a system call.
    ///
    /// # Errors
    /// `EINTR`; `ENOENT` when the caller vanished while it was being received or no thread is left under the filter.
    pub fn receive(&self) -> io::Result<Notification> {
        let mut got = Notification::default();
        let args = [
            self.0.as_raw_fd() as u64,
            IOCTL_RECEIVE,
            (&raw mut got) as u64,
            0,
            0,
            0,
        ];
        // SAFETY: needed because ioctl is a raw call; it writes one struct seccomp_notif, which `got` is.
        check(unsafe { syscall6(libc::SYS_ioctl, args) })?;
        Ok(got)
    }

    /// Ends a suspended call with `value` in the caller's `rax`.
    ///
    /// # Errors
    /// `ENOENT` when the call is no longer suspended.
    #[inline]
    pub fn answer(&self, id: u64, value: i64) -> io::Result<()> {
        self.respond(Response {
            id,
            value,
            error: 0,
            flags: 0,
        })
    }

    /// Lets the host kernel run the suspended call after all.
    ///
    /// # Errors
    /// `ENOENT` when the call is no longer suspended.
    pub fn continue_call(&self, id: u64) -> io::Result<()> {
        self.respond(Response {
            id,
            value: 0,
            error: 0,
            flags: FLAG_CONTINUE,
        })
    }

    #[inline]
    fn respond(&self, mut response: Response) -> io::Result<()> {
        let args = [
            self.0.as_raw_fd() as u64,
            IOCTL_SEND,
            (&raw mut response) as u64,
            0,
            0,
            0,
        ];
        // SAFETY: needed because ioctl is a raw call; it reads one struct seccomp_notif_resp, which `response` is.
        check(unsafe { syscall6(libc::SYS_ioctl, args) })?;
        Ok(())
    }

    /// Installs our descriptor `file` as number `number` in the process of the suspended call, replacing what was there.
    ///
    /// # Errors
    /// `ENOENT` when the call is no longer suspended; `EMFILE`, `EBADF` as fcntl(2) has them.
    pub fn add_descriptor(&self, id: u64, file: BorrowedFd<'_>, number: u32) -> io::Result<()> {
        let src = u32::try_from(file.as_raw_fd())
            .map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
        let add = AddDescriptor {
            id,
            flags: ADD_FLAG_SET,
            src,
            new: number,
            new_flags: libc::O_CLOEXEC as u32,
        };
        let args = [
            self.0.as_raw_fd() as u64,
            IOCTL_ADD_DESCRIPTOR,
            (&raw const add) as u64,
            0,
            0,
            0,
        ];
        // SAFETY: needed because ioctl is a raw call; it reads one struct seccomp_notif_addfd, which `add` is.
        check(unsafe { syscall6(libc::SYS_ioctl, args) })?;
        Ok(())
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl std::os::fd::AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
