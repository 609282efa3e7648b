//! Received UDP datagrams: how they wait and what a receiver is told of them.

use std::net::IpAddr;

use base_abi::net;
use kernel_vfs::Events;

use super::datagram::Datagram;
use super::udp::UdpSocket;
use crate::option::Timestamping;
use crate::{Address, Control, Incoming, MsgFlags};

impl UdpSocket {
    /// Takes a datagram, or drops it for want of room as UDP does.
    pub(super) fn enqueue(&self, datagram: Datagram) {
        let room = self.base.options.lock().receive_buffer;
        {
            let mut state = self.state.lock();
            let cost = datagram.cost();
            let fits = state.queued < room && state.lease.is_some();
            if !fits || self.budget().take_bytes(cost).is_err() {
                state.dropped += 1;
                return;
            }
            state.queued += cost;
            state.queue.push_back(datagram);
        }
        self.base.queue.wake(Events::READABLE);
    }

    pub(super) fn deliver(&self, datagram: &Datagram, buf: &mut [u8], flags: MsgFlags) -> Incoming {
        let length = datagram.data.len();
        let copied = length.min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..copied), datagram.data.get(..copied)) {
            to.copy_from_slice(from);
        }
        let mut incoming = Incoming {
            copied,
            length: if flags.contains(MsgFlags::TRUNC) {
                length
            } else {
                copied
            },
            from: Some(Address::for_family(self.base.domain, datagram.from)),
            ..Incoming::default()
        };
        if copied < length {
            incoming.flags |= MsgFlags::TRUNC;
        }
        incoming.control = self.controls(datagram);
        incoming
    }

    fn controls(&self, datagram: &Datagram) -> Vec<Control> {
        let ip = self.ip.lock();
        let mut controls = Vec::new();
        match self.base.options.lock().timestamping {
            Timestamping::Off => {}
            Timestamping::Micro => controls.push(Control::Timestamp(datagram.arrived)),
            Timestamping::Nano => controls.push(Control::TimestampNs(datagram.arrived)),
        }
        let v6_socket = self.base.domain == net::AF_INET6;
        match datagram.to.ip() {
            IpAddr::V4(to) if ip.packet_info => controls.push(Control::PacketInfo(to)),
            IpAddr::V4(to) if v6_socket && ip.packet_info6 => {
                controls.push(Control::PacketInfo6(to.to_ipv6_mapped()));
            }
            IpAddr::V6(to) if ip.packet_info6 => controls.push(Control::PacketInfo6(to)),
            _ => {}
        }
        if datagram.to.is_ipv4() {
            if ip.receive_ttl {
                controls.push(Control::Ttl(datagram.ttl));
            }
            if ip.receive_tos {
                controls.push(Control::Tos(datagram.tos));
            }
        } else {
            if ip.receive_hops {
                controls.push(Control::HopLimit(datagram.ttl));
            }
            if ip.receive_class {
                controls.push(Control::TrafficClass(i32::from(datagram.tos)));
            }
        }
        if ip.receive_original {
            let to = Address::for_family(self.base.domain, datagram.to);
            controls.push(Control::OriginalDestination(to));
        }
        controls
    }
}
