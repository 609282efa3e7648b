//! Sockets for the kernel side: servers that live outside the guest and that the guest reaches by
//! its own loopback, such as the Lambda Runtime API.
//!
//! Everything is non-blocking. To wait, register a [`Notify`] with [`Listener::watch`] or
//! [`Stream::watch`], then look again.

use std::net::SocketAddr;
use std::sync::Arc;

use base_abi::{Errno, net};
use kernel_vfs::{Events, Notify, PollTable, Registration};
use parking_lot::Mutex;

use crate::inet::TcpSocket;
use crate::{Address, Caller, MsgFlags, NetStack, Outgoing, Result, Shutdown, Socket, Ucred};

fn family(addr: SocketAddr) -> u32 {
    if addr.is_ipv4() {
        net::AF_INET
    } else {
        net::AF_INET6
    }
}

fn watch(
    socket: &dyn Socket,
    target: Arc<dyn Notify>,
    interest: Events,
) -> (Vec<Registration>, Events) {
    let mut table = PollTable::waiting(target, interest);
    let now = socket.poll(&mut table);
    (table.into_registrations(), now)
}

/// A TCP listener of the kernel side.
pub struct Listener(Arc<TcpSocket>);

impl Listener {
    /// Listens on an address of the sandbox.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `ENFILE`.
    pub fn bind(stack: &Arc<NetStack>, addr: SocketAddr, backlog: u16) -> Result<Listener> {
        let caller = Caller::kernel();
        let domain = family(addr);
        let socket = TcpSocket::new(stack, domain, Ucred::default())?;
        let listener = Listener(socket);
        listener
            .0
            .bind(&caller, &Address::for_family(domain, addr))?;
        listener.0.listen(&caller, i32::from(backlog))?;
        Ok(listener)
    }

    /// The next connection.
    ///
    /// # Errors
    /// `EAGAIN` when there is none.
    pub fn accept(&self) -> Result<Stream> {
        self.0.accept_stream().map(Stream::new)
    }

    /// The address it listens on.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.0.describe().0
    }

    /// Registers for notifications, then says what is ready now.
    #[must_use]
    pub fn watch(&self, target: Arc<dyn Notify>, interest: Events) -> (Vec<Registration>, Events) {
        watch(self.0.as_ref(), target, interest)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// One end of a TCP connection, held by the kernel side; dropping closes it.
pub struct Stream(Arc<TcpSocket>);

impl Stream {
    pub(crate) fn new(socket: Arc<TcpSocket>) -> Stream {
        Stream(socket)
    }

    /// Reads; 0 is the end.
    ///
    /// # Errors
    /// `EAGAIN`, `ECONNRESET`.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize> {
        self.0.recv(buf, MsgFlags::empty()).map(|i| i.copied)
    }

    /// Writes as much as fits.
    ///
    /// # Errors
    /// `EAGAIN`, `EPIPE`, `ECONNRESET`, `ENOBUFS`.
    pub fn write(&self, data: &[u8]) -> Result<usize> {
        self.0.send(&Caller::kernel(), Outgoing::bytes(data))
    }

    /// Ends the own direction; the other stays open.
    ///
    /// # Errors
    /// `ENOTCONN` when the connection is gone.
    pub fn finish(&self) -> Result<()> {
        self.0.shutdown(Shutdown::Write)
    }

    /// What is ready now.
    #[must_use]
    pub fn ready(&self) -> Events {
        self.0.poll(&mut PollTable::look())
    }

    /// Registers for notifications, then says what is ready now.
    #[must_use]
    pub fn watch(&self, target: Arc<dyn Notify>, interest: Events) -> (Vec<Registration>, Events) {
        watch(self.0.as_ref(), target, interest)
    }

    /// Bytes written here that the guest had not read when it closed its end.
    #[must_use]
    pub fn never_read(&self) -> usize {
        self.0.never_read()
    }

    /// The guest's address.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        self.0.describe().1
    }

    /// Takes the pending error (`SO_ERROR`).
    pub fn take_error(&self) -> Option<Errno> {
        let value = self.0.get_option(net::SOL_SOCKET, net::SO_ERROR, 4).ok()?;
        let raw = value
            .first_chunk::<4>()
            .map_or(0, |b| i32::from_ne_bytes(*b));
        (raw != 0).then(|| Errno::from_raw(raw))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The kernel's ends of connections of a restored guest.
#[derive(Default)]
struct Resumed(Mutex<Vec<Stream>>);

impl NetStack {
    /// The kernel's ends of connections of a restored guest to addresses of the sandbox, each once:
    /// whoever served them before goes on. What is dropped is closed.
    #[must_use]
    pub fn take_resumed(&self) -> Vec<Stream> {
        std::mem::take(&mut *self.family::<Resumed>().0.lock())
    }

    pub(crate) fn resume(&self, far: Stream) {
        self.family::<Resumed>().0.lock().push(far);
    }
}
