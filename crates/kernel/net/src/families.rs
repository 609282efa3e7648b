//! The families and types of sockets: which are made for which numbers (socket(2), socketpair(2)).

use std::net::SocketAddr;
use std::sync::Arc;

use base_abi::{Errno, net};

use crate::inet::{self, SOL_UDPLITE, TcpSocket, UdpSocket};
use crate::netlink::RouteSocket;
use crate::unix::{UnixDatagram, UnixSocket};
use crate::{Caller, NetStack, Result, Socket, Ucred};

/// Largest socket type number (`SOCK_MAX`).
const SOCK_MAX: u32 = 11;
/// `SOCK_NONBLOCK` and `SOCK_CLOEXEC` are the caller's matter and not part of a type.
const TYPE_MASK: u32 = 0xf;

impl NetStack {
    /// socket(2). The type is without `SOCK_NONBLOCK` and `SOCK_CLOEXEC`.
    ///
    /// # Errors
    /// Those of the man page.
    pub fn socket(
        self: &Arc<NetStack>,
        caller: &Caller<'_>,
        domain: u32,
        kind: u32,
        protocol: u32,
    ) -> Result<Arc<dyn Socket>> {
        if kind & !TYPE_MASK != 0 || kind >= SOCK_MAX {
            return Err(Errno::EINVAL);
        }
        let who = caller.credentials;
        match domain {
            net::AF_UNIX => self.unix_socket(who, kind, protocol),
            net::AF_INET | net::AF_INET6 => self.inet_socket(who, domain, kind, protocol),
            net::AF_NETLINK => match (kind, protocol) {
                (net::SOCK_RAW | net::SOCK_DGRAM, 0) => Ok(RouteSocket::new(self, kind, who)?),
                (net::SOCK_RAW | net::SOCK_DGRAM, _) => Err(Errno::EPROTONOSUPPORT),
                _ => Err(Errno::ESOCKTNOSUPPORT),
            },
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    fn unix_socket(
        self: &Arc<NetStack>,
        who: Ucred,
        kind: u32,
        protocol: u32,
    ) -> Result<Arc<dyn Socket>> {
        if protocol != 0 && protocol != net::AF_UNIX {
            return Err(Errno::EPROTONOSUPPORT);
        }
        match kind {
            net::SOCK_STREAM | net::SOCK_SEQPACKET => Ok(UnixSocket::new(self, kind, who)?),
            // Linux takes SOCK_RAW for a datagram socket here.
            net::SOCK_DGRAM | net::SOCK_RAW => Ok(UnixDatagram::new(self, who)?),
            _ => Err(Errno::ESOCKTNOSUPPORT),
        }
    }

    fn inet_socket(
        self: &Arc<NetStack>,
        who: Ucred,
        domain: u32,
        kind: u32,
        protocol: u32,
    ) -> Result<Arc<dyn Socket>> {
        // Protocol numbers up to 255 may be; MPTCP (262) is the one above.
        if protocol > 262 {
            return Err(Errno::EINVAL);
        }
        match (kind, protocol) {
            (net::SOCK_STREAM, 0 | net::SOL_TCP) => Ok(TcpSocket::new(self, domain, who)?),
            (net::SOCK_DGRAM, 0 | net::SOL_UDP) => {
                Ok(UdpSocket::new(self, domain, net::SOL_UDP, who)?)
            }
            (net::SOCK_DGRAM, SOL_UDPLITE) => Ok(UdpSocket::new(self, domain, SOL_UDPLITE, who)?),
            (net::SOCK_STREAM | net::SOCK_DGRAM, _) => Err(Errno::EPROTONOSUPPORT),
            (net::SOCK_RAW, 0) => Err(Errno::EPROTONOSUPPORT),
            (net::SOCK_RAW, _) => Err(Errno::EPERM),
            _ => Err(Errno::ESOCKTNOSUPPORT),
        }
    }

    /// socketpair(2).
    ///
    /// # Errors
    /// Those of socket(2), `EOPNOTSUPP` for a family without pairs.
    pub fn socket_pair(
        self: &Arc<NetStack>,
        caller: &Caller<'_>,
        domain: u32,
        kind: u32,
        protocol: u32,
    ) -> Result<[Arc<dyn Socket>; 2]> {
        if domain != net::AF_UNIX {
            self.socket(caller, domain, kind, protocol)?.close();
            return Err(Errno::EOPNOTSUPP);
        }
        if kind & !TYPE_MASK != 0 || kind >= SOCK_MAX {
            return Err(Errno::EINVAL);
        }
        if protocol != 0 && protocol != net::AF_UNIX {
            return Err(Errno::EPROTONOSUPPORT);
        }
        let who = caller.credentials;
        match kind {
            net::SOCK_STREAM | net::SOCK_SEQPACKET => {
                Ok(UnixSocket::pair(self, kind, who)?.map(|s| s as Arc<dyn Socket>))
            }
            net::SOCK_DGRAM | net::SOCK_RAW => {
                Ok(UnixDatagram::pair(self, who)?.map(|s| s as Arc<dyn Socket>))
            }
            _ => Err(Errno::ESOCKTNOSUPPORT),
        }
    }

    /// A datagram that came from outside for a UDP socket here.
    ///
    /// # Errors
    /// `ECONNREFUSED` when there is none.
    pub fn deliver_datagram(
        self: &Arc<NetStack>,
        from: SocketAddr,
        to: SocketAddr,
        data: &[u8],
    ) -> Result<()> {
        inet::deliver_datagram(self, from, to, data)
    }
}
