//! A network namespace: its tables, its limits, and how sockets are made in it.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use base_abi::structs::Timespec;
use base_abi::{Errno, net};
use parking_lot::Mutex;

use crate::inet::{
    LocalAddresses, NoOutbound, Outbound, PortTable, SOL_UDPLITE, TcpSocket, UdpSocket,
};
use crate::limits::Budget;
use crate::netlink::RouteSocket;
use crate::rights::Ledger;
use crate::unix::{NameTable, UnixDatagram, UnixSocket};
use crate::{Caller, Limits, Result, Socket, Ucred, inet};

/// Largest socket type number (`SOCK_MAX`).
const SOCK_MAX: u32 = 11;
/// `SOCK_NONBLOCK` and `SOCK_CLOEXEC` are the caller's matter and not part of a type.
const TYPE_MASK: u32 = 0xf;

/// What a network namespace is made from.
#[derive(Clone)]
pub struct StackConfig {
    /// Bounds.
    pub limits: Limits,
    /// Own addresses beyond 127.0.0.0/8 and `::1`.
    pub addresses: Vec<IpAddr>,
    /// First port that needs no privilege (`net.ipv4.ip_unprivileged_port_start`).
    pub unprivileged_port_start: u16,
    /// What is beyond.
    pub outbound: Arc<dyn Outbound>,
    /// Wall clock, for arrival times.
    pub now: Arc<dyn Fn() -> Timespec + Send + Sync>,
}

impl Default for StackConfig {
    fn default() -> StackConfig {
        StackConfig {
            limits: Limits::default(),
            addresses: Vec::new(),
            unprivileged_port_start: 1024,
            outbound: Arc::new(NoOutbound),
            now: Arc::new(Timespec::default),
        }
    }
}

/// The configuration as the sockets use it.
pub(crate) struct Config {
    pub(crate) local: LocalAddresses,
    pub(crate) unprivileged_port_start: u16,
    pub(crate) outbound: Arc<dyn Outbound>,
    now: Arc<dyn Fn() -> Timespec + Send + Sync>,
}

/// One network namespace.
pub struct NetStack {
    config: Config,
    pub(crate) budget: Arc<Budget>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) unix_names: Arc<NameTable>,
    pub(crate) tcp_ports: Arc<PortTable<TcpSocket>>,
    pub(crate) udp_ports: Arc<PortTable<UdpSocket>>,
    pub(crate) udplite_ports: Arc<PortTable<UdpSocket>>,
    flows: Arc<Mutex<HashSet<(SocketAddr, SocketAddr)>>>,
    registry: Mutex<Registry>,
    next_ino: AtomicU64,
    resumed: Mutex<Vec<crate::endpoint::Stream>>,
}

/// Every socket by inode number, for `/proc/net`.
#[derive(Default)]
struct Registry {
    unix: HashMap<u64, Weak<dyn Socket>>,
    tcp: HashMap<u64, Weak<TcpSocket>>,
    udp: HashMap<u64, Weak<UdpSocket>>,
}

/// A pair of addresses that one TCP connection has for itself; freed when dropped.
pub(crate) struct Flow {
    flows: Arc<Mutex<HashSet<(SocketAddr, SocketAddr)>>>,
    pair: (SocketAddr, SocketAddr),
}

impl Flow {
    pub(crate) fn remote(&self) -> SocketAddr {
        self.pair.1
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.flows.lock().remove(&self.pair);
    }
}

impl NetStack {
    /// A namespace without sockets.
    #[must_use]
    pub fn new(config: StackConfig) -> Arc<NetStack> {
        Arc::new(NetStack {
            budget: Budget::new(config.limits),
            ledger: Ledger::new(config.limits.in_flight),
            config: Config {
                local: LocalAddresses {
                    own: config.addresses,
                },
                unprivileged_port_start: config.unprivileged_port_start,
                outbound: config.outbound,
                now: config.now,
            },
            unix_names: Arc::default(),
            tcp_ports: PortTable::new(),
            udp_ports: PortTable::new(),
            udplite_ports: PortTable::new(),
            flows: Arc::default(),
            registry: Mutex::default(),
            // Low numbers look like nothing else's.
            next_ino: AtomicU64::new(4096),
            resumed: Mutex::default(),
        })
    }

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

    /// Bytes waiting in all buffers.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.budget.bytes()
    }

    /// Sockets alive, those in accept queues included.
    #[must_use]
    pub fn socket_count(&self) -> usize {
        self.budget.sockets()
    }

    /// The bounds it was made with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.budget.limits()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn now(&self) -> Timespec {
        (self.config.now)()
    }

    /// A restored socket has this number: later ones get higher ones.
    pub(crate) fn number_taken(&self, ino: u64) {
        self.next_ino
            .fetch_max(ino.saturating_add(1), Ordering::Relaxed);
    }

    /// The kernel's ends of connections of a restored guest to addresses of the sandbox, each once:
    /// whoever served them before goes on. What is dropped is closed.
    #[must_use]
    pub fn take_resumed(&self) -> Vec<crate::endpoint::Stream> {
        std::mem::take(&mut *self.resumed.lock())
    }

    pub(crate) fn resume(&self, far: crate::endpoint::Stream) {
        self.resumed.lock().push(far);
    }

    pub(crate) fn next_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Ordering::Relaxed)
    }

    /// Reserves a pair of addresses.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` when a connection has it.
    pub(crate) fn claim_flow(&self, local: SocketAddr, remote: SocketAddr) -> Result<Flow> {
        if !self.flows.lock().insert((local, remote)) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        Ok(Flow {
            flows: Arc::clone(&self.flows),
            pair: (local, remote),
        })
    }

    pub(crate) fn register_unix(&self, socket: &Arc<dyn Socket>) {
        let weak = Arc::downgrade(socket);
        self.registry.lock().unix.insert(socket.base().ino, weak);
    }

    /// The unix socket of this number.
    pub(crate) fn numbered_unix(&self, ino: u64) -> Option<Arc<dyn Socket>> {
        self.registry.lock().unix.get(&ino)?.upgrade()
    }

    pub(crate) fn register_tcp(&self, socket: &Arc<TcpSocket>) {
        let weak = Arc::downgrade(socket);
        self.registry.lock().tcp.insert(socket.base().ino, weak);
    }

    pub(crate) fn register_udp(&self, socket: &Arc<UdpSocket>) {
        let weak = Arc::downgrade(socket);
        self.registry.lock().udp.insert(socket.base().ino, weak);
    }

    /// A socket is gone.
    pub(crate) fn forget(&self, ino: u64) {
        let mut registry = self.registry.lock();
        registry.unix.remove(&ino);
        registry.tcp.remove(&ino);
        registry.udp.remove(&ino);
    }

    pub(crate) fn unix_sockets(&self) -> Vec<Arc<dyn Socket>> {
        let registry = self.registry.lock();
        let mut sockets: Vec<_> = registry.unix.values().filter_map(Weak::upgrade).collect();
        sockets.sort_by_key(|s| s.base().ino);
        sockets
    }

    pub(crate) fn tcp_sockets(&self) -> Vec<Arc<TcpSocket>> {
        let registry = self.registry.lock();
        let mut sockets: Vec<_> = registry.tcp.values().filter_map(Weak::upgrade).collect();
        sockets.sort_by_key(|s| s.base().ino);
        sockets
    }

    pub(crate) fn udp_sockets(&self) -> Vec<Arc<UdpSocket>> {
        let registry = self.registry.lock();
        let mut sockets: Vec<_> = registry.udp.values().filter_map(Weak::upgrade).collect();
        sockets.sort_by_key(|s| s.base().ino);
        sockets
    }
}

impl std::fmt::Debug for NetStack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NetStack({} sockets)", self.socket_count())
    }
}
