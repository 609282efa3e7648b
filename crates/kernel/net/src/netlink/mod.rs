//! Route netlink (netlink(7), rtnetlink(7)): questions about the one interface there is.

mod message;
mod route;

use std::collections::VecDeque;
use std::sync::Arc;

use base_abi::{Errno, net};
use kernel_vfs::{Events, PollTable};
use parking_lot::Mutex;

use crate::option::{DEFAULT_BUFFER, SocketOptions, flag, give};
use crate::{
    Address, Caller, Control, Incoming, MsgFlags, NetStack, Outgoing, Result, Shutdown, Socket,
    SocketBase, Ucred,
};

/// `NETLINK_PKTINFO` (linux/netlink.h).
pub(crate) const NETLINK_PKTINFO: u32 = 3;
const NETLINK_ADD_MEMBERSHIP: u32 = 1;
const NETLINK_DROP_MEMBERSHIP: u32 = 2;
const NETLINK_BROADCAST_ERROR: u32 = 4;
const NETLINK_NO_ENOBUFS: u32 = 5;
const NETLINK_CAP_ACK: u32 = 10;
const NETLINK_EXT_ACK: u32 = 11;
const NETLINK_GET_STRICT_CHK: u32 = 12;
/// Largest request taken; a request is a header and a few attributes.
const MAX_REQUEST: usize = 32 << 10;

/// A `NETLINK_ROUTE` socket.
pub(crate) struct RouteSocket {
    base: SocketBase,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `nl_pid`; 0 is not bound.
    port: u32,
    groups: u32,
    peer: Option<(u32, u32)>,
    queue: VecDeque<Vec<u8>>,
    queued: usize,
    packet_info: bool,
    strict: bool,
    extended_ack: bool,
    cap_ack: bool,
}

impl RouteSocket {
    pub(crate) fn new(
        stack: &Arc<NetStack>,
        kind: u32,
        creator: Ucred,
    ) -> Result<Arc<RouteSocket>> {
        let options = SocketOptions::with_buffers(DEFAULT_BUFFER, DEFAULT_BUFFER);
        Ok(Arc::new(RouteSocket {
            base: SocketBase::new(stack, [net::AF_NETLINK, kind, 0], creator, options)?,
            state: Mutex::default(),
        }))
    }

    /// A port of its own: the process id as long as that is unlikely to be taken.
    fn auto_port(&self) -> u32 {
        let pid = self.base.creator.pid.cast_unsigned();
        // The first socket of a process may have its pid; the inode number tells others apart.
        let ino = u32::try_from(self.base.ino).unwrap_or(u32::MAX);
        if pid == 0 {
            ino
        } else {
            pid.wrapping_add(ino.wrapping_mul(0x1_0000))
        }
    }

    fn ensure_bound(&self) -> u32 {
        let port = self.auto_port();
        let mut state = self.state.lock();
        if state.port == 0 {
            state.port = port;
        }
        state.port
    }
}

impl Socket for RouteSocket {
    fn base(&self) -> &SocketBase {
        &self.base
    }

    fn bind(&self, _caller: &Caller<'_>, address: &Address) -> Result<()> {
        let Address::Netlink { port, groups } = address else {
            return Err(Errno::EINVAL);
        };
        let own = self.auto_port();
        let mut state = self.state.lock();
        if state.port != 0 && *port != 0 && *port != state.port {
            return Err(Errno::EINVAL);
        }
        state.groups = *groups;
        if state.port == 0 {
            state.port = if *port == 0 { own } else { *port };
        }
        Ok(())
    }

    fn connect(&self, _caller: &Caller<'_>, address: &Address) -> Result<()> {
        match address {
            Address::Unspecified => self.state.lock().peer = None,
            Address::Netlink { port: 0, groups } => {
                self.ensure_bound();
                self.state.lock().peer = Some((0, *groups));
            }
            // Other processes do not listen on route netlink.
            Address::Netlink { .. } => return Err(Errno::EPERM),
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    fn send(&self, _caller: &Caller<'_>, message: Outgoing<'_>) -> Result<usize> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        match message.to {
            None | Some(Address::Netlink { port: 0, .. }) => {}
            Some(Address::Netlink { .. }) => return Err(Errno::EPERM),
            Some(_) => return Err(Errno::EINVAL),
        }
        if message.data.len() > MAX_REQUEST {
            return Err(Errno::EMSGSIZE);
        }
        let port = self.ensure_bound();
        let answers = route::answer(&self.base, port, message.data);
        let room = self.base.options.lock().receive_buffer;
        {
            let mut state = self.state.lock();
            for answer in answers {
                if state.queued + answer.len() > room {
                    return Err(Errno::ENOBUFS);
                }
                self.base.stack.budget.take_bytes(answer.len())?;
                state.queued += answer.len();
                state.queue.push_back(answer);
            }
        }
        self.base.queue.wake(Events::READABLE);
        Ok(message.data.len())
    }

    fn recv(&self, buf: &mut [u8], flags: MsgFlags) -> Result<Incoming> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut state = self.state.lock();
        let packet = state.queue.front().ok_or(Errno::EAGAIN)?;
        let length = packet.len();
        let copied = length.min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..copied), packet.get(..copied)) {
            to.copy_from_slice(from);
        }
        if !flags.contains(MsgFlags::PEEK) {
            state.queue.pop_front();
            state.queued -= length;
            self.base.stack.budget.give_bytes(length);
        }
        let mut incoming = Incoming {
            copied,
            length: if flags.contains(MsgFlags::TRUNC) {
                length
            } else {
                copied
            },
            from: Some(Address::Netlink { port: 0, groups: 0 }),
            ..Incoming::default()
        };
        if copied < length {
            incoming.flags |= MsgFlags::TRUNC;
        }
        if state.packet_info {
            incoming.control.push(Control::NetlinkGroup(0));
        }
        Ok(incoming)
    }

    fn shutdown(&self, _how: Shutdown) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local_address(&self) -> Result<Address> {
        let state = self.state.lock();
        Ok(Address::Netlink {
            port: state.port,
            groups: state.groups,
        })
    }

    fn peer_address(&self) -> Result<Address> {
        let (port, groups) = self.state.lock().peer.unwrap_or((0, 0));
        Ok(Address::Netlink { port, groups })
    }

    fn get_option(&self, level: u32, name: u32, _room: usize) -> Result<Vec<u8>> {
        let state = self.state.lock();
        match (level, name) {
            (net::SOL_NETLINK, NETLINK_PKTINFO) => Ok(give(state.packet_info)),
            (net::SOL_NETLINK, NETLINK_CAP_ACK) => Ok(give(state.cap_ack)),
            (net::SOL_NETLINK, NETLINK_EXT_ACK) => Ok(give(state.extended_ack)),
            (net::SOL_NETLINK, NETLINK_GET_STRICT_CHK) => Ok(give(state.strict)),
            (net::SOL_NETLINK, _) => Err(Errno::ENOPROTOOPT),
            (net::SOL_SOCKET, net::SO_ERROR) => Ok(give(0)),
            (net::SOL_SOCKET, _) => self.base.get_option(name),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn set_option(&self, caller: &Caller<'_>, level: u32, name: u32, value: &[u8]) -> Result<()> {
        if level == net::SOL_SOCKET {
            return self.base.options.lock().set(caller, name, value);
        }
        if level != net::SOL_NETLINK {
            return Err(Errno::ENOPROTOOPT);
        }
        let on = flag(value)?;
        let mut state = self.state.lock();
        match name {
            NETLINK_PKTINFO => state.packet_info = on,
            NETLINK_CAP_ACK => state.cap_ack = on,
            NETLINK_EXT_ACK => state.extended_ack = on,
            NETLINK_GET_STRICT_CHK => state.strict = on,
            // The interface never changes, so members hear nothing.
            NETLINK_ADD_MEMBERSHIP | NETLINK_DROP_MEMBERSHIP => {}
            NETLINK_BROADCAST_ERROR | NETLINK_NO_ENOBUFS => {}
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.base.queue);
        let mut events = Events::WRITABLE | Events::WRBAND;
        if !self.state.lock().queue.is_empty() {
            events |= Events::READABLE;
        }
        events
    }

    fn unread(&self) -> Result<usize> {
        Ok(self.state.lock().queue.front().map_or(0, Vec::len))
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.queue.clear();
        self.base
            .stack
            .budget
            .give_bytes(std::mem::take(&mut state.queued));
    }
}
