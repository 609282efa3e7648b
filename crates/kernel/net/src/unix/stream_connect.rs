//! How unix connections come about: a socket, its listener, and the link between them.

use std::sync::Arc;

use base_abi::Errno;
use kernel_vfs::Events;

use super::names::NameTable;
use super::stream::{Connected, State, UnixSocket};
use super::stream_rules::{Accepted, hang_up};
use super::unix_name;
use crate::link::{EndConfig, Link, LinkEnd, Side};
use crate::{Address, Caller, Result, Ucred};

impl UnixSocket {
    pub(super) fn listener(
        &self,
        caller: &Caller<'_>,
        address: &Address,
    ) -> Result<Arc<UnixSocket>> {
        let names = &self.base.stack.family::<NameTable>();
        let found = names.find(caller, self.base.kind, unix_name(address)?)?;
        let socket = found.socket::<UnixSocket>()?;
        if socket.base.kind == self.base.kind {
            Ok(socket)
        } else {
            Err(Errno::EPROTOTYPE)
        }
    }

    /// Whether a connection would be queued now.
    pub(super) fn accepting(&self) -> Result<()> {
        match &*self.state.lock() {
            State::Listening(l) if l.shut => Err(Errno::ECONNREFUSED),
            State::Listening(l) if l.full() => Err(Errno::EAGAIN),
            State::Listening(_) => Ok(()),
            _ => Err(Errno::ECONNREFUSED),
        }
    }

    pub(super) fn start_connecting(&self) -> Result<()> {
        let mut state = self.state.lock();
        match &*state {
            State::Idle => {
                *state = State::Connecting;
                Ok(())
            }
            State::Connected(_) => Err(Errno::EISCONN),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Joins this socket to a fresh one in the listener's accept queue.
    pub(super) fn finish_connecting(
        &self,
        caller: &Caller<'_>,
        listener: &UnixSocket,
    ) -> Result<()> {
        let options = listener.base.options();
        let kind = self.base.kind;
        let accepted = UnixSocket::with_options(
            &self.base.stack,
            kind,
            listener.base.creator,
            options,
            Arc::clone(&listener.name),
        )?;
        {
            let mut state = listener.state.lock();
            let State::Listening(listening) = &mut *state else {
                return Err(Errno::ECONNREFUSED);
            };
            if listening.shut {
                return Err(Errno::ECONNREFUSED);
            }
            if listening.full() {
                return Err(Errno::EAGAIN);
            }
            let seen = [listening.credentials, caller.credentials];
            let link = new_link(self, &accepted);
            *accepted.state.lock() = State::Connected(Connected {
                end: LinkEnd {
                    link: Arc::clone(&link),
                    side: Side::Server,
                },
                peer_name: Arc::clone(&self.name),
                peer_credentials: seen[1],
            });
            let mine = Connected {
                end: LinkEnd {
                    link,
                    side: Side::Client,
                },
                peer_name: Arc::clone(&listener.name),
                peer_credentials: seen[0],
            };
            listening.ready.push_back(accepted);
            drop(state);
            self.settle(mine);
        }
        listener.base.queue.wake(Events::READABLE);
        Ok(())
    }

    /// Takes the connection, unless the socket was closed meanwhile.
    pub(super) fn settle(&self, connected: Connected) {
        let mut state = self.state.lock();
        if matches!(*state, State::Connecting) {
            *state = State::Connected(connected);
            return;
        }
        drop(state);
        drop(hang_up(&connected.end, Accepted::Yes));
    }
}

impl UnixSocket {
    /// Joins two fresh sockets; `seen` are the credentials that the first and the second see.
    pub(super) fn join(first: &UnixSocket, second: &UnixSocket, seen: [Ucred; 2]) {
        let link = new_link(first, second);
        let ends = [(first, second, Side::Client), (second, first, Side::Server)];
        for ((me, peer, side), peer_credentials) in ends.into_iter().zip(seen) {
            *me.state.lock() = State::Connected(Connected {
                end: LinkEnd {
                    link: Arc::clone(&link),
                    side,
                },
                peer_name: Arc::clone(&peer.name),
                peer_credentials,
            });
        }
    }
}

fn config(socket: &UnixSocket) -> EndConfig {
    let options = socket.base.options.lock();
    EndConfig {
        send_buffer: options.send_buffer,
        receive_buffer: options.receive_buffer,
        low_water: options.low_water,
        oob_in_line: false,
    }
}

fn new_link(client: &UnixSocket, server: &UnixSocket) -> Arc<Link> {
    let queues = [client.base.queue.clone(), server.base.queue.clone()];
    Link::new(
        &client.base.stack.budget,
        [config(client), config(server)],
        queues,
    )
}
