//! TCP sockets in a snapshot.

use std::net::SocketAddr;
use std::sync::Arc;

use base_abi::{Errno, net};
use kernel_vfs::WaitQueue;
use kernel_vfs::save::{Saver, Unsavable};

use super::tcp::{Linked, Phase, TcpSocket};
use crate::link::LinkEnd;
use crate::link::LinkRef;
use crate::saved::{Body, SocketState, TcpPhase, TcpState};
use crate::{Result, Socket, SocketBase};

impl TcpSocket {
    pub(super) fn to_state(
        &self,
        saver: &mut Saver,
    ) -> std::result::Result<SocketState, Unsavable> {
        let state = self.state.lock();
        let phase = match &state.phase {
            Phase::Idle | Phase::Closed => TcpPhase::Idle,
            Phase::Listening(queue) if queue.len() > 0 => {
                return Err(Unsavable::new("connections that nobody has accepted"));
            }
            Phase::Listening(queue) => TcpPhase::Listening(queue.backlog()),
            Phase::Connecting(_) => return Err(Unsavable::new("a connection being made")),
            Phase::Linked(linked) => {
                TcpPhase::Linked(LinkRef::save(&linked.end, saver)?, linked.remote)
            }
        };
        let body = TcpState {
            ip: self.ip.lock().clone(),
            tcp: self.tcp.lock().clone(),
            bound: state.bound,
            local: state.local,
            leased: state.lease.is_some(),
            untold: state.untold,
            idle_shut: state.idle_shut,
            error: state.error.map(Errno::raw),
            phase,
        };
        Ok(SocketState::new(&self.base, Body::Tcp(Box::new(body))))
    }

    /// As it was saved, with its port.
    pub(crate) fn restored(
        base: SocketBase,
        saved: TcpState,
        end: Option<LinkEnd>,
    ) -> Result<Arc<TcpSocket>> {
        let socket = TcpSocket::with_base(base, saved.tcp, saved.ip);
        let stack = Arc::clone(&socket.base.stack);
        let sharing = socket.sharing();
        let me = Arc::downgrade(&socket);
        let mut state = socket.state.lock();
        (state.bound, state.local) = (saved.bound, saved.local);
        (state.untold, state.idle_shut) = (saved.untold, saved.idle_shut);
        state.error = saved.error.map(Errno::from_raw);
        match (&saved.phase, saved.local, saved.leased) {
            (TcpPhase::Linked(..), Some(local), true) => {
                state.lease = Some(socket.ports.inherit(local, sharing, me));
            }
            (_, Some(local), true) => {
                let scope = super::scope(&socket.ip.lock(), local.ip());
                state.lease = Some(socket.ports.bind(scope, local.port(), sharing, me)?);
            }
            _ => {}
        }
        match saved.phase {
            TcpPhase::Idle => drop(state),
            TcpPhase::Listening(backlog) => {
                drop(state);
                socket.start_listening(i32::try_from(backlog).unwrap_or(i32::MAX))?;
            }
            TcpPhase::Linked(_, remote) => {
                let local = saved.local.ok_or(Errno::EINVAL)?;
                state.phase = Phase::Linked(Linked {
                    end: end.ok_or(Errno::EINVAL)?,
                    remote,
                    _flow: stack.claim_flow(local, remote).ok(),
                });
                drop(state);
            }
        }
        Ok(socket)
    }

    /// The kernel's end of a guest's connection.
    pub(crate) fn far_end(
        near: &TcpSocket,
        end: LinkEnd,
        queue: WaitQueue,
        [local, remote]: [SocketAddr; 2],
    ) -> Result<Arc<TcpSocket>> {
        let stack = &near.base.stack;
        let numbers = [near.base.domain, net::SOCK_STREAM, net::SOL_TCP];
        let options = near.base.options();
        let ino = stack.next_ino();
        let creator = crate::Ucred::default();
        let base = SocketBase::restored(stack, numbers, creator, options, ino, queue)?;
        let tcp = near.tcp.lock().clone();
        let far = TcpSocket::with_base(base, tcp, near.ip.lock().clone());
        let mut state = far.state.lock();
        state.local = Some(local);
        state.phase = Phase::Linked(Linked {
            end,
            remote,
            _flow: None,
        });
        drop(state);
        Ok(far)
    }

    /// Breaks the connection: the other end sees `ECONNRESET`.
    pub(crate) fn abort(&self) {
        self.base.options.lock().linger = Some(0);
        self.close();
    }
}
