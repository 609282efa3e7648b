//! UDP sockets in a snapshot.

use std::sync::Arc;

use base_abi::Errno;
use kernel_vfs::save::Unsavable;

use super::udp::UdpSocket;
use crate::saved::{Body, SocketState, UdpState};
use crate::{Address, Caller, Result, Socket, SocketBase};

impl UdpSocket {
    pub(super) fn to_state(&self) -> std::result::Result<SocketState, Unsavable> {
        let state = self.state.lock();
        if !state.queue.is_empty() || !state.corked.is_empty() {
            return Err(Unsavable::new("datagrams that nobody has read"));
        }
        let body = UdpState {
            ip: self.ip.lock().clone(),
            bound: state.bound,
            local: state.local.filter(|_| state.lease.is_some()),
            remote: state.remote,
            dropped: state.dropped,
            shut: (state.receive_shut, state.send_shut),
            error: state.error.map(Errno::raw),
            coverage: state.coverage,
            cork: state.cork,
            errors: self.errors.lock().saved(),
        };
        Ok(SocketState::new(&self.base, Body::Udp(Box::new(body))))
    }

    /// As it was saved, with its port and its peer.
    pub(crate) fn restored(base: SocketBase, saved: UdpState) -> Result<Arc<UdpSocket>> {
        let socket = UdpSocket::with_base(base, saved.ip);
        if let Some(local) = saved.local {
            let bound = saved
                .bound
                .map_or_else(|| super::any(socket.base.domain), |b| b.ip());
            let scope = super::scope(&socket.ip.lock(), bound);
            let me = Arc::downgrade(&socket);
            let lease = socket
                .ports
                .bind(scope, local.port(), socket.sharing(), me)?;
            let mut state = socket.state.lock();
            (state.bound, state.local, state.lease) = (saved.bound, Some(local), Some(lease));
        }
        if let Some(remote) = saved.remote {
            let to = Address::for_family(socket.base.domain, remote);
            socket.connect(&Caller::kernel(), &to)?;
        }
        let mut state = socket.state.lock();
        state.dropped = saved.dropped;
        (state.receive_shut, state.send_shut) = saved.shut;
        state.error = saved.error.map(Errno::from_raw);
        (state.coverage, state.cork) = (saved.coverage, saved.cork);
        drop(state);
        socket.errors.lock().restore(saved.errors);
        Ok(socket)
    }
}
