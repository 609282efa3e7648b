//! Unix sockets with connections: `SOCK_STREAM` and `SOCK_SEQPACKET`.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use base_abi::{Errno, net};
use kernel_vfs::{Description, Events, PollTable, WaitQueue};
use parking_lot::Mutex;

use super::names::{NameLease, NameTable, Target};
use super::stream_rules::{self as rules, Accepted, Taken, hang_up};
use super::{NameCell, post_rights, sender, unix_name};
use crate::limits::MAX_BACKLOG;
use crate::link::LinkEnd;
use crate::option::SocketOptions;
use crate::registry::{Registration, Registry};
use crate::rights::Rights;
use crate::{
    Address, Caller, Control, Incoming, MsgFlags, NetStack, Outgoing, Result, Shutdown, Socket,
    SocketBase, Ucred, UnixName,
};

/// A unix socket that connects.
pub(crate) struct UnixSocket {
    _registration: Registration<dyn Socket>,
    pub(super) base: SocketBase,
    me: Weak<UnixSocket>,
    pub(super) name: NameCell,
    pub(super) lease: Mutex<Option<NameLease>>,
    pub(super) state: Mutex<State>,
    /// What shutdown(2) closed (reading, writing) while there was no connection.
    pub(super) idle_shut: Mutex<(bool, bool)>,
    /// Those who wait for room in the accept queue.
    space: WaitQueue,
}

/// ```text
/// Idle ──listen──> Listening ─┐
///  └──connect──> Connecting ──> Connected ──> Closed
/// ```
pub(super) enum State {
    Idle,
    Connecting,
    Listening(Listening),
    Connected(Connected),
    Closed,
}

#[derive(Default)]
pub(super) struct Listening {
    pub(super) backlog: usize,
    pub(super) ready: VecDeque<Arc<UnixSocket>>,
    pub(super) credentials: Ucred,
    pub(super) shut: bool,
}

impl Listening {
    /// Linux takes one more than the backlog (`unix_recvq_full`).
    pub(super) fn full(&self) -> bool {
        self.ready.len() > self.backlog
    }
}

#[derive(Clone)]
pub(super) struct Connected {
    pub(super) end: LinkEnd,
    pub(super) peer_name: NameCell,
    pub(super) peer_credentials: Ucred,
}

impl UnixSocket {
    /// A socket without a connection; `kind` is `SOCK_STREAM` or `SOCK_SEQPACKET`.
    pub(crate) fn new(stack: &Arc<NetStack>, kind: u32, creator: Ucred) -> Result<Arc<UnixSocket>> {
        let options = SocketOptions::with_buffers(super::DEFAULT_BUFFER, super::DEFAULT_BUFFER);
        UnixSocket::with_options(stack, kind, creator, options, NameCell::default())
    }

    pub(super) fn with_options(
        stack: &Arc<NetStack>,
        kind: u32,
        creator: Ucred,
        options: SocketOptions,
        name: NameCell,
    ) -> Result<Arc<UnixSocket>> {
        let base = SocketBase::new(stack, [net::AF_UNIX, kind, 0], creator, options)?;
        Ok(UnixSocket::with_base(
            base,
            name,
            State::Idle,
            (false, false),
        ))
    }

    pub(super) fn with_base(
        base: SocketBase,
        name: NameCell,
        state: State,
        idle_shut: (bool, bool),
    ) -> Arc<UnixSocket> {
        let stack = Arc::clone(&base.stack);
        let registry = stack.family::<Registry<dyn Socket>>();
        Arc::new_cyclic(|me| UnixSocket {
            _registration: registry.register(base.ino, me.clone() as Weak<dyn Socket>),
            base,
            me: Weak::clone(me),
            name,
            lease: Mutex::new(None),
            state: Mutex::new(state),
            idle_shut: Mutex::new(idle_shut),
            space: WaitQueue::new(),
        })
    }

    /// socketpair(2).
    pub(crate) fn pair(
        stack: &Arc<NetStack>,
        kind: u32,
        creator: Ucred,
    ) -> Result<[Arc<UnixSocket>; 2]> {
        let first = UnixSocket::new(stack, kind, creator)?;
        let second = UnixSocket::new(stack, kind, creator)?;
        UnixSocket::join(&first, &second, [creator; 2]);
        Ok([first, second])
    }

    fn connected(&self) -> Option<Connected> {
        match &*self.state.lock() {
            State::Connected(connected) => Some(connected.clone()),
            _ => None,
        }
    }

    fn is_stream(&self) -> bool {
        self.base.kind == net::SOCK_STREAM
    }

    fn deliver(&self, taken: Taken, peer: &Connected) -> Incoming {
        let mut incoming = Incoming {
            copied: taken.copied,
            length: taken.length,
            ..Incoming::default()
        };
        if taken.truncated {
            incoming.flags |= MsgFlags::TRUNC;
        }
        let Some(credentials) = taken.credentials else {
            return incoming; // The end of the stream carries nothing.
        };
        let name = peer.peer_name.lock().clone();
        if name != UnixName::Unnamed {
            incoming.from = Some(Address::Unix(name));
        }
        if self.base.options.lock().pass_credentials {
            incoming.control.push(Control::Credentials(credentials));
        }
        let rights = taken.rights.map_or(taken.peeked, Rights::receive);
        if !rights.is_empty() {
            incoming.control.push(Control::Rights(rights));
        }
        incoming
    }
}

impl Socket for UnixSocket {
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
        let (name, held) = names.bind(caller, self.base.kind, unix_name(address)?, target)?;
        *self.name.lock() = name;
        *lease = Some(held);
        Ok(())
    }

    fn listen(&self, caller: &Caller<'_>, backlog: i32) -> Result<()> {
        if self.lease.lock().is_none() {
            return Err(Errno::EINVAL);
        }
        let backlog = usize::try_from(backlog)
            .unwrap_or(MAX_BACKLOG)
            .min(MAX_BACKLOG);
        let mut state = self.state.lock();
        match &mut *state {
            State::Idle => {
                *state = State::Listening(Listening {
                    backlog,
                    ready: VecDeque::new(),
                    credentials: caller.credentials,
                    shut: self.idle_shut.lock().0,
                });
            }
            State::Listening(listening) => {
                listening.backlog = backlog;
                listening.credentials = caller.credentials;
            }
            _ => return Err(Errno::EINVAL),
        }
        drop(state);
        self.space.wake(Events::WRITABLE);
        Ok(())
    }

    fn accept(&self) -> Result<(Arc<dyn Socket>, Address)> {
        let accepted = match &mut *self.state.lock() {
            State::Listening(l) => match l.ready.pop_front() {
                Some(accepted) => accepted,
                None if l.shut => return Err(Errno::EINVAL),
                None => return Err(Errno::EAGAIN),
            },
            _ => return Err(Errno::EINVAL),
        };
        self.space.wake(Events::WRITABLE);
        let peer = accepted
            .peer_address()
            .unwrap_or(Address::Unix(UnixName::Unnamed));
        Ok((accepted, peer))
    }

    fn connect(&self, caller: &Caller<'_>, address: &Address) -> Result<()> {
        let listener = self.listener(caller, address)?;
        listener.accepting()?;
        if self.base.options.lock().pass_credentials && self.lease.lock().is_none() {
            self.bind(caller, &Address::Unix(UnixName::Unnamed))?;
        }
        self.start_connecting()?;
        let result = self.finish_connecting(caller, &listener);
        if result.is_err() {
            let mut state = self.state.lock();
            if matches!(*state, State::Connecting) {
                *state = State::Idle;
            }
        }
        result
    }

    fn send(&self, caller: &Caller<'_>, message: Outgoing<'_>) -> Result<usize> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let connected = self.connected();
        if self.is_stream() && message.to.is_some() {
            return Err(if connected.is_some() {
                Errno::EISCONN
            } else {
                Errno::EOPNOTSUPP
            });
        }
        let end = connected.ok_or(Errno::ENOTCONN)?.end;
        let ledger = &self.base.stack.ledger;
        let mut rights = post_rights(ledger, &message)?;
        let from = sender(caller, &message);
        let result = end.act(|me, peer, wake| {
            let at = (me, peer, wake);
            if self.is_stream() {
                rules::send(at, message.data, from, &mut rights)
            } else {
                rules::send_record(at, message.data, from, &mut rights)
            }
        });
        if rights.take().is_some() {
            ledger.drop_garbage();
        }
        result
    }

    fn recv(&self, buf: &mut [u8], flags: MsgFlags) -> Result<Incoming> {
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let unconnected = if self.is_stream() {
            Errno::EINVAL
        } else {
            Errno::ENOTCONN
        };
        let connected = self.connected().ok_or(unconnected)?;
        let passes = self.base.options.lock().pass_credentials;
        let taken = connected.end.act(|me, peer, wake| {
            let at = (me, peer, wake);
            if self.is_stream() {
                rules::receive(at, buf, flags, passes)
            } else {
                rules::receive_record(at, buf, flags)
            }
        })?;
        Ok(self.deliver(taken, &connected))
    }

    fn put_back(&self, rest: &[u8], rights: Vec<Arc<Description>>) {
        let Some(connected) = self.connected().filter(|_| self.is_stream()) else {
            return;
        };
        let mut rights = match rights.as_slice() {
            [] => None,
            rights => self.base.stack.ledger.post(rights).ok(),
        };
        connected.end.act(|me, _, wake| {
            let mark = (connected.peer_credentials, rights.take());
            me.incoming.put_back(rest, Some(mark));
            wake.mine |= Events::READABLE;
        });
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        if let State::Listening(listening) = &mut *self.state.lock()
            && how.reads()
        {
            listening.shut = true;
        }
        {
            let mut shut = self.idle_shut.lock();
            shut.0 |= how.reads();
            shut.1 |= how.writes();
        }
        match self.connected() {
            Some(connected) => connected
                .end
                .act(|me, peer, wake| rules::shutdown((me, peer, wake), how)),
            None => {
                self.base.queue.wake(crate::link::Wake::END);
                self.space.wake(Events::WRITABLE);
            }
        }
        Ok(())
    }

    fn local_address(&self) -> Result<Address> {
        Ok(Address::Unix(self.name.lock().clone()))
    }

    fn peer_address(&self) -> Result<Address> {
        let connected = self.connected().ok_or(Errno::ENOTCONN)?;
        let name = connected.peer_name.lock().clone();
        Ok(Address::Unix(name))
    }

    fn get_option(&self, level: u32, name: u32, _room: usize) -> Result<Vec<u8>> {
        let (peer, listening) = match &*self.state.lock() {
            State::Connected(c) => (c.peer_credentials, false),
            State::Listening(l) => (l.credentials, true),
            _ => (Ucred::NOBODY, false),
        };
        let error = || self.connected().and_then(|c| c.end.take_error());
        super::get_option(&self.base, level, name, peer, listening, error)
    }

    fn set_option(&self, caller: &Caller<'_>, level: u32, name: u32, value: &[u8]) -> Result<()> {
        let options = super::set_option(&self.base, caller, level, name, value)?;
        if let Some(connected) = self.connected() {
            connected.end.act(|me, _, wake| {
                if options.send_buffer > me.send_buffer {
                    wake.mine |= Events::WRITABLE;
                }
                me.send_buffer = options.send_buffer;
                me.receive_buffer = options.receive_buffer;
            });
        }
        Ok(())
    }

    fn poll(&self, table: &mut PollTable) -> Events {
        table.add(&self.base.queue);
        let end = match &*self.state.lock() {
            State::Connected(connected) => connected.end.clone(),
            State::Listening(l) => {
                let ready = !l.ready.is_empty();
                return self.unconnected_events(ready);
            }
            _ => {
                let writable = Events::WRITABLE | Events::WRBAND;
                return self.unconnected_events(false) | Events::HUP | writable;
            }
        };
        end.act(|me, peer, _| rules::events(me, peer))
    }

    fn poll_connect(&self, caller: &Caller<'_>, to: &Address, table: &mut PollTable) -> Events {
        let Ok(listener) = self.listener(caller, to) else {
            return Events::WRITABLE;
        };
        table.add(&listener.space);
        match listener.accepting() {
            Err(Errno::EAGAIN) => Events::empty(),
            _ => Events::WRITABLE,
        }
    }

    fn unread(&self) -> Result<usize> {
        match self.connected() {
            Some(c) if self.is_stream() => Ok(c.end.act(|me, _, _| me.incoming.len())),
            Some(c) => Ok(c.end.act(|me, _, _| me.incoming.record_len())),
            None if matches!(*self.state.lock(), State::Listening(_)) => Err(Errno::EINVAL),
            None => Ok(0),
        }
    }

    fn unsent(&self) -> Result<usize> {
        let connected = self.connected();
        Ok(connected.map_or(0, |c| c.end.act(|_, peer, _| peer.incoming.len())))
    }

    fn close(&self) {
        let old = std::mem::replace(&mut *self.state.lock(), State::Closed);
        drop(self.lease.lock().take());
        match old {
            State::Connected(connected) => drop(hang_up(&connected.end, Accepted::Yes)),
            State::Listening(listening) => {
                for socket in listening.ready {
                    if let Some(queued) = socket.connected() {
                        drop(hang_up(&queued.end, Accepted::No));
                    }
                }
                self.space.wake(Events::WRITABLE);
            }
            _ => {}
        }
        self.base.stack.ledger.collect();
    }

    fn visit_rights(&self, see: &mut dyn FnMut(&Arc<Description>)) {
        for end in self.queues_of_rights() {
            end.act(|me, _, _| {
                let rights = me.incoming.marks().filter_map(|m| m.rights.as_ref());
                rights.flat_map(Rights::descriptions).for_each(&mut *see);
            });
        }
    }

    fn take_rights(&self) -> Vec<Rights> {
        let ends = self.queues_of_rights();
        ends.iter()
            .flat_map(|end| end.act(|me, _, _| me.incoming.take_rights()))
            .collect()
    }
}

impl UnixSocket {
    fn unconnected_events(&self, ready: bool) -> Events {
        let (reading, writing) = *self.idle_shut.lock();
        let mut events = Events::empty();
        if ready || reading {
            events |= Events::READABLE;
        }
        if reading {
            events |= Events::RDHUP;
        }
        if reading && writing {
            events |= Events::HUP;
        }
        events
    }

    /// The ends whose receive queues this socket keeps alive: its own, or those waiting for accept(2).
    fn queues_of_rights(&self) -> Vec<LinkEnd> {
        let queued: Vec<Arc<UnixSocket>> = match &*self.state.lock() {
            State::Connected(connected) => return vec![connected.end.clone()],
            State::Listening(listening) => listening.ready.iter().cloned().collect(),
            _ => return Vec::new(),
        };
        queued
            .iter()
            .filter_map(|s| s.connected())
            .map(|c| c.end)
            .collect()
    }
}
