//! TCP and UDP between the sandbox's own addresses (ip(7), tcp(7), udp(7)).

mod datagram;
mod error_queue;
mod listener;
mod local;
mod outbound;
mod ports;
mod tcp;
mod tcp_connect;
mod tcp_rules;
mod tcp_saved;
mod udp;
mod udp_delivery;
mod udp_receive;
mod udp_saved;

pub(crate) use error_queue::Refused;
pub(crate) use local::LocalAddresses;
pub(crate) use outbound::Beyond;
pub use outbound::{NoOutbound, Outbound, OutboundRequest};
pub(crate) use tcp::TcpSocket;
pub(crate) use udp::{SOL_UDPLITE, UdpSocket};
pub(crate) use udp_delivery::deliver as deliver_datagram;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use base_abi::{Errno, net};
use parking_lot::Mutex;

use crate::option::IpOptions;
use crate::{Address, Caller, Result, SocketBase};

use ports::Scope;

/// The wildcard address of a family.
fn any(domain: u32) -> IpAddr {
    if domain == net::AF_INET6 {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    }
}

/// The address to bind, checked against the socket's family.
fn bind_address(base: &SocketBase, ip: &IpOptions, address: &Address) -> Result<SocketAddr> {
    match (base.domain, address) {
        (net::AF_INET, Address::V4(_)) => {}
        (net::AF_INET6, Address::V6(a)) => {
            if ip.v6_only && a.ip().to_ipv4_mapped().is_some() {
                return Err(Errno::EINVAL);
            }
        }
        (net::AF_INET6, Address::V4(_)) => return Err(Errno::EINVAL),
        _ => return Err(Errno::EAFNOSUPPORT),
    }
    address.inet().ok_or(Errno::EINVAL)
}

/// The address to connect or send to, checked against the socket's family; the wildcard means the
/// loopback address.
fn remote_address(base: &SocketBase, ip: &IpOptions, address: &Address) -> Result<SocketAddr> {
    match (base.domain, address) {
        (net::AF_INET, Address::V4(_)) => {}
        (net::AF_INET6, Address::V6(a)) => {
            if ip.v6_only && a.ip().to_ipv4_mapped().is_some() {
                return Err(Errno::ENETUNREACH);
            }
        }
        (net::AF_INET6, Address::V4(_)) if base.kind == net::SOCK_DGRAM && !ip.v6_only => {}
        (net::AF_INET6, Address::V4(_)) => return Err(Errno::EINVAL),
        _ => return Err(Errno::EAFNOSUPPORT),
    }
    let mut remote = address.inet().ok_or(Errno::EINVAL)?;
    if remote.ip().is_unspecified() {
        remote.set_ip(match remote.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    Ok(remote)
}

/// What part of the address space a socket bound to `addr` covers.
fn scope(ip: &IpOptions, addr: IpAddr) -> Scope {
    match addr {
        IpAddr::V4(a) if a.is_unspecified() => Scope::AnyV4,
        IpAddr::V6(a) if a.is_unspecified() && ip.v6_only => Scope::AnyV6Only,
        IpAddr::V6(a) if a.is_unspecified() => Scope::AnyBoth,
        one => Scope::One(one),
    }
}

/// Low ports are for the privileged.
fn check_port(base: &SocketBase, caller: &Caller<'_>, port: u16) -> Result<()> {
    let low = port != 0 && port < base.stack.config().unprivileged_port_start;
    if low && !caller.privileged {
        Err(Errno::EACCES)
    } else {
        Ok(())
    }
}

/// getsockopt(2) for the levels below TCP and UDP; `None` when the level is another.
fn get_ip_option(
    base: &SocketBase,
    ip: &Mutex<IpOptions>,
    level: u32,
    name: u32,
    connected: bool,
) -> Result<Vec<u8>> {
    match (level, base.domain) {
        (net::SOL_SOCKET, _) => base.get_option(name),
        (net::SOL_IP, _) => ip.lock().get_v4(name, connected),
        (net::SOL_IPV6, net::AF_INET6) => ip.lock().get_v6(name, connected),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// setsockopt(2), likewise.
fn set_ip_option(
    base: &SocketBase,
    ip: &Mutex<IpOptions>,
    caller: &Caller<'_>,
    (level, name): (u32, u32),
    value: &[u8],
    bound: bool,
) -> Result<()> {
    match (level, base.domain) {
        (net::SOL_SOCKET, _) => base.options.lock().set(caller, name, value),
        (net::SOL_IP, _) => ip.lock().set_v4(caller, name, value),
        (net::SOL_IPV6, net::AF_INET6) => ip.lock().set_v6(name, value, bound),
        _ => Err(Errno::ENOPROTOOPT),
    }
}
