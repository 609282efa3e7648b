//! TCP sockets.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use base_abi::{Errno, net};
use kernel_vfs::{Events, PollTable};
use parking_lot::Mutex;

use super::listener::Listener;
use super::ports::{PortLease, PortTable, Sharing};
use super::tcp_rules::{self as rules, Ending};
use crate::link::{LinkEnd, Wake};
use crate::option::{IpOptions, SocketOptions, TcpOptions, TcpState, give};
use crate::registry::{Registration, Registry};
use crate::stack::Flow;
use crate::{
    Address, Caller, Incoming, MsgFlags, NetStack, Outgoing, Result, Shutdown, Socket, SocketBase,
    Ucred,
};

/// What a new TCP socket may send ahead of the receiver's buffer.
const SEND_BUFFER: usize = 87_040;
/// Receive buffer of a new TCP socket (`net.ipv4.tcp_rmem`).
const RECEIVE_BUFFER: usize = 131_072;

/// A TCP socket.
pub(crate) struct TcpSocket {
    _registration: Registration<TcpSocket>,
    pub(super) base: SocketBase,
    pub(super) ports: Arc<PortTable<TcpSocket>>,
    pub(super) me: Weak<TcpSocket>,
    pub(super) ip: Mutex<IpOptions>,
    pub(super) tcp: Mutex<TcpOptions>,
    pub(super) state: Mutex<State>,
}

/// Everything about the connection that is not in its link.
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) lease: Option<PortLease<TcpSocket>>,
    /// Local address; the wildcard until it is known.
    pub(super) local: Option<SocketAddr>,
    /// What bind(2) asked for, which outlives a connection.
    pub(super) bound: Option<SocketAddr>,
    /// Pending error of a socket without a link.
    pub(super) error: Option<Errno>,
    /// A connect(2) was begun whose outcome nobody was told yet (`SS_CONNECTING`).
    pub(super) untold: bool,
    /// shutdown(2) of the reading half while there was no connection: only poll(2) shows it.
    pub(super) idle_shut: bool,
}

/// ```text
/// Idle ──listen──> Listening
///  └──connect──> Connecting ──> Linked
///        └── refused: Idle, with an error and `untold`
/// any ──close──> Closed
/// ```
pub(super) enum Phase {
    Idle,
    Listening(Listener<TcpSocket>),
    Connecting(Flow),
    Linked(Linked),
    Closed,
}

pub(super) struct Linked {
    pub(super) end: LinkEnd,
    pub(super) remote: SocketAddr,
    pub(super) _flow: Option<Flow>,
}

impl TcpSocket {
    /// A socket of `AF_INET` or `AF_INET6`.
    pub(crate) fn new(
        stack: &Arc<NetStack>,
        domain: u32,
        creator: Ucred,
    ) -> Result<Arc<TcpSocket>> {
        let options = SocketOptions::with_buffers(SEND_BUFFER, RECEIVE_BUFFER);
        TcpSocket::build(
            stack,
            domain,
            creator,
            options,
            TcpOptions::default(),
            IpOptions::default(),
        )
    }

    pub(super) fn build(
        stack: &Arc<NetStack>,
        domain: u32,
        creator: Ucred,
        options: SocketOptions,
        tcp: TcpOptions,
        ip: IpOptions,
    ) -> Result<Arc<TcpSocket>> {
        let numbers = [domain, net::SOCK_STREAM, net::SOL_TCP];
        let base = SocketBase::new(stack, numbers, creator, options)?;
        Ok(TcpSocket::with_base(base, tcp, ip))
    }

    pub(super) fn with_base(base: SocketBase, tcp: TcpOptions, ip: IpOptions) -> Arc<TcpSocket> {
        let ports = base.stack.family::<PortTable<TcpSocket>>();
        let registry = base.stack.family::<Registry<TcpSocket>>();
        Arc::new_cyclic(|me| TcpSocket {
            _registration: registry.register(base.ino, Weak::clone(me)),
            base,
            ports,
            me: Weak::clone(me),
            ip: Mutex::new(ip),
            tcp: Mutex::new(tcp),
            state: Mutex::new(State {
                phase: Phase::Idle,
                lease: None,
                local: None,
                bound: None,
                error: None,
                untold: false,
                idle_shut: false,
            }),
        })
    }

    pub(super) fn end(&self) -> Option<LinkEnd> {
        match &self.state.lock().phase {
            Phase::Linked(linked) => Some(linked.end.clone()),
            _ => None,
        }
    }

    /// The state as `TCP_INFO` and `/proc/net/tcp` show it.
    pub(crate) fn tcp_state(&self) -> TcpState {
        let end = match &self.state.lock().phase {
            Phase::Listening(_) => return TcpState::Listen,
            Phase::Connecting(_) => return TcpState::SynSent,
            Phase::Linked(linked) => linked.end.clone(),
            Phase::Idle | Phase::Closed => return TcpState::Close,
        };
        end.act(|me, _, _| rules::state(me))
    }

    /// Local and remote address and the two queue lengths, for `/proc/net/tcp`.
    pub(crate) fn describe(&self) -> (SocketAddr, SocketAddr, usize, usize) {
        let nowhere = SocketAddr::new(super::any(self.base.domain), 0);
        let (local, remote, end, queued) = {
            let state = self.state.lock();
            let local = state.local.unwrap_or(nowhere);
            match &state.phase {
                Phase::Linked(l) => (local, l.remote, Some(l.end.clone()), 0),
                Phase::Listening(l) => (local, nowhere, None, l.len()),
                Phase::Connecting(flow) => (local, flow.remote(), None, 0),
                _ => (local, nowhere, None, 0),
            }
        };
        let queues = end.map(|e| e.act(|me, peer, _| (rules::unsent(peer), me.incoming.len())));
        let (unsent, unread) = queues.unwrap_or((0, queued));
        (local, remote, unsent, unread)
    }

    /// Bytes of this endpoint's that the other had not read when it was closed.
    pub(crate) fn never_read(&self) -> usize {
        self.end()
            .map_or(0, |end| end.act(|me, _, _| me.never_read))
    }

    pub(super) fn sharing(&self) -> Sharing {
        let options = self.base.options.lock();
        Sharing {
            reuse_address: options.reuse_address,
            reuse_port: options.reuse_port,
            uid: self.base.creator.uid,
        }
    }

    fn take_error(&self) -> Option<Errno> {
        let error = self.state.lock().error.take();
        error.or_else(|| self.end().and_then(|end| end.take_error()))
    }

    /// Gives options of a connected socket to its end of the link.
    fn update_link(&self) {
        let options = self.base.options();
        if let Some(lease) = &self.state.lock().lease {
            lease.set_sharing(Sharing {
                reuse_address: options.reuse_address,
                reuse_port: options.reuse_port,
                uid: self.base.creator.uid,
            });
        }
        let Some(end) = self.end() else { return };
        end.act(|me, _, wake| {
            let grown = options.send_buffer > me.send_buffer
                || options.receive_buffer > me.receive_buffer
                || options.low_water < me.low_water;
            me.send_buffer = options.send_buffer;
            me.receive_buffer = options.receive_buffer;
            me.low_water = options.low_water;
            me.oob_in_line = options.oob_in_line;
            if grown {
                wake.mine |= Events::READABLE | Events::WRITABLE;
                wake.peer |= Events::WRITABLE;
            }
        });
    }
}

impl Socket for TcpSocket {
    fn base(&self) -> &SocketBase {
        &self.base
    }

    fn saved(
        &self,
        saver: &mut kernel_vfs::save::Saver,
    ) -> std::result::Result<kernel_vfs::save::Saved, kernel_vfs::save::Unsavable> {
        kernel_vfs::save::Saved::state(crate::socket::KIND, &self.to_state(saver)?)
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
        if !matches!(state.phase, Phase::Idle) || state.lease.is_some() {
            return Err(Errno::EINVAL);
        }
        let scope = super::scope(&ip, addr.ip());
        let lease = self
            .ports
            .bind(scope, addr.port(), sharing, Weak::clone(&self.me))?;
        let local = SocketAddr::new(addr.ip(), lease.port);
        state.local = Some(local);
        // A port the kernel chose is kept too: the address was asked for.
        state.bound = Some(local);
        state.lease = Some(lease);
        Ok(())
    }

    fn listen(&self, _caller: &Caller<'_>, backlog: i32) -> Result<()> {
        self.start_listening(backlog)
    }

    fn accept(&self) -> Result<(Arc<dyn Socket>, Address)> {
        let accepted = self.accept_stream()?;
        let (_, remote, ..) = accepted.describe();
        let address = Address::for_family(self.base.domain, remote);
        Ok((accepted, address))
    }

    fn connect(&self, caller: &Caller<'_>, address: &Address) -> Result<()> {
        let _ = caller;
        match address {
            Address::Unspecified => {
                self.disconnect();
                Ok(())
            }
            address => self.start_connecting(address),
        }
    }

    fn send(&self, _caller: &Caller<'_>, message: Outgoing<'_>) -> Result<usize> {
        if !message.rights.is_empty() {
            return Err(Errno::EINVAL);
        }
        let end = {
            let mut state = self.state.lock();
            match &state.phase {
                Phase::Linked(linked) => linked.end.clone(),
                Phase::Connecting(_) => return Err(Errno::EAGAIN),
                _ => return Err(state.error.take().unwrap_or(Errno::EPIPE)),
            }
        };
        end.act(|me, peer, wake| rules::send((me, peer, wake), message.data, message.flags))
    }

    fn recv(&self, buf: &mut [u8], flags: MsgFlags) -> Result<Incoming> {
        if flags.contains(MsgFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN);
        }
        let end = {
            let mut state = self.state.lock();
            match &state.phase {
                Phase::Linked(linked) => linked.end.clone(),
                Phase::Connecting(_) => return Err(Errno::EAGAIN),
                _ => return Err(state.error.take().unwrap_or(Errno::ENOTCONN)),
            }
        };
        end.act(|me, peer, wake| rules::receive((me, peer, wake), buf, flags))
    }

    fn put_back(&self, rest: &[u8], _rights: Vec<Arc<kernel_vfs::Description>>) {
        let Some(end) = self.end() else { return };
        end.act(|me, _, wake| {
            me.incoming.put_back(rest, None);
            wake.mine |= Events::READABLE;
        });
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        if let Some(end) = self.end() {
            return end.act(|me, peer, wake| rules::shutdown((me, peer, wake), how));
        }
        let phase = {
            let mut state = self.state.lock();
            match &state.phase {
                Phase::Listening(_) if how.reads() => {}
                Phase::Listening(_) => return Ok(()),
                Phase::Connecting(_) => state.untold = false,
                _ => {
                    state.idle_shut |= how.reads();
                    return Err(Errno::ENOTCONN);
                }
            }
            std::mem::replace(&mut state.phase, Phase::Idle)
        };
        let _ = self.give_up(phase, Ending::Abort);
        self.base.queue.wake(Wake::END);
        Ok(())
    }

    fn local_address(&self) -> Result<Address> {
        let (local, ..) = self.describe();
        Ok(Address::for_family(self.base.domain, local))
    }

    fn peer_address(&self) -> Result<Address> {
        let (end, remote) = match &self.state.lock().phase {
            Phase::Linked(linked) => (linked.end.clone(), linked.remote),
            _ => return Err(Errno::ENOTCONN),
        };
        match end.act(|me, _, _| rules::state(me)) {
            TcpState::Close => Err(Errno::ENOTCONN),
            _ => Ok(Address::for_family(self.base.domain, remote)),
        }
    }

    fn get_option(&self, level: u32, name: u32, _room: usize) -> Result<Vec<u8>> {
        match (level, name) {
            (net::SOL_TCP, name) => {
                let state = self.tcp_state();
                self.tcp.lock().get(name, state)
            }
            (net::SOL_SOCKET, net::SO_ERROR) => Ok(give(self.take_error().map_or(0, Errno::raw))),
            (net::SOL_SOCKET, net::SO_ACCEPTCONN) => Ok(give(self.tcp_state() == TcpState::Listen)),
            (net::SOL_SOCKET, net::SO_PEERCRED) => Ok(Ucred::NOBODY.encode().to_vec()),
            _ => {
                let connected = self.end().is_some();
                super::get_ip_option(&self.base, &self.ip, level, name, connected)
            }
        }
    }

    fn set_option(&self, caller: &Caller<'_>, level: u32, name: u32, value: &[u8]) -> Result<()> {
        if level == net::SOL_TCP {
            let state = self.tcp_state();
            return self.tcp.lock().set(name, value, state);
        }
        let bound = self.state.lock().lease.is_some();
        super::set_ip_option(&self.base, &self.ip, caller, (level, name), value, bound)?;
        if level == net::SOL_SOCKET {
            self.update_link();
        }
        Ok(())
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.base.queue);
        let end = {
            let state = self.state.lock();
            match &state.phase {
                Phase::Listening(l) if l.len() > 0 => return Events::READABLE,
                Phase::Listening(_) | Phase::Connecting(_) => return Events::empty(),
                Phase::Linked(linked) => linked.end.clone(),
                Phase::Idle | Phase::Closed => return idle_events(&state),
            }
        };
        end.act(|me, peer, _| rules::events(me, peer))
    }

    fn unread(&self) -> Result<usize> {
        if let Some(end) = self.end() {
            return Ok(end.act(|me, _, _| me.incoming.len()));
        }
        match self.tcp_state() {
            TcpState::Listen => Err(Errno::EINVAL),
            _ => Ok(0),
        }
    }

    fn unsent(&self) -> Result<usize> {
        if let Some(end) = self.end() {
            return Ok(end.act(|_, peer, _| rules::unsent(peer)));
        }
        match self.tcp_state() {
            TcpState::Listen => Err(Errno::EINVAL),
            _ => Ok(0),
        }
    }

    fn at_mark(&self) -> Result<bool> {
        Ok(self
            .end()
            .is_some_and(|end| end.act(|me, _, _| rules::at_mark(me))))
    }

    fn close(&self) {
        let linger = self.base.options.lock().linger;
        let ending = if linger == Some(0) {
            Ending::Abort
        } else {
            Ending::Orderly
        };
        let (phase, lease) = {
            let mut state = self.state.lock();
            let phase = std::mem::replace(&mut state.phase, Phase::Closed);
            (phase, state.lease.take())
        };
        drop(lease);
        let _ = self.give_up(phase, ending);
    }
}

/// A socket without a connection: closed in both directions after a failed attempt.
fn idle_events(state: &State) -> Events {
    let mut events = Events::HUP | Events::WRITABLE;
    if state.untold || state.idle_shut {
        events |= Events::READABLE | Events::RDHUP;
    }
    if state.error.is_some() {
        events |= Events::ERR;
    }
    events
}
