//! Where traffic goes that does not stay in the sandbox.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use base_abi::Errno;

use super::TcpSocket;
use crate::Result;
use crate::endpoint::Stream;

/// What is beyond the sandbox's own addresses.
pub trait Outbound: Send + Sync {
    /// The source address towards a destination.
    ///
    /// # Errors
    /// `ENETUNREACH`, `EACCES` when policy forbids it.
    fn route(&self, to: SocketAddr) -> Result<IpAddr>;

    /// Opens a TCP connection; answers the request now or later. Must not block.
    fn connect(&self, request: OutboundRequest);

    /// Sends a datagram. Answers come in through [`NetStack::deliver_datagram`](crate::NetStack::deliver_datagram).
    ///
    /// # Errors
    /// `ENETUNREACH`, `EPERM`, `ENOBUFS`.
    fn datagram(&self, from: SocketAddr, to: SocketAddr, data: &[u8]) -> Result<()>;
}

/// Nothing is beyond.
#[derive(Clone, Copy, Debug)]
pub struct NoOutbound;

impl Outbound for NoOutbound {
    fn route(&self, _to: SocketAddr) -> Result<IpAddr> {
        Err(Errno::ENETUNREACH)
    }

    fn connect(&self, request: OutboundRequest) {
        request.refuse(Errno::ENETUNREACH);
    }

    fn datagram(&self, _from: SocketAddr, _to: SocketAddr, _data: &[u8]) -> Result<()> {
        Err(Errno::ENETUNREACH)
    }
}

/// What is beyond a namespace: set once, when it is made.
#[derive(Default)]
pub(crate) struct Beyond(OnceLock<Arc<dyn Outbound>>);

impl Beyond {
    pub(crate) fn set(&self, outbound: Arc<dyn Outbound>) {
        self.0.get_or_init(|| outbound);
    }

    pub(crate) fn outbound(&self) -> Arc<dyn Outbound> {
        Arc::clone(self.0.get_or_init(|| Arc::new(NoOutbound)))
    }
}

/// A connection that a guest asked for. Dropped unanswered it times out.
pub struct OutboundRequest {
    socket: Option<Arc<TcpSocket>>,
    from: SocketAddr,
    to: SocketAddr,
}

impl OutboundRequest {
    pub(super) fn new(socket: Arc<TcpSocket>, from: SocketAddr, to: SocketAddr) -> OutboundRequest {
        OutboundRequest {
            socket: Some(socket),
            from,
            to,
        }
    }

    /// The guest's end.
    #[must_use]
    pub fn from(&self) -> SocketAddr {
        self.from
    }

    /// The destination.
    #[must_use]
    pub fn to(&self) -> SocketAddr {
        self.to
    }

    /// The destination answered: returns its end of the connection.
    ///
    /// # Errors
    /// `ECONNABORTED` when the guest gave up meanwhile, `ENFILE` at the limit of sockets.
    pub fn accept(mut self) -> Result<Stream> {
        let socket = self.socket.take().ok_or(Errno::ECONNABORTED)?;
        let far = socket.new_peer(self.from, self.to);
        let far = far.inspect_err(|errno| socket.fail(*errno))?;
        if socket.complete(&far) {
            Ok(Stream::new(far))
        } else {
            Err(Errno::ECONNABORTED)
        }
    }

    /// The destination did not answer, or policy forbids it.
    pub fn refuse(mut self, errno: Errno) {
        if let Some(socket) = self.socket.take() {
            socket.fail(errno);
        }
    }
}

impl Drop for OutboundRequest {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            socket.fail(Errno::ETIMEDOUT);
        }
    }
}
