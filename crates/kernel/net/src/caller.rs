//! Who asks a socket for something, and in what words.

use std::sync::Arc;

use base_abi::Errno;
use kernel_vfs::{Inode, Path};

use crate::{Result, Ucred};

/// Where unix sockets with a path live: the file system as the calling task sees it.
pub trait SocketNames {
    /// Makes a socket inode at a path and returns its place; the name stays when the socket is closed.
    ///
    /// # Errors
    /// `EADDRINUSE` when the path exists; the errors of the walk.
    fn create(&self, path: &[u8]) -> Result<Path>;

    /// The socket inode at a path, following symbolic links.
    ///
    /// # Errors
    /// `ECONNREFUSED` when it is no socket, `EACCES` without write permission, the errors of the walk.
    fn find(&self, path: &[u8]) -> Result<Arc<dyn Inode>>;
}

/// No file system: paths are not found.
#[derive(Clone, Copy, Debug)]
pub struct NoNames;

impl SocketNames for NoNames {
    fn create(&self, _path: &[u8]) -> Result<Path> {
        Err(Errno::EACCES)
    }

    fn find(&self, _path: &[u8]) -> Result<Arc<dyn Inode>> {
        Err(Errno::ENOENT)
    }
}

/// Who calls.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// Process, effective user and group.
    pub credentials: Ucred,
    /// Whether it may bind low ports and force buffer sizes (`CAP_NET_ADMIN`, `CAP_NET_BIND_SERVICE`).
    pub privileged: bool,
    /// Its file system.
    pub names: &'a dyn SocketNames,
}

impl Caller<'static> {
    /// The kernel side itself.
    #[must_use]
    pub fn kernel() -> Caller<'static> {
        Caller {
            credentials: Ucred::default(),
            privileged: true,
            names: &NoNames,
        }
    }
}

/// What shutdown(2) closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// `SHUT_RD`.
    Read,
    /// `SHUT_WR`.
    Write,
    /// `SHUT_RDWR`.
    Both,
}

impl Shutdown {
    /// From the argument of shutdown(2).
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn from_raw(how: u32) -> Result<Shutdown> {
        match how {
            0 => Ok(Shutdown::Read),
            1 => Ok(Shutdown::Write),
            2 => Ok(Shutdown::Both),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Is the receiving half meant?
    #[must_use]
    pub fn reads(self) -> bool {
        self != Shutdown::Write
    }

    /// Is the sending half meant?
    #[must_use]
    pub fn writes(self) -> bool {
        self != Shutdown::Read
    }
}
