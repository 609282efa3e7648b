//! How TCP connections begin and end: connect(2), listen(2), accept(2) and giving up.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use base_abi::Errno;
use kernel_vfs::Events;

use super::listener::{Listener, Queued, Waiting};
use super::outbound::{Beyond, OutboundRequest};
use super::ports::{Scope, Sharing};
use super::tcp::{Linked, Phase, State, TcpSocket};
use super::tcp_rules::{self as rules, Ending};
use crate::link::{EndConfig, Link, LinkEnd, Side, Wake};
use crate::option::SocketOptions;
use crate::{Address, Result};

/// Where a connection leads.
enum Way {
    /// To a socket of this sandbox.
    Inside(IpAddr),
    /// Out, with this source address.
    Outside(IpAddr),
}

impl TcpSocket {
    /// connect(2) of a non-blocking socket: begins, or tells what came of the last attempt.
    pub(super) fn start_connecting(&self, address: &Address) -> Result<()> {
        if let Some(outcome) = self.outcome() {
            return outcome;
        }
        let ip = self.ip.lock().clone();
        let remote = super::remote_address(&self.base, &ip, address)?;
        let way = self.way(remote.ip())?;
        let local = self.claim(remote, &way)?;
        match way {
            Way::Outside(_) => {
                let socket = self.me.upgrade().ok_or(Errno::ECONNABORTED)?;
                let request = OutboundRequest::new(socket, local, remote);
                self.base
                    .stack
                    .family::<Beyond>()
                    .outbound()
                    .connect(request);
            }
            Way::Inside(_) => match self.ports.listener(remote, local) {
                Some(listener) => self.join_queue(&listener, local, remote),
                None => self.fail(Errno::ECONNREFUSED),
            },
        }
        Err(Errno::EINPROGRESS)
    }

    /// What connect(2) says without beginning anything.
    fn outcome(&self) -> Option<Result<()>> {
        let mut state = self.state.lock();
        let untold = std::mem::take(&mut state.untold);
        match &state.phase {
            Phase::Listening(_) => Some(Err(Errno::EISCONN)),
            Phase::Linked(_) if untold => Some(Ok(())),
            Phase::Linked(_) => Some(Err(Errno::EISCONN)),
            Phase::Connecting(_) => {
                state.untold = untold;
                Some(Err(Errno::EALREADY))
            }
            Phase::Idle if untold => Some(Err(state.error.take().unwrap_or(Errno::ECONNABORTED))),
            Phase::Idle => None,
            Phase::Closed => Some(Err(Errno::EBADF)),
        }
    }

    fn way(&self, to: IpAddr) -> Result<Way> {
        let config = self.base.stack.config();
        if to.is_multicast() || config.local.is_broadcast(to) {
            return Err(Errno::ENETUNREACH);
        }
        if config.local.contains(to) {
            return Ok(Way::Inside(config.local.source_for(to)));
        }
        let source = self
            .base
            .stack
            .family::<Beyond>()
            .outbound()
            .route(SocketAddr::new(to, 0))?;
        Ok(Way::Outside(source))
    }

    /// Settles the local address and the pair of addresses, and moves to `Connecting`.
    fn claim(&self, remote: SocketAddr, way: &Way) -> Result<SocketAddr> {
        let (Way::Inside(source) | Way::Outside(source)) = way;
        let sharing = self.sharing();
        let stack = &self.base.stack;
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Idle) {
            return Err(Errno::EALREADY);
        }
        let ip = match state.bound.map(|b| b.ip()) {
            Some(ip) if !ip.is_unspecified() => ip,
            _ => *source,
        };
        if ip.is_ipv4() != remote.is_ipv4() {
            return Err(Errno::EINVAL);
        }
        let scope = Scope::One(ip);
        if state.lease.is_none() {
            let target = Weak::clone(&self.me);
            let lease = self.ports.bind(scope, 0, sharing, target);
            state.lease = Some(lease.map_err(|_| Errno::EADDRNOTAVAIL)?);
        }
        let port = state.lease.as_ref().map_or(0, |l| l.port);
        let local = SocketAddr::new(ip, port);
        let flow = stack.claim_flow(local, remote)?;
        if let Some(lease) = &state.lease {
            lease.set_peer(scope, None);
        }
        state.local = Some(local);
        state.error = None;
        state.untold = true;
        state.phase = Phase::Connecting(flow);
        Ok(local)
    }

    /// Makes the accepting side and puts it in the listener's queue.
    fn join_queue(&self, listener: &TcpSocket, local: SocketAddr, remote: SocketAddr) {
        let child = match self.new_peer_like(listener, local, remote) {
            Ok(child) => child,
            Err(errno) => return self.fail(errno),
        };
        let queued = match &mut listener.state.lock().phase {
            Phase::Listening(queue) => queue.push(Weak::clone(&self.me), Arc::clone(&child)),
            _ => Queued::Refused,
        };
        match queued {
            Queued::Ready => {
                if self.establish(&child) {
                    listener.base.queue.wake(Events::READABLE);
                }
            }
            Queued::Waiting => {}
            Queued::Refused => self.fail(Errno::ECONNREFUSED),
        }
    }

    /// The far end of an outbound connection, held by the kernel side.
    pub(super) fn new_peer(&self, local: SocketAddr, remote: SocketAddr) -> Result<Arc<TcpSocket>> {
        let child = self.new_peer_like(self, local, remote)?;
        child.state.lock().lease = None;
        Ok(child)
    }

    fn new_peer_like(
        &self,
        listener: &TcpSocket,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Arc<TcpSocket>> {
        let base = &listener.base;
        let options = base.options();
        let tcp = listener.tcp.lock().clone();
        let ip = listener.ip.lock().clone();
        let sharing = Sharing {
            reuse_address: options.reuse_address,
            reuse_port: options.reuse_port,
            uid: base.creator.uid,
        };
        let configs = [config(&self.base.options()), config(&options)];
        let child = TcpSocket::build(&base.stack, base.domain, base.creator, options, tcp, ip)?;
        let queues = [self.base.queue.clone(), child.base.queue.clone()];
        let link = Link::new(&base.stack.budget, configs, queues);
        let lease = listener
            .ports
            .inherit(remote, sharing, Arc::downgrade(&child));
        *child.state.lock() = State {
            phase: Phase::Linked(Linked {
                end: LinkEnd {
                    link,
                    side: Side::Server,
                },
                remote: local,
                _flow: None,
            }),
            lease: Some(lease),
            local: Some(remote),
            bound: None,
            error: None,
            untold: false,
            idle_shut: false,
        };
        Ok(child)
    }

    /// The connection to `child` stands, unless this socket was closed meanwhile.
    fn establish(&self, child: &TcpSocket) -> bool {
        let Some(far) = child.end() else {
            self.fail(Errno::ECONNREFUSED);
            return false;
        };
        let near = LinkEnd {
            link: far.link,
            side: Side::Client,
        };
        let taken = {
            let mut state = self.state.lock();
            match std::mem::replace(&mut state.phase, Phase::Idle) {
                Phase::Connecting(flow) => {
                    let remote = flow.remote();
                    state.phase = Phase::Linked(Linked {
                        end: near.clone(),
                        remote,
                        _flow: Some(flow),
                    });
                    true
                }
                other => {
                    state.phase = other;
                    false
                }
            }
        };
        if taken {
            self.base.queue.wake(Events::WRITABLE);
        } else {
            near.act(|me, peer, wake| rules::close((me, peer, wake), Ending::Abort));
        }
        taken
    }

    /// An outbound connection stands.
    pub(super) fn complete(&self, far: &TcpSocket) -> bool {
        self.establish(far)
    }

    /// The attempt failed.
    pub(super) fn fail(&self, errno: Errno) {
        {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Connecting(_)) {
                return;
            }
            state.phase = Phase::Idle;
            state.error = Some(errno);
            forget_connection(&mut state, &self.ip.lock());
        }
        self.base.queue.wake(Wake::END);
    }

    /// listen(2).
    pub(super) fn start_listening(&self, backlog: i32) -> Result<()> {
        let ip = self.ip.lock().clone();
        let sharing = self.sharing();
        let mut state = self.state.lock();
        match &mut state.phase {
            Phase::Listening(listener) => {
                listener.set_backlog(backlog);
                return Ok(());
            }
            Phase::Idle => {}
            _ => return Err(Errno::EINVAL),
        }
        if state.lease.is_none() {
            let addr = super::any(self.base.domain);
            let scope = super::scope(&ip, addr);
            let target = Weak::clone(&self.me);
            let lease = self.ports.bind(scope, 0, sharing, target)?;
            state.local = Some(SocketAddr::new(addr, lease.port));
            state.lease = Some(lease);
        }
        if let Some(lease) = &state.lease {
            lease.start_listening()?;
        }
        state.phase = Phase::Listening(Listener::new(backlog));
        Ok(())
    }

    /// accept(2).
    pub(crate) fn accept_stream(&self) -> Result<Arc<TcpSocket>> {
        let (accepted, waiting) = match &mut self.state.lock().phase {
            Phase::Listening(listener) => listener.pop().ok_or(Errno::EAGAIN)?,
            _ => return Err(Errno::EINVAL),
        };
        if let Some(waiting) = waiting {
            self.promote(waiting);
        }
        Ok(accepted)
    }

    /// A connection that waited gets the room in the queue.
    fn promote(&self, Waiting { client, child }: Waiting<TcpSocket>) {
        if let Phase::Listening(listener) = &mut self.state.lock().phase {
            listener.promote(Arc::clone(&child));
        }
        let stands = client
            .upgrade()
            .is_some_and(|client| client.establish(&child));
        if !stands {
            // The client is gone: what accept(2) finds is a connection that was reset.
            child.abort_peerless();
        }
        self.base.queue.wake(Events::READABLE);
    }

    /// The client of this accepted connection never took it.
    fn abort_peerless(&self) {
        if let Some(end) = self.end() {
            let far = LinkEnd {
                link: end.link,
                side: Side::Client,
            };
            far.act(|me, peer, wake| rules::close((me, peer, wake), Ending::Abort));
        }
    }

    /// connect(2) with `AF_UNSPEC`.
    pub(super) fn disconnect(&self) {
        let phase = {
            let mut state = self.state.lock();
            if matches!(state.phase, Phase::Closed) {
                return;
            }
            let phase = std::mem::replace(&mut state.phase, Phase::Idle);
            state.untold = false;
            state.idle_shut = false;
            if let (Phase::Listening(_), Some(lease)) = (&phase, &state.lease) {
                lease.stop_listening();
            }
            forget_connection(&mut state, &self.ip.lock());
            phase
        };
        if self.give_up(phase, Ending::Abort) {
            self.state.lock().error = Some(Errno::ECONNRESET);
        }
        self.base.queue.wake(Wake::END);
    }

    /// Ends what the socket was doing, after it left `phase`; says whether that cut something short.
    pub(super) fn give_up(&self, phase: Phase, ending: Ending) -> bool {
        match phase {
            Phase::Linked(linked) => linked.end.act(|me, peer, wake| {
                let open = rules::state(me) != crate::option::TcpState::Close;
                rules::close((me, peer, wake), ending);
                open
            }),
            Phase::Listening(listener) => {
                if let Some(lease) = &self.state.lock().lease {
                    lease.stop_listening();
                }
                let (ready, waiting) = listener.drain();
                for child in ready {
                    if let Some(end) = child.end() {
                        end.act(|me, peer, wake| rules::close((me, peer, wake), Ending::Abort));
                    }
                }
                for Waiting { client, .. } in waiting {
                    if let Some(client) = client.upgrade() {
                        client.fail(Errno::ECONNREFUSED);
                    }
                }
                false
            }
            Phase::Connecting(_) => true,
            Phase::Idle | Phase::Closed => false,
        }
    }
}

/// Keeps what bind(2) asked for and drops what connect(2) chose.
fn forget_connection(state: &mut State, ip: &crate::option::IpOptions) {
    match (state.bound, &state.lease) {
        (Some(bound), Some(lease)) => {
            lease.set_peer(super::scope(ip, bound.ip()), None);
            state.local = Some(bound);
        }
        _ => {
            state.lease = None;
            state.local = None;
        }
    }
}

fn config(options: &SocketOptions) -> EndConfig {
    EndConfig {
        send_buffer: options.send_buffer,
        receive_buffer: options.receive_buffer,
        low_water: options.low_water,
        oob_in_line: options.oob_in_line,
    }
}
