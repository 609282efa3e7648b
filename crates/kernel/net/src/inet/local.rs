//! Which internet addresses are the sandbox's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of the loopback interface.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalAddresses {
    /// Beyond 127.0.0.0/8 and `::1`.
    pub(crate) own: Vec<IpAddr>,
}

impl LocalAddresses {
    /// Whether packets to it stay here.
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(v4) if self.is_broadcast(ip) => !v4.is_loopback(),
            _ => ip.is_loopback() || self.own.contains(&ip),
        }
    }

    /// Whether a socket may be bound to it.
    pub(crate) fn bindable(&self, ip: IpAddr) -> bool {
        ip.is_unspecified() || ip.is_multicast() || self.is_broadcast(ip) || self.contains(ip)
    }

    /// Whether every socket of the port is meant.
    pub(crate) fn is_broadcast(&self, ip: IpAddr) -> bool {
        ip == IpAddr::V4(Ipv4Addr::BROADCAST) || ip == IpAddr::V4(Ipv4Addr::new(127, 255, 255, 255))
    }

    /// The source address for a destination that [stays here](LocalAddresses::contains).
    pub(crate) fn source_for(&self, to: IpAddr) -> IpAddr {
        match to {
            _ if self.own.contains(&to) => to,
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        }
    }
}
