//! The operations of a socket, and the file that an open file description holds for it.

use std::any::Any;
use std::sync::Arc;

use base_abi::structs::Stat;
use base_abi::{Errno, ioctl};
use kernel_vfs::save::{FileState, LoadError, Loader, Saved, Saver, Unsavable, decode};
use kernel_vfs::{
    AccessMode, Description, Events, File, FileType, Inode, Path, PollTable, StatusFlags,
    UserMemory,
};

use crate::rights::Rights;
use crate::saved::SocketState;
use crate::{
    Address, Incoming, MsgFlags, NetStack, Outgoing, Result, SocketBase, Ucred, interface,
};

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

/// A socket. Defaults are those of a datagram socket that has no such operation.
///
/// Errors are those of the Linux manual pages; `EPIPE` asks the caller to raise `SIGPIPE`.
#[expect(clippy::missing_errors_doc, reason = "each is its man page's list")]
pub trait Socket: Any + Send + Sync {
    /// What all sockets have.
    fn base(&self) -> &SocketBase;

    /// bind(2).
    fn bind(&self, caller: &Caller<'_>, address: &Address) -> Result<()>;

    /// listen(2).
    fn listen(&self, caller: &Caller<'_>, backlog: i32) -> Result<()> {
        let _ = (caller, backlog);
        Err(Errno::EOPNOTSUPP)
    }

    /// accept(2): the new socket and its peer's address.
    fn accept(&self) -> Result<(Arc<dyn Socket>, Address)> {
        Err(Errno::EOPNOTSUPP)
    }

    /// connect(2) as on a non-blocking socket: TCP says `EINPROGRESS` first, then what came of it.
    fn connect(&self, caller: &Caller<'_>, address: &Address) -> Result<()>;

    /// send(2), sendto(2), sendmsg(2).
    fn send(&self, caller: &Caller<'_>, message: Outgoing<'_>) -> Result<usize>;

    /// recv(2), recvfrom(2), recvmsg(2).
    fn recv(&self, buf: &mut [u8], flags: MsgFlags) -> Result<Incoming>;

    /// shutdown(2).
    fn shutdown(&self, how: Shutdown) -> Result<()>;

    /// getsockname(2).
    fn local_address(&self) -> Result<Address>;

    /// getpeername(2).
    fn peer_address(&self) -> Result<Address>;

    /// getsockopt(2): the value, before it is cut to the caller's `room` (`*optlen`).
    fn get_option(&self, level: u32, name: u32, room: usize) -> Result<Vec<u8>>;

    /// setsockopt(2).
    fn set_option(&self, caller: &Caller<'_>, level: u32, name: u32, value: &[u8]) -> Result<()>;

    /// Readiness (poll(2)).
    fn poll(&self, table: &mut PollTable) -> Events;

    /// Readiness to send to an address, where another socket's queue decides.
    fn poll_send(
        &self,
        caller: &Caller<'_>,
        to: Option<&Address>,
        table: &mut PollTable,
    ) -> Events {
        let _ = (caller, to);
        self.poll(table)
    }

    /// Readiness to connect to an address whose accept queue was full (`EAGAIN`).
    fn poll_connect(&self, caller: &Caller<'_>, to: &Address, table: &mut PollTable) -> Events {
        let _ = (caller, to);
        self.poll(table)
    }

    /// `SIOCINQ`: bytes to read.
    fn unread(&self) -> Result<usize>;

    /// `SIOCOUTQ`: bytes the peer has not taken.
    fn unsent(&self) -> Result<usize> {
        Ok(0)
    }

    /// `SIOCATMARK`: whether the next byte follows the urgent mark.
    fn at_mark(&self) -> Result<bool> {
        Err(Errno::ENOTTY)
    }

    /// Gives up everything; called when the last description is gone.
    fn close(&self);

    /// Shows the descriptors in its receive queue.
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "only this crate reads it")]
    fn saved(&self, saver: &mut Saver) -> std::result::Result<SocketState, Unsavable> {
        let _ = saver;
        let base = self.base();
        let what = format!("a socket of family {} and type {}", base.domain, base.kind);
        Err(Unsavable::new(what))
    }

    #[doc(hidden)]
    fn visit_rights(&self, see: &mut dyn FnMut(&Arc<Description>)) {
        let _ = see;
    }

    /// Takes the descriptors out of its receive queue.
    #[doc(hidden)]
    #[expect(
        private_interfaces,
        reason = "only the collection of this crate calls it"
    )]
    fn take_rights(&self) -> Vec<Rights> {
        Vec::new()
    }
}

/// The file behind a socket descriptor.
pub struct SocketFile {
    socket: Arc<dyn Socket>,
}

impl SocketFile {
    /// Kind of its saved state.
    pub const KIND: &'static str = "socket";

    /// Builds it, and with the first end of a connection the connection.
    ///
    /// # Errors
    /// What is wrong with the state.
    pub fn load(
        state: &FileState,
        stack: &Arc<NetStack>,
        loader: &mut Loader,
    ) -> std::result::Result<Arc<SocketFile>, LoadError> {
        let state: SocketState = decode(&state.bytes, "a socket")?;
        let socket = crate::saved::load(state, stack, loader)?;
        Ok(Arc::new(SocketFile { socket }))
    }

    /// A description for a new socket.
    #[must_use]
    pub fn describe(socket: Arc<dyn Socket>, flags: StatusFlags) -> Arc<Description> {
        let file = Arc::new(SocketFile { socket });
        Description::anonymous(file, AccessMode::ReadWrite, flags)
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Arc<dyn Socket> {
        &self.socket
    }

    /// The socket of a description.
    ///
    /// # Errors
    /// `ENOTSOCK`.
    pub fn of(description: &Description) -> Result<&Arc<dyn Socket>> {
        let file = description.downcast::<SocketFile>();
        file.map(SocketFile::socket).ok_or(Errno::ENOTSOCK)
    }

    fn caller(&self) -> Caller<'static> {
        Caller {
            credentials: self.socket.base().creator,
            ..Caller::kernel()
        }
    }
}

impl File for SocketFile {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat {
            dev: SocketBase::DEVICE,
            ino: self.socket.base().ino,
            nlink: 1,
            mode: FileType::Socket.mode_bits() | 0o777,
            uid: self.socket.base().creator.uid,
            gid: self.socket.base().creator.gid,
            blksize: 4096,
            ..Stat::default()
        })
    }

    fn read_at(&self, _offset: u64, buf: &mut [u8]) -> Result<usize> {
        let incoming = self.socket.recv(buf, MsgFlags::empty())?;
        Ok(incoming.copied)
    }

    fn write_at(&self, _offset: u64, data: &[u8]) -> Result<usize> {
        self.socket.send(&self.caller(), Outgoing::bytes(data))
    }

    fn append(&self, data: &[u8]) -> Result<(usize, u64)> {
        self.write_at(0, data).map(|n| (n, 0))
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        self.socket.poll(table)
    }

    fn ioctl(&self, memory: &dyn UserMemory, request: u32, arg: u64) -> Result<u64> {
        let value = match request {
            ioctl::FIONREAD => self.socket.unread()?,
            ioctl::TIOCOUTQ => self.socket.unsent()?,
            ioctl::SIOCATMARK => usize::from(self.socket.at_mark()?),
            _ => return interface::ioctl(self.socket.base(), memory, request, arg),
        };
        let value = i32::try_from(value).unwrap_or(i32::MAX);
        memory.write_bytes(arg, &value.to_ne_bytes())?;
        Ok(0)
    }

    fn sync(&self) -> Result<()> {
        Err(Errno::EINVAL)
    }

    fn release(&self, _description: &Description) {
        self.socket.close();
    }

    fn save(&self, saver: &mut Saver) -> std::result::Result<Saved, Unsavable> {
        Saved::state(SocketFile::KIND, &self.socket.saved(saver)?)
    }

    fn anonymous_name(&self) -> String {
        format!("socket:[{}]", self.socket.base().ino)
    }
}
