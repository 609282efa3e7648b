//! Unix sockets in a snapshot: their names, who is connected to whom, and the datagrams that wait.

use std::sync::{Arc, Weak};

use base_abi::{Errno, net};
use kernel_vfs::save::{LoadError, Loader, ObjectId, Saver, Unsavable, decode, encode};
use kernel_vfs::{FileType, WaitQueue};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::NameCell;
use super::datagram::UnixDatagram;
use super::names::{NameLease, NameTable, SavedLease, Target};
use super::packet::{Charge, Packet, SendAccount};
use super::stream::{Connected, Listening, State, UnixSocket};
use crate::address::UNIX_PATH_MAX;
use crate::limits::MAX_BACKLOG;
use crate::link::{LinkEnd, LinkRef};
use crate::registry::Registry;
use crate::{NetStack, Socket, SocketBase, Ucred, UnixName};

/// A socket's name, and whether it is the one that is found under it.
#[derive(Serialize, Deserialize)]
pub(crate) struct NameState {
    cell: ObjectId,
    lease: Option<SavedLease>,
}

/// A stream or a socket for sequenced packets.
#[derive(Serialize, Deserialize)]
pub(crate) struct UnixState {
    idle_shut: (bool, bool),
    name: NameState,
    phase: UnixPhase,
}

#[derive(Serialize, Deserialize)]
enum UnixPhase {
    Idle,
    /// Without connections that wait to be accepted.
    Listening {
        backlog: usize,
        credentials: Ucred,
        shut: bool,
    },
    /// The connection, the name of the other end, and who is there.
    Connected(LinkRef, ObjectId, Ucred),
}

/// A socket for datagrams.
#[derive(Serialize, Deserialize)]
pub(crate) struct DatagramState {
    name: NameState,
    /// Number of the socket that it is connected to, which may be gone.
    peer: Option<u64>,
    peer_credentials: Option<Ucred>,
    shut: (bool, bool),
    error: Option<i32>,
    queue: Vec<PacketState>,
}

#[derive(Serialize, Deserialize)]
struct PacketState {
    data: Vec<u8>,
    from: UnixName,
    credentials: Ucred,
    /// Number of the socket whose buffer it counts against.
    sender: u64,
}

impl UnixState {
    /// The connection, if it has one.
    pub(crate) fn link(&self) -> Option<LinkRef> {
        match self.phase {
            UnixPhase::Connected(link, ..) => Some(link),
            _ => None,
        }
    }
}

fn save_cell(cell: &NameCell, saver: &mut Saver) -> Result<ObjectId, Unsavable> {
    saver.shared(cell, |_| encode(&*cell.lock()))
}

fn load_cell(id: ObjectId, loader: &mut Loader) -> Result<NameCell, LoadError> {
    loader.shared(id, |bytes, _| {
        let name = decode(bytes, "name of a socket")?;
        Ok(Arc::new(Mutex::new(checked(name)?)))
    })
}

fn checked(name: UnixName) -> Result<UnixName, LoadError> {
    match &name {
        UnixName::Path(bytes) | UnixName::Abstract(bytes) if bytes.len() > UNIX_PATH_MAX => {
            Err(LoadError::Malformed("name of a socket"))
        }
        _ => Ok(name),
    }
}

impl NameState {
    fn save(
        cell: &NameCell,
        lease: &Mutex<Option<NameLease>>,
        saver: &mut Saver,
    ) -> Result<NameState, Unsavable> {
        Ok(NameState {
            cell: save_cell(cell, saver)?,
            lease: match &*lease.lock() {
                Some(lease) => Some(lease.save(saver)?),
                None => None,
            },
        })
    }

    /// Has the socket found under its name again.
    fn lease(
        &self,
        base: &SocketBase,
        name: &NameCell,
        target: Target,
        loader: &mut Loader,
    ) -> Result<Option<NameLease>, LoadError> {
        let names = &base.stack.family::<NameTable>();
        let failed = || LoadError::failed("name of a socket");
        let name = name.lock().clone();
        match (&self.lease, name) {
            (None, _) => Ok(None),
            (Some(SavedLease::Abstract), UnixName::Abstract(bytes)) => {
                let lease = names.lease_abstract(base.kind, bytes, target);
                lease.map(Some).map_err(failed())
            }
            (Some(SavedLease::Place(place)), UnixName::Path(_)) => {
                let place = loader.place(place)?;
                let attr = place.inode().attr().map_err(failed())?;
                if attr.file_type() != FileType::Socket {
                    return Err(LoadError::Malformed("place of a socket"));
                }
                let lease = names.lease_place(place, target);
                lease.map(Some).map_err(failed())
            }
            (Some(SavedLease::Removed), UnixName::Path(_)) => Ok(Some(names.lease_nothing())),
            _ => Err(LoadError::Malformed("name of a socket")),
        }
    }
}

impl UnixSocket {
    pub(crate) fn body(&self, saver: &mut Saver) -> Result<UnixState, Unsavable> {
        let phase = match &*self.state.lock() {
            State::Idle => UnixPhase::Idle,
            State::Listening(listening) if listening.ready.is_empty() => UnixPhase::Listening {
                backlog: listening.backlog,
                credentials: listening.credentials,
                shut: listening.shut,
            },
            State::Listening(_) => {
                return Err(Unsavable::new("a connection that nobody has accepted"));
            }
            State::Connected(connected) => UnixPhase::Connected(
                LinkRef::save(&connected.end, saver)?,
                save_cell(&connected.peer_name, saver)?,
                connected.peer_credentials,
            ),
            State::Connecting | State::Closed => {
                return Err(Unsavable::new("a unix socket that connects or is closed"));
            }
        };
        let body = UnixState {
            idle_shut: *self.idle_shut.lock(),
            name: NameState::save(&self.name, &self.lease, saver)?,
            phase,
        };
        Ok(body)
    }

    /// As it was saved.
    pub(crate) fn restored(
        base: SocketBase,
        saved: &UnixState,
        end: Option<LinkEnd>,
        loader: &mut Loader,
    ) -> Result<Arc<UnixSocket>, LoadError> {
        let state = match (end, &saved.phase) {
            (Some(end), UnixPhase::Connected(_, peer_name, peer_credentials)) => {
                State::Connected(Connected {
                    end,
                    peer_name: load_cell(*peer_name, loader)?,
                    peer_credentials: *peer_credentials,
                })
            }
            (
                None,
                UnixPhase::Listening {
                    backlog,
                    credentials,
                    shut,
                },
            ) => State::Listening(Listening {
                backlog: (*backlog).min(MAX_BACKLOG),
                credentials: *credentials,
                shut: *shut,
                ..Listening::default()
            }),
            (None, UnixPhase::Idle) => State::Idle,
            _ => return Err(LoadError::Malformed("state of a socket")),
        };
        let name = load_cell(saved.name.cell, loader)?;
        let socket = UnixSocket::with_base(base, Arc::clone(&name), state, saved.idle_shut);
        let target = Target::new(Arc::downgrade(&socket));
        let lease = saved.name.lease(&socket.base, &name, target, loader)?;
        *socket.lease.lock() = lease;
        Ok(socket)
    }
}

impl UnixDatagram {
    pub(crate) fn body(&self, saver: &mut Saver) -> Result<DatagramState, Unsavable> {
        let state = self.state.lock();
        let packet = |packet: &Packet| {
            if packet.rights.is_some() {
                return Err(Unsavable::new("descriptors in flight in a socket"));
            }
            Ok(PacketState {
                data: packet.data.to_vec(),
                from: packet.from.clone(),
                credentials: packet.credentials,
                sender: packet.charge.owner(),
            })
        };
        let peer = state.peer.as_ref();
        let body = DatagramState {
            name: NameState::save(&self.name, &self.lease, saver)?,
            // No socket has the number 0.
            peer: peer.map(|peer| peer.upgrade().map_or(0, |peer| peer.base.ino)),
            peer_credentials: state.peer_credentials,
            shut: (state.receive_shut, state.send_shut),
            error: state.error.map(Errno::raw),
            queue: state.queue.iter().map(packet).collect::<Result<_, _>>()?,
        };
        Ok(body)
    }

    /// As it was saved; connected to others, and with its datagrams, when all are there.
    pub(crate) fn restored(
        base: SocketBase,
        saved: DatagramState,
        loader: &mut Loader,
    ) -> Result<Arc<UnixDatagram>, LoadError> {
        let name = load_cell(saved.name.cell, loader)?;
        let socket = UnixDatagram::with_base(base, Arc::clone(&name));
        let target = Target::new(Arc::downgrade(&socket));
        let lease = saved.name.lease(&socket.base, &name, target, loader)?;
        *socket.lease.lock() = lease;
        {
            let mut state = socket.state.lock();
            state.peer_credentials = saved.peer_credentials;
            (state.receive_shut, state.send_shut) = saved.shut;
            state.error = saved.error.map(Errno::from_raw);
        }
        let later = Arc::clone(&socket);
        loader.later(move |_| later.take_up(saved.peer, saved.queue));
        Ok(socket)
    }

    fn take_up(&self, peer: Option<u64>, queue: Vec<PacketState>) -> Result<(), LoadError> {
        let stack = &self.base.stack;
        let peer = peer.map(|ino| {
            let found = stack.unix_datagram(ino);
            found.map_or_else(Weak::new, |peer| Arc::downgrade(&peer))
        });
        let mut packets = Vec::with_capacity(queue.len());
        for packet in queue {
            let account = match stack.unix_datagram(packet.sender) {
                Some(sender) => Arc::clone(&sender.account),
                // Nobody waits for room in it.
                None => SendAccount::new(packet.sender, &WaitQueue::new(), &stack.budget),
            };
            let charge = Charge::new(&account, packet.data.len());
            packets.push(Packet {
                charge: charge.map_err(LoadError::failed("a datagram"))?,
                data: packet.data.into(),
                from: checked(packet.from)?,
                credentials: packet.credentials,
                rights: None,
            });
        }
        let mut state = self.state.lock();
        state.peer = peer;
        state.queue.extend(packets);
        Ok(())
    }
}

impl NetStack {
    /// The datagram socket of this number.
    fn unix_datagram(&self, ino: u64) -> Option<Arc<UnixDatagram>> {
        let socket: Arc<dyn Socket> = self.family::<Registry<dyn Socket>>().get(ino)?;
        if socket.base().kind != net::SOCK_DGRAM {
            return None;
        }
        let any: Arc<dyn std::any::Any + Send + Sync> = socket;
        any.downcast().ok()
    }
}
