//! Sockets in a snapshot.
//!
//! A connection is saved once and its ends refer to it. An end that nothing in the guest holds was the
//! kernel's: at an address of the sandbox it is handed to whoever serves there
//! ([`NetStack::take_resumed`]), anywhere else the connection is broken with `ECONNRESET`.

use std::net::SocketAddr;
use std::sync::Arc;

use base_abi::net;
use kernel_vfs::WaitQueue;
use kernel_vfs::save::{LoadError, Loader, Saver, Unsavable};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::inet::{Refused, TcpSocket, UdpSocket};
use crate::link::{Link, LinkEnd, LinkRef, Side};
use crate::option::{IpOptions, SocketOptions, TcpOptions};
use crate::unix::{DatagramState, UnixDatagram, UnixSocket, UnixState};
use crate::{NetStack, Socket, SocketBase, Ucred};

/// A socket.
#[derive(Serialize, Deserialize)]
pub(crate) struct SocketState {
    numbers: [u32; 3],
    ino: u64,
    creator: Ucred,
    options: SocketOptions,
    body: Body,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Body {
    Unix(Box<UnixState>),
    Datagram(Box<DatagramState>),
    Tcp(Box<TcpState>),
    Udp(Box<UdpState>),
}

#[derive(Serialize, Deserialize)]
pub(crate) struct TcpState {
    pub(crate) ip: IpOptions,
    pub(crate) tcp: TcpOptions,
    pub(crate) bound: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
    /// Whether it holds its port.
    pub(crate) leased: bool,
    pub(crate) untold: bool,
    pub(crate) idle_shut: bool,
    pub(crate) error: Option<i32>,
    pub(crate) phase: TcpPhase,
}

/// A UDP socket without queued datagrams.
#[derive(Serialize, Deserialize)]
pub(crate) struct UdpState {
    pub(crate) ip: IpOptions,
    pub(crate) bound: Option<SocketAddr>,
    /// Its address while it holds a port.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) dropped: u64,
    pub(crate) shut: (bool, bool),
    pub(crate) error: Option<i32>,
    pub(crate) coverage: [u32; 2],
    pub(crate) cork: bool,
    pub(crate) errors: Vec<Refused>,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum TcpPhase {
    Idle,
    Listening(usize),
    Linked(LinkRef, SocketAddr),
}

impl SocketState {
    pub(crate) fn new(base: &SocketBase, body: Body) -> SocketState {
        SocketState {
            numbers: [base.domain, base.kind, base.protocol],
            ino: base.ino,
            creator: base.creator,
            options: base.options(),
            body,
        }
    }
}

impl UnixSocket {
    pub(crate) fn to_state(&self, saver: &mut Saver) -> Result<SocketState, Unsavable> {
        let body = Body::Unix(Box::new(self.body(saver)?));
        Ok(SocketState::new(self.base(), body))
    }
}

impl UnixDatagram {
    pub(crate) fn to_state(&self, saver: &mut Saver) -> Result<SocketState, Unsavable> {
        let body = Body::Datagram(Box::new(self.body(saver)?));
        Ok(SocketState::new(self.base(), body))
    }
}

/// A connection while its ends are put back.
struct Restored {
    link: Arc<Link>,
    queues: [WaitQueue; 2],
    claimed: Mutex<[bool; 2]>,
}

impl Restored {
    fn claim(self: &Arc<Self>, side: Side) -> Result<(LinkEnd, WaitQueue), LoadError> {
        let index = usize::from(side == Side::Server);
        let mut claimed = self.claimed.lock();
        match claimed.get_mut(index) {
            Some(taken) if !*taken => *taken = true,
            _ => return Err(LoadError::Malformed("end of a connection")),
        }
        let [client, server] = &self.queues;
        let queue = if side == Side::Server { server } else { client };
        let link = Arc::clone(&self.link);
        Ok((LinkEnd { link, side }, queue.clone()))
    }
}

pub(crate) fn load(
    state: SocketState,
    stack: &Arc<NetStack>,
    loader: &mut Loader,
) -> Result<Arc<dyn Socket>, LoadError> {
    let reference = match &state.body {
        Body::Unix(unix) => unix.link(),
        Body::Tcp(tcp) => match &tcp.phase {
            TcpPhase::Linked(link, _) => Some(*link),
            _ => None,
        },
        Body::Udp(_) | Body::Datagram(_) => None,
    };
    let end = match reference {
        Some(reference) => Some(connection(reference, stack, loader)?),
        None => None,
    };
    let queue = end
        .as_ref()
        .map_or_else(WaitQueue::new, |(.., queue)| queue.clone());
    let failed = || LoadError::failed("socket");
    let base = SocketBase::restored(
        stack,
        state.numbers,
        state.creator,
        state.options,
        state.ino,
        queue,
    );
    let base = base.map_err(failed())?;
    let [domain, kind, _] = state.numbers;
    match state.body {
        Body::Unix(unix) => {
            let fits =
                domain == net::AF_UNIX && matches!(kind, net::SOCK_STREAM | net::SOCK_SEQPACKET);
            if !fits {
                return Err(LoadError::Malformed("family of a socket"));
            }
            let end = end.map(|(_, end, _)| end);
            Ok(UnixSocket::restored(base, &unix, end, loader)?)
        }
        Body::Datagram(datagram) => {
            if domain != net::AF_UNIX || kind != net::SOCK_DGRAM {
                return Err(LoadError::Malformed("family of a socket"));
            }
            Ok(UnixDatagram::restored(base, *datagram, loader)?)
        }
        Body::Udp(udp) => {
            if !matches!(domain, net::AF_INET | net::AF_INET6) || kind != net::SOCK_DGRAM {
                return Err(LoadError::Malformed("family of a socket"));
            }
            Ok(UdpSocket::restored(base, *udp).map_err(failed())?)
        }
        Body::Tcp(tcp) => {
            if !matches!(domain, net::AF_INET | net::AF_INET6) || kind != net::SOCK_STREAM {
                return Err(LoadError::Malformed("family of a socket"));
            }
            let near = end.as_ref().map(|(_, end, _)| end.clone());
            let socket = TcpSocket::restored(base, *tcp, near).map_err(failed())?;
            if let Some((restored, end, _)) = end {
                let (socket, stack) = (Arc::clone(&socket), Arc::clone(stack));
                loader.later(move |_| find_far_end(&restored, &end, &socket, &stack));
            }
            Ok(socket)
        }
    }
}

type Placed = (Arc<Restored>, LinkEnd, WaitQueue);

fn connection(
    reference: LinkRef,
    stack: &NetStack,
    loader: &mut Loader,
) -> Result<Placed, LoadError> {
    let restored = loader.shared(reference.link, |bytes, _| {
        let queues = [WaitQueue::new(), WaitQueue::new()];
        Ok(Arc::new(Restored {
            link: Link::restored(bytes, &stack.budget, queues.clone())?,
            queues,
            claimed: Mutex::default(),
        }))
    })?;
    let side = if reference.server {
        Side::Server
    } else {
        Side::Client
    };
    let (end, queue) = restored.claim(side)?;
    Ok((restored, end, queue))
}

/// The other end of a connection, if no socket of the guest took it.
fn find_far_end(
    restored: &Arc<Restored>,
    near: &LinkEnd,
    socket: &TcpSocket,
    stack: &Arc<NetStack>,
) -> Result<(), LoadError> {
    let side = match near.side {
        Side::Client => Side::Server,
        Side::Server => Side::Client,
    };
    if near.act(|_, peer, _| peer.closed) {
        return Ok(());
    }
    let Ok((end, queue)) = restored.claim(side) else {
        return Ok(());
    };
    let (local, remote, ..) = socket.describe();
    let far = TcpSocket::far_end(socket, end, queue, [remote, local]);
    let far = far.map_err(LoadError::failed("connection"))?;
    if stack.config().local.contains(remote.ip()) {
        stack.resume(crate::endpoint::Stream::new(far));
    } else {
        far.abort();
    }
    Ok(())
}
