//! The operations of a socket.

use std::any::Any;
use std::sync::Arc;

use base_abi::Errno;
use kernel_vfs::save::{Saved, Saver, Unsavable};
use kernel_vfs::{Description, Events, PollTable};

use crate::rights::Rights;
use crate::{Address, Caller, Incoming, MsgFlags, Outgoing, Result, Shutdown, SocketBase};

/// Kind of the saved state of a socket.
pub(crate) const KIND: &str = "socket";

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

    /// Takes back the end of what [`recv`](Socket::recv) gave from a stream, with the descriptors that came with it: the
    /// receiver's memory was not there. Others lose it, as on Linux.
    fn put_back(&self, rest: &[u8], rights: Vec<Arc<Description>>) {
        let _ = (rest, rights);
    }

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

    /// What a snapshot keeps of it.
    #[doc(hidden)]
    fn saved(&self, saver: &mut Saver) -> std::result::Result<Saved, Unsavable> {
        let _ = saver;
        let base = self.base();
        let what = format!("a socket of family {} and type {}", base.domain, base.kind);
        Err(Unsavable::new(what))
    }

    /// Shows the descriptors in its receive queue.
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
