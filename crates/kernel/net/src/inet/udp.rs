//! UDP sockets, and those of UDP-Lite, which differ in their ports and in what their checksum covers (udplite(7)).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use base_abi::{Errno, net};
use kernel_vfs::{Events, PollTable};
use parking_lot::Mutex;

use super::datagram::Datagram;
use super::error_queue::ErrorQueue;
use super::outbound::Beyond;
use super::ports::{PortLease, PortTable, Scope, Sharing};
use crate::limits::Budget;
use crate::link::Wake;
use crate::option::{DEFAULT_BUFFER, IpOptions, SocketOptions, give};
use crate::registry::{Registration, Registry};
use crate::{
    Address, Caller, Incoming, MsgFlags, NetStack, Outgoing, Result, Shutdown, Socket, SocketBase,
    Ucred,
};

/// `SOL_UDPLITE` and `IPPROTO_UDPLITE` (udplite(7)).
pub(crate) const SOL_UDPLITE: u32 = 136;
/// `UDP_CORK` (udp(7)).
const UDP_CORK: u32 = 1;
/// `UDPLITE_SEND_CSCOV` and `UDPLITE_RECV_CSCOV` (udplite(7)).
const SEND_COVERAGE: u32 = 10;
const RECEIVE_COVERAGE: u32 = 11;
/// The header of a datagram: the least that a checksum covers, in bytes.
const HEADER: u32 = 8;
/// Largest payload of a datagram.
const MAX_PAYLOAD: usize = 65_507;

/// The ports of a namespace: those of UDP, and those of UDP-Lite beside them.
#[derive(Default)]
pub(super) struct UdpPorts {
    pub(super) udp: Arc<PortTable<UdpSocket>>,
    pub(super) lite: Arc<PortTable<UdpSocket>>,
}

/// A UDP socket.
pub(crate) struct UdpSocket {
    _registration: Registration<UdpSocket>,
    pub(super) base: SocketBase,
    /// Those of its protocol.
    pub(super) ports: Arc<PortTable<UdpSocket>>,
    pub(super) me: Weak<UdpSocket>,
    pub(super) ip: Mutex<IpOptions>,
    pub(super) state: Mutex<State>,
    /// What became of datagrams; locked after the state.
    pub(super) errors: Mutex<ErrorQueue>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) lease: Option<PortLease<UdpSocket>>,
    pub(super) local: Option<SocketAddr>,
    /// What bind(2) asked for.
    pub(super) bound: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) queue: VecDeque<Datagram>,
    pub(super) queued: usize,
    pub(super) dropped: u64,
    pub(super) receive_shut: bool,
    pub(super) send_shut: bool,
    pub(super) error: Option<Errno>,
    /// What a UDP-Lite checksum covers, sending and receiving; kept for asking, since nothing is lost on the way.
    pub(super) coverage: [u32; 2],
    /// Bytes kept back by `MSG_MORE`, and where they go.
    pub(super) corked: Vec<u8>,
    pub(super) cork: bool,
}

impl UdpSocket {
    pub(crate) fn new(
        stack: &Arc<NetStack>,
        domain: u32,
        protocol: u32,
        creator: Ucred,
    ) -> Result<Arc<UdpSocket>> {
        let options = SocketOptions::with_buffers(DEFAULT_BUFFER, DEFAULT_BUFFER);
        let numbers = [domain, net::SOCK_DGRAM, protocol];
        let base = SocketBase::new(stack, numbers, creator, options)?;
        Ok(UdpSocket::with_base(base, IpOptions::default()))
    }

    pub(super) fn with_base(base: SocketBase, ip: IpOptions) -> Arc<UdpSocket> {
        let ports = base.stack.family::<UdpPorts>();
        let ports = match base.protocol {
            SOL_UDPLITE => Arc::clone(&ports.lite),
            _ => Arc::clone(&ports.udp),
        };
        let registry = base.stack.family::<Registry<UdpSocket>>();
        let errors = ErrorQueue::new(&base.stack.budget);
        Arc::new_cyclic(|me| UdpSocket {
            _registration: registry.register(base.ino, Weak::clone(me)),
            base,
            ports,
            me: Weak::clone(me),
            ip: Mutex::new(ip),
            state: Mutex::default(),
            errors: Mutex::new(errors),
        })
    }

    /// Which of the two coverages an option of UDP-Lite names.
    fn coverage(&self, name: u32) -> Option<usize> {
        let lite = self.base.protocol == SOL_UDPLITE;
        let names = [SEND_COVERAGE, RECEIVE_COVERAGE];
        names.iter().position(|n| lite && *n == name)
    }

    pub(super) fn sharing(&self) -> Sharing {
        let options = self.base.options.lock();
        Sharing {
            reuse_address: options.reuse_address,
            reuse_port: options.reuse_port,
            uid: self.base.creator.uid,
        }
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.base.stack.budget
    }

    /// Local and remote address, queued bytes and drops, for `/proc/net/udp`.
    pub(crate) fn describe(&self) -> (SocketAddr, SocketAddr, usize, u64) {
        let nowhere = SocketAddr::new(super::any(self.base.domain), 0);
        let state = self.state.lock();
        let local = state.local.unwrap_or(nowhere);
        (
            local,
            state.remote.unwrap_or(nowhere),
            state.queued,
            state.dropped,
        )
    }

    /// Binds to a free port unless bound; returns the local address.
    fn ensure_bound(&self) -> Result<SocketAddr> {
        let ip = self.ip.lock().clone();
        let sharing = self.sharing();
        let mut state = self.state.lock();
        if let Some(local) = state.local.filter(|_| state.lease.is_some()) {
            return Ok(local);
        }
        let addr = super::any(self.base.domain);
        let scope = super::scope(&ip, addr);
        let lease = self.ports.bind(scope, 0, sharing, Weak::clone(&self.me));
        let lease = lease.map_err(|_| Errno::EAGAIN)?;
        let local = SocketAddr::new(addr, lease.port);
        state.local = Some(local);
        state.lease = Some(lease);
        Ok(local)
    }

    /// The source address towards a destination, or why it cannot be reached.
    pub(super) fn source_for(&self, local: SocketAddr, to: IpAddr) -> Result<SocketAddr> {
        let config = self.base.stack.config();
        let ip = if !local.ip().is_unspecified() && !local.ip().is_multicast() {
            local.ip()
        } else if to.is_multicast() || config.local.is_broadcast(to) || config.local.contains(to) {
            config.local.source_for(to)
        } else {
            self.base
                .stack
                .family::<Beyond>()
                .outbound()
                .route(SocketAddr::new(to, 0))?
        };
        if ip.is_ipv4() != to.is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        Ok(SocketAddr::new(ip, local.port()))
    }

    fn disconnect(&self) {
        let ip = self.ip.lock().clone();
        let mut state = self.state.lock();
        state.remote = None;
        match (state.bound, &state.lease) {
            (Some(bound), Some(lease)) => {
                lease.set_peer(super::scope(&ip, bound.ip()), None);
                state.local = Some(bound);
            }
            _ => {
                state.lease = None;
                state.local = None;
            }
        }
    }

    /// Nobody takes what was sent there.
    pub(super) fn unreachable(&self, to: SocketAddr, data: &[u8]) {
        let reports = self.ip.lock().report_errors;
        {
            let mut state = self.state.lock();
            if state.remote != Some(to) && !reports {
                return;
            }
            state.error = Some(Errno::ECONNREFUSED);
            if reports {
                self.errors.lock().push(to, data);
            }
        }
        self.base.queue.wake(Events::ERR);
    }

    /// The bytes to send now: those kept back and these; nothing while corked.
    fn uncork<'a>(&self, message: &Outgoing<'a>) -> Result<Option<std::borrow::Cow<'a, [u8]>>> {
        let mut state = self.state.lock();
        let more = message.flags.contains(MsgFlags::MORE) || state.cork;
        if state.corked.len().saturating_add(message.data.len()) > MAX_PAYLOAD {
            return Err(Errno::EMSGSIZE);
        }
        if !more && state.corked.is_empty() {
            return Ok(Some(message.data.into()));
        }
        state.corked.extend(message.data);
        if more {
            return Ok(None);
        }
        Ok(Some(std::mem::take(&mut state.corked).into()))
    }
}

impl Socket for UdpSocket {
    fn base(&self) -> &SocketBase {
        &self.base
    }

    fn saved(
        &self,
        _saver: &mut kernel_vfs::save::Saver,
    ) -> std::result::Result<kernel_vfs::save::Saved, kernel_vfs::save::Unsavable> {
        kernel_vfs::save::Saved::state(crate::socket::KIND, &self.to_state()?)
    }

    fn bind(&self, caller: &Caller<'_>, address: &Address) -> Result<()> {
        let ip = self.ip.lock().clone();
        let addr = super::bind_address(&self.base, &ip, address)?;
        let stack = &self.base.stack;
        if !stack.config().local.bindable(addr.ip()) && !ip.free_bind() {
            return Err(Errno::EADDRNOTAVAIL);
        }
        super::check_port(&self.base, caller, addr.port())?;
        let sharing = self.sharing();
        let mut state = self.state.lock();
        if state.lease.is_some() {
            return Err(Errno::EINVAL);
        }
        let scope = super::scope(&ip, addr.ip());
        let lease = self
            .ports
            .bind(scope, addr.port(), sharing, Weak::clone(&self.me))?;
        let local = SocketAddr::new(addr.ip(), lease.port);
        state.local = Some(local);
        state.bound = Some(local);
        state.lease = Some(lease);
        Ok(())
    }

    fn connect(&self, _caller: &Caller<'_>, address: &Address) -> Result<()> {
        if *address == Address::Unspecified {
            self.disconnect();
            return Ok(());
        }
        let ip = self.ip.lock().clone();
        let remote = super::remote_address(&self.base, &ip, address)?;
        let broadcast = self.base.stack.config().local.is_broadcast(remote.ip());
        if broadcast && !self.base.options.lock().broadcast {
            return Err(Errno::EACCES);
        }
        let local = self.ensure_bound()?;
        let bound = self
            .state
            .lock()
            .bound
            .unwrap_or(SocketAddr::new(super::any(self.base.domain), local.port()));
        let from = match self.source_for(SocketAddr::new(bound.ip(), local.port()), remote.ip()) {
            Ok(from) => from,
            Err(errno) => {
                self.disconnect();
                return Err(errno);
            }
        };
        let mut state = self.state.lock();
        state.remote = Some(remote);
        state.local = Some(from);
        let scope = if remote.ip().is_multicast() {
            super::scope(&ip, bound.ip())
        } else {
            Scope::One(from.ip())
        };
        if let Some(lease) = &state.lease {
            lease.set_peer(scope, Some(remote));
        }
        Ok(())
    }

    fn send(&self, _caller: &Caller<'_>, message: Outgoing<'_>) -> Result<usize> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        if message.data.len() > MAX_PAYLOAD {
            return Err(Errno::EMSGSIZE);
        }
        if !message.rights.is_empty() {
            return Err(Errno::EINVAL);
        }
        let remote = match &message.to {
            Some(address) => {
                let ip = self.ip.lock().clone();
                super::remote_address(&self.base, &ip, address)?
            }
            None => self.state.lock().remote.ok_or(Errno::EDESTADDRREQ)?,
        };
        if remote.port() == 0 {
            return Err(Errno::EINVAL);
        }
        {
            let mut state = self.state.lock();
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            if state.send_shut {
                return Err(Errno::EPIPE);
            }
        }
        let local = self.ensure_bound()?;
        if let Some(data) = self.uncork(&message)? {
            self.send_to(local, remote, &data, (message.hops, message.class))?;
        }
        Ok(message.data.len())
    }

    fn recv(&self, buf: &mut [u8], flags: MsgFlags) -> Result<Incoming> {
        if flags.contains(MsgFlags::ERRQUEUE) {
            return self.receive_error(buf);
        }
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut state = self.state.lock();
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        if flags.contains(MsgFlags::PEEK)
            && let Some(datagram) = state.queue.front().cloned()
        {
            drop(state);
            return Ok(self.deliver(&datagram, buf, flags));
        }
        let Some(datagram) = state.queue.pop_front() else {
            return if state.receive_shut {
                Ok(Incoming::default())
            } else {
                Err(Errno::EAGAIN)
            };
        };
        state.queued -= datagram.cost();
        drop(state);
        self.budget().give_bytes(datagram.cost());
        Ok(self.deliver(&datagram, buf, flags))
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        {
            let mut state = self.state.lock();
            state.receive_shut |= how.reads();
            state.send_shut |= how.writes();
            if state.remote.is_none() {
                return Err(Errno::ENOTCONN); // But it is shut.
            }
        }
        self.base.queue.wake(Wake::END);
        Ok(())
    }

    fn local_address(&self) -> Result<Address> {
        let (local, ..) = self.describe();
        Ok(Address::for_family(self.base.domain, local))
    }

    fn peer_address(&self) -> Result<Address> {
        let remote = self.state.lock().remote.ok_or(Errno::ENOTCONN)?;
        Ok(Address::for_family(self.base.domain, remote))
    }

    fn get_option(&self, level: u32, name: u32, _room: usize) -> Result<Vec<u8>> {
        match (level, name) {
            (net::SOL_UDP | SOL_UDPLITE, UDP_CORK) => Ok(give(self.state.lock().cork)),
            (net::SOL_UDP | SOL_UDPLITE, name) => {
                let which = self.coverage(name).ok_or(Errno::ENOPROTOOPT)?;
                Ok(give(self.state.lock().coverage[which]))
            }
            (net::SOL_SOCKET, net::SO_ERROR) => {
                let error = self.state.lock().error.take();
                Ok(give(error.map_or(0, Errno::raw)))
            }
            (net::SOL_SOCKET, net::SO_PEERCRED) => Ok(Ucred::NOBODY.encode().to_vec()),
            _ => {
                let connected = self.state.lock().remote.is_some();
                super::get_ip_option(&self.base, &self.ip, level, name, connected)
            }
        }
    }

    fn set_option(&self, caller: &Caller<'_>, level: u32, name: u32, value: &[u8]) -> Result<()> {
        if level == net::SOL_UDP || level == SOL_UDPLITE {
            if name == UDP_CORK {
                return self.set_cork(crate::option::flag(value)?);
            }
            let which = self.coverage(name).ok_or(Errno::ENOPROTOOPT)?;
            let bytes = crate::option::int(value)?;
            // Zero is all of it; less than the header is the header.
            let bytes = match u32::try_from(bytes).unwrap_or(u32::MAX) {
                0 => 0,
                bytes => bytes.clamp(HEADER, u32::from(u16::MAX)),
            };
            self.state.lock().coverage[which] = bytes;
            return Ok(());
        }
        let bound = self.state.lock().lease.is_some();
        super::set_ip_option(&self.base, &self.ip, caller, (level, name), value, bound)?;
        if !self.ip.lock().report_errors {
            self.errors.lock().clear();
        }
        let sharing = self.sharing();
        if let Some(lease) = &self.state.lock().lease {
            lease.set_sharing(sharing);
        }
        Ok(())
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.base.queue);
        let state = self.state.lock();
        let mut events = Events::WRITABLE | Events::WRBAND;
        if state.error.is_some() || !self.errors.lock().is_empty() {
            events |= Events::ERR;
        }
        if state.receive_shut {
            events |= Events::RDHUP | Events::READABLE;
        }
        if state.receive_shut && state.send_shut {
            events |= Events::HUP;
        }
        if !state.queue.is_empty() {
            events |= Events::READABLE;
        }
        events
    }

    fn unread(&self) -> Result<usize> {
        let state = self.state.lock();
        Ok(state.queue.front().map_or(0, |d| d.data.len()))
    }

    fn close(&self) {
        let mut state = self.state.lock();
        self.budget().give_bytes(std::mem::take(&mut state.queued));
        state.queue.clear();
        state.corked.clear();
        state.lease = None;
        self.errors.lock().clear();
    }
}

impl UdpSocket {
    /// recvmsg(2) with `MSG_ERRQUEUE`. The pending error is that of the next one (`sock_dequeue_err_skb` of Linux).
    fn receive_error(&self, buf: &mut [u8]) -> Result<Incoming> {
        let mut state = self.state.lock();
        let mut errors = self.errors.lock();
        let taken = errors.take(self.base.domain, buf).ok_or(Errno::EAGAIN)?;
        state.error = (!errors.is_empty()).then_some(Errno::ECONNREFUSED);
        Ok(taken)
    }

    fn set_cork(&self, on: bool) -> Result<()> {
        let (data, remote) = {
            let mut state = self.state.lock();
            state.cork = on;
            if on || state.corked.is_empty() {
                return Ok(());
            }
            (std::mem::take(&mut state.corked), state.remote)
        };
        let Some(remote) = remote else { return Ok(()) };
        let local = self.ensure_bound()?;
        self.send_to(local, remote, &data, (None, None))
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        let queued = self.state.get_mut().queued;
        self.base.stack.budget.give_bytes(queued);
    }
}
