//! Where a UDP datagram goes: one socket, a group, everyone, or out of the sandbox.

use std::net::SocketAddr;
use std::sync::Arc;

use base_abi::{Errno, net};

use super::datagram::Datagram;
use super::outbound::Beyond;
use super::udp::{UdpPorts, UdpSocket};
use crate::registry::Registry;
use crate::{NetStack, Result};

impl UdpSocket {
    /// Sends from this socket; `hops` and `class` are the message's own, if it has any.
    pub(super) fn send_to(
        &self,
        local: SocketAddr,
        to: SocketAddr,
        data: &[u8],
        (hops, class): (Option<u8>, Option<u8>),
    ) -> Result<()> {
        let stack = &self.base.stack;
        let config = stack.config();
        if config.local.is_broadcast(to.ip()) && !self.base.options.lock().broadcast {
            return Err(Errno::EACCES);
        }
        let from = self.source_for(local, to.ip())?;
        let datagram = {
            let ip = self.ip.lock();
            Datagram {
                data: data.into(),
                from,
                to,
                tos: class.unwrap_or(ip.class_towards(to.ip())),
                ttl: hops.map_or(ip.hops_towards(to.ip()), i32::from),
                arrived: stack.now(),
            }
        };
        if to.ip().is_multicast() {
            if self.ip.lock().multicast_loop {
                to_group(self, &datagram);
            }
            return Ok(());
        }
        if config.local.is_broadcast(to.ip()) {
            for receiver in self.ports.receivers(to, from) {
                receiver.enqueue(datagram.clone());
            }
            return Ok(());
        }
        if !config.local.contains(to.ip()) {
            // Only UDP has a way out of the sandbox.
            if self.base.protocol != net::SOL_UDP {
                return Err(Errno::ENETUNREACH);
            }
            return stack.family::<Beyond>().outbound().datagram(from, to, data);
        }
        match self.ports.receiver(to, from) {
            Some(receiver) => receiver.enqueue(datagram),
            None => self.unreachable(to, data),
        }
        Ok(())
    }
}

/// To every socket on the port that joined the group, or that did not opt out of the groups others
/// joined (`IP_MULTICAST_ALL`).
fn to_group(sender: &UdpSocket, datagram: &Datagram) {
    let group = datagram.to.ip();
    let joined = |socket: &Arc<UdpSocket>| socket.ip.lock().groups.contains(&group);
    if !sender
        .base
        .stack
        .family::<Registry<UdpSocket>>()
        .all()
        .iter()
        .any(joined)
    {
        return;
    }
    for receiver in sender.ports.receivers(datagram.to, datagram.from) {
        let wants = joined(&receiver) || receiver.ip.lock().multicast_all;
        if wants {
            receiver.enqueue(datagram.clone());
        }
    }
}

/// A datagram from outside the sandbox, for a socket in it.
pub(crate) fn deliver(
    stack: &Arc<NetStack>,
    from: SocketAddr,
    to: SocketAddr,
    data: &[u8],
) -> Result<()> {
    let receiver = stack
        .family::<UdpPorts>()
        .udp
        .receiver(to, from)
        .ok_or(Errno::ECONNREFUSED)?;
    receiver.enqueue(Datagram {
        data: data.into(),
        from,
        to,
        tos: 0,
        ttl: 64,
        arrived: stack.now(),
    });
    Ok(())
}
