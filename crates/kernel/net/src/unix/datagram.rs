//! Unix datagram sockets.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use base_abi::{Errno, net};
use kernel_vfs::{Description, Events, PollTable, WaitQueue};
use parking_lot::Mutex;

use super::names::{NameLease, NameTable, Target};
use super::packet::{Charge, Packet, SendAccount};
use super::{NameCell, SEND_RESERVE, post_rights, sender, unix_name};
use crate::link::Wake;
use crate::option::SocketOptions;
use crate::registry::{Registration, Registry};
use crate::rights::Rights;
use crate::{
    Address, Caller, Control, Incoming, MsgFlags, NetStack, Outgoing, Result, Shutdown, Socket,
    SocketBase, Ucred, UnixName,
};

/// Datagrams a receiver queues from senders it is not connected to (`net.unix.max_dgram_qlen`).
const MAX_QUEUE: usize = 10;

/// A `SOCK_DGRAM` unix socket.
pub(crate) struct UnixDatagram {
    _registration: Registration<dyn Socket>,
    pub(super) base: SocketBase,
    me: Weak<UnixDatagram>,
    pub(super) name: NameCell,
    pub(super) lease: Mutex<Option<NameLease>>,
    pub(super) account: Arc<SendAccount>,
    pub(super) state: Mutex<State>,
    /// Senders that wait for room in this socket's queue.
    space: WaitQueue,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) queue: VecDeque<Packet>,
    pub(super) peer: Option<Weak<UnixDatagram>>,
    pub(super) peer_credentials: Option<Ucred>,
    pub(super) receive_shut: bool,
    pub(super) send_shut: bool,
    closed: bool,
    pub(super) error: Option<Errno>,
}

impl UnixDatagram {
    pub(crate) fn new(stack: &Arc<NetStack>, creator: Ucred) -> Result<Arc<UnixDatagram>> {
        let options = SocketOptions::with_buffers(super::DEFAULT_BUFFER, super::DEFAULT_BUFFER);
        let base = SocketBase::new(stack, [net::AF_UNIX, net::SOCK_DGRAM, 0], creator, options)?;
        Ok(UnixDatagram::with_base(base, NameCell::default()))
    }

    pub(super) fn with_base(base: SocketBase, name: NameCell) -> Arc<UnixDatagram> {
        let stack = Arc::clone(&base.stack);
        let registry = stack.family::<Registry<dyn Socket>>();
        Arc::new_cyclic(|me| UnixDatagram {
            _registration: registry.register(base.ino, me.clone() as Weak<dyn Socket>),
            account: SendAccount::new(base.ino, &base.queue, &stack.budget),
            base,
            me: Weak::clone(me),
            name,
            lease: Mutex::new(None),
            state: Mutex::default(),
            space: WaitQueue::new(),
        })
    }

    /// socketpair(2).
    pub(crate) fn pair(stack: &Arc<NetStack>, creator: Ucred) -> Result<[Arc<UnixDatagram>; 2]> {
        let first = UnixDatagram::new(stack, creator)?;
        let second = UnixDatagram::new(stack, creator)?;
        for (me, peer) in [(&first, &second), (&second, &first)] {
            let mut state = me.state.lock();
            state.peer = Some(Arc::downgrade(peer));
            state.peer_credentials = Some(creator);
        }
        Ok([first, second])
    }

    fn find(&self, caller: &Caller<'_>, address: &Address) -> Result<Arc<UnixDatagram>> {
        let names = &self.base.stack.family::<NameTable>();
        let found = names.find(caller, net::SOCK_DGRAM, unix_name(address)?)?;
        found.socket()
    }

    /// Where a message goes: the address given, else the connected peer.
    fn destination(&self, caller: &Caller<'_>, to: Option<&Address>) -> Result<Arc<UnixDatagram>> {
        if let Some(address) = to {
            return self.find(caller, address);
        }
        let peer = self.state.lock().peer.clone().ok_or(Errno::ENOTCONN)?;
        if let Some(alive) = peer.upgrade().filter(|p| !p.state.lock().closed) {
            return Ok(alive);
        }
        self.state.lock().peer = None;
        Err(Errno::ECONNREFUSED)
    }

    fn connected_to(state: &State, other: &UnixDatagram) -> bool {
        let peer = state.peer.as_ref().map(Weak::as_ptr);
        peer.is_some_and(|p| std::ptr::eq(p, other))
    }

    /// Whether this socket's queue takes no more from `sender` (`unix_dgram_peer_wake_me`).
    fn full_for(&self, sender: &UnixDatagram) -> bool {
        let state = self.state.lock();
        state.queue.len() > MAX_QUEUE
            && !UnixDatagram::connected_to(&state, sender)
            && !state.closed
    }

    /// Queues a message; gives it back with the reason when it cannot.
    fn receive_packet(
        &self,
        from: &UnixDatagram,
        packet: Packet,
    ) -> std::result::Result<(), (Errno, Packet)> {
        let mut state = self.state.lock();
        let stranger = !UnixDatagram::connected_to(&state, from);
        let refusal = if state.closed {
            Some(Errno::ECONNREFUSED)
        } else if state.peer.is_some() && stranger {
            Some(Errno::EPERM)
        } else if state.receive_shut {
            Some(Errno::EPIPE)
        } else if state.queue.len() > MAX_QUEUE && stranger {
            Some(Errno::EAGAIN)
        } else {
            None
        };
        match refusal {
            Some(errno) => Err((errno, packet)),
            None => {
                state.queue.push_back(packet);
                Ok(())
            }
        }
    }

    fn send_buffer(&self) -> usize {
        self.base.options.lock().send_buffer
    }

    fn take_error(&self) -> Option<Errno> {
        self.state.lock().error.take()
    }

    fn auto_bind(&self, caller: &Caller<'_>) -> Result<()> {
        if self.base.options.lock().pass_credentials && self.lease.lock().is_none() {
            self.bind(caller, &Address::Unix(UnixName::Unnamed))?;
        }
        Ok(())
    }

    fn deliver(
        &self,
        packet: &Packet,
        rights: Vec<Arc<Description>>,
        buf: &mut [u8],
        flags: MsgFlags,
    ) -> Incoming {
        let length = packet.data.len();
        let copied = length.min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..copied), packet.data.get(..copied)) {
            to.copy_from_slice(from);
        }
        let mut incoming = Incoming {
            copied,
            length: if flags.contains(MsgFlags::TRUNC) {
                length
            } else {
                copied
            },
            ..Incoming::default()
        };
        if copied < length {
            incoming.flags |= MsgFlags::TRUNC;
        }
        if packet.from != UnixName::Unnamed {
            incoming.from = Some(Address::Unix(packet.from.clone()));
        }
        if self.base.options.lock().pass_credentials {
            incoming
                .control
                .push(Control::Credentials(packet.credentials));
        }
        if !rights.is_empty() {
            incoming.control.push(Control::Rights(rights));
        }
        incoming
    }
}

impl Socket for UnixDatagram {
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
        let mut lease = self.lease.lock();
        if lease.is_some() {
            return Err(Errno::EINVAL);
        }
        let names = &self.base.stack.family::<NameTable>();
        let target = Target::new(Weak::clone(&self.me));
        let (name, held) = names.bind(caller, net::SOCK_DGRAM, unix_name(address)?, target)?;
        *self.name.lock() = name;
        *lease = Some(held);
        Ok(())
    }

    fn connect(&self, caller: &Caller<'_>, address: &Address) -> Result<()> {
        let peer = match address {
            Address::Unspecified => None,
            address => {
                self.auto_bind(caller)?;
                let peer = self.find(caller, address)?;
                let state = peer.state.lock();
                if state.peer.is_some() && !UnixDatagram::connected_to(&state, self) {
                    return Err(Errno::EPERM);
                }
                drop(state);
                Some(Arc::downgrade(&peer))
            }
        };
        self.state.lock().peer = peer;
        self.base.queue.wake(Events::WRITABLE);
        Ok(())
    }

    fn send(&self, caller: &Caller<'_>, message: Outgoing<'_>) -> Result<usize> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.auto_bind(caller)?;
        let room = self.send_buffer();
        if message.to.is_none() && self.state.lock().peer.is_none() {
            return Err(Errno::ENOTCONN);
        }
        if message.data.len() > room.saturating_sub(SEND_RESERVE) {
            return Err(Errno::EMSGSIZE);
        }
        if let Some(error) = self.take_error() {
            return Err(error);
        }
        if self.state.lock().send_shut {
            return Err(Errno::EPIPE);
        }
        if self.account.unread() >= room {
            return Err(Errno::EAGAIN);
        }
        let to = self.destination(caller, message.to.as_ref())?;
        let ledger = &self.base.stack.ledger;
        let packet = Packet {
            charge: Charge::new(&self.account, message.data.len())?,
            rights: post_rights(ledger, &message)?,
            data: message.data.into(),
            from: self.name.lock().clone(),
            credentials: sender(caller, &message),
        };
        if let Err((errno, packet)) = to.receive_packet(self, packet) {
            drop(packet);
            ledger.drop_garbage();
            return Err(errno);
        }
        to.base.queue.wake(Events::READABLE);
        Ok(message.data.len())
    }

    fn recv(&self, buf: &mut [u8], flags: MsgFlags) -> Result<Incoming> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut state = self.state.lock();
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        if flags.contains(MsgFlags::PEEK)
            && let Some(packet) = state.queue.front()
        {
            let rights = packet.rights.as_ref().map(|r| r.descriptions().to_vec());
            return Ok(self.deliver(packet, rights.unwrap_or_default(), buf, flags));
        }
        let Some(mut packet) = state.queue.pop_front() else {
            return if state.receive_shut {
                Ok(Incoming::default())
            } else {
                Err(Errno::EAGAIN)
            };
        };
        let freed = state.queue.len() == MAX_QUEUE;
        drop(state);
        if freed {
            self.space.wake(Events::WRITABLE | Events::WRBAND);
        }
        let rights = packet.rights.take().map(Rights::receive);
        Ok(self.deliver(&packet, rights.unwrap_or_default(), buf, flags))
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        let mut state = self.state.lock();
        state.receive_shut |= how.reads();
        state.send_shut |= how.writes();
        drop(state);
        self.base.queue.wake(Wake::END);
        self.space.wake(Events::WRITABLE);
        Ok(())
    }

    fn local_address(&self) -> Result<Address> {
        Ok(Address::Unix(self.name.lock().clone()))
    }

    fn peer_address(&self) -> Result<Address> {
        let peer = self.state.lock().peer.clone().ok_or(Errno::ENOTCONN)?;
        let name = peer.upgrade().map(|p| p.name.lock().clone());
        Ok(Address::Unix(name.unwrap_or_default()))
    }

    fn get_option(&self, level: u32, name: u32, _room: usize) -> Result<Vec<u8>> {
        let peer = self.state.lock().peer_credentials.unwrap_or(Ucred::NOBODY);
        super::get_option(&self.base, level, name, peer, false, || self.take_error())
    }

    fn set_option(&self, caller: &Caller<'_>, level: u32, name: u32, value: &[u8]) -> Result<()> {
        super::set_option(&self.base, caller, level, name, value)?;
        self.base.queue.wake(Events::WRITABLE);
        Ok(())
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.base.queue);
        let mut events = Events::empty();
        let peer = {
            let state = self.state.lock();
            if state.error.is_some() {
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
            state.peer.as_ref().and_then(Weak::upgrade)
        };
        let room = self.account.unread().saturating_mul(4) <= self.send_buffer();
        let peer_full = peer.is_some_and(|peer| {
            table.add(&peer.space);
            peer.full_for(self)
        });
        if room && !peer_full {
            events |= Events::WRITABLE | Events::WRBAND;
        }
        events
    }

    fn poll_send(
        &self,
        caller: &Caller<'_>,
        to: Option<&Address>,
        table: &mut PollTable,
    ) -> Events {
        let events = self.poll(table);
        let Some(receiver) = to.and_then(|to| self.find(caller, to).ok()) else {
            return events;
        };
        table.add(&receiver.space);
        if receiver.full_for(self) {
            return events - (Events::WRITABLE | Events::WRBAND);
        }
        events
    }

    fn unread(&self) -> Result<usize> {
        let state = self.state.lock();
        Ok(state.queue.front().map_or(0, |packet| packet.data.len()))
    }

    fn unsent(&self) -> Result<usize> {
        Ok(self.account.unread())
    }

    fn close(&self) {
        let (queue, peer) = {
            let mut state = self.state.lock();
            state.closed = true;
            (std::mem::take(&mut state.queue), state.peer.take())
        };
        drop(self.lease.lock().take());
        drop(queue);
        // A sender that is connected to this socket finds out by sending.
        drop(peer);
        self.space.wake(Events::WRITABLE | Events::WRBAND);
        self.base.stack.ledger.collect();
    }

    fn visit_rights(&self, see: &mut dyn FnMut(&Arc<Description>)) {
        let state = self.state.lock();
        let rights = state.queue.iter().filter_map(|p| p.rights.as_ref());
        rights.flat_map(Rights::descriptions).for_each(see);
    }

    fn take_rights(&self) -> Vec<Rights> {
        let mut state = self.state.lock();
        state
            .queue
            .iter_mut()
            .filter_map(|p| p.rights.take())
            .collect()
    }
}
