//! Socket addresses as guests write them (`struct sockaddr_*`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use base_abi::{Errno, net};
use serde::{Deserialize, Serialize};

use crate::Result;

/// Longest `sun_path` (unix(7)).
pub(crate) const UNIX_PATH_MAX: usize = 108;

/// The name of a unix socket (unix(7), "Address format").
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UnixName {
    /// No name.
    #[default]
    Unnamed,
    /// A path as it was given, without the final NUL.
    Path(Vec<u8>),
    /// A name in the abstract namespace, without the leading NUL.
    Abstract(Vec<u8>),
}

/// A socket address of any family this kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `AF_UNSPEC`: connect(2) with it dissolves an association.
    Unspecified,
    /// `AF_INET` (ip(7)).
    V4(SocketAddrV4),
    /// `AF_INET6` (ipv6(7)).
    V6(SocketAddrV6),
    /// `AF_UNIX` (unix(7)).
    Unix(UnixName),
    /// `AF_NETLINK` (netlink(7)).
    Netlink {
        /// `nl_pid`.
        port: u32,
        /// `nl_groups`.
        groups: u32,
    },
    /// A family no socket here speaks.
    Other(u16),
}

impl Address {
    /// Reads an address of exactly these bytes.
    ///
    /// # Errors
    /// `EINVAL` when too short or too long for its family.
    pub fn parse(bytes: &[u8]) -> Result<Address> {
        let family = u16::from_ne_bytes(array(bytes, 0)?);
        match u32::from(family) {
            net::AF_UNSPEC => Ok(Address::Unspecified),
            net::AF_UNIX => parse_unix(bytes.get(2..).unwrap_or_default()),
            net::AF_INET => {
                let [_, _, _, _, _, _, _, _]: [u8; 8] = array(bytes, 8)?;
                let port = u16::from_be_bytes(array(bytes, 2)?);
                let ip = Ipv4Addr::from(array::<4>(bytes, 4)?);
                Ok(Address::V4(SocketAddrV4::new(ip, port)))
            }
            net::AF_INET6 => {
                let port = u16::from_be_bytes(array(bytes, 2)?);
                let flow = u32::from_be_bytes(array(bytes, 4)?);
                let ip = Ipv6Addr::from(array::<16>(bytes, 8)?);
                // Without the scope (RFC 2133) the structure is four bytes shorter.
                let scope = array(bytes, 24).map_or(0, u32::from_ne_bytes);
                Ok(Address::V6(SocketAddrV6::new(ip, port, flow, scope)))
            }
            net::AF_NETLINK => Ok(Address::Netlink {
                port: u32::from_ne_bytes(array(bytes, 4)?),
                groups: u32::from_ne_bytes(array(bytes, 8)?),
            }),
            _ => Ok(Address::Other(family)),
        }
    }

    /// The bytes getsockname(2) and its kin give, at most 128.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.family().to_ne_bytes().to_vec();
        match self {
            Address::Unspecified | Address::Other(_) => {}
            Address::V4(a) => {
                out.extend(a.port().to_be_bytes());
                out.extend(a.ip().octets());
                out.extend([0; 8]);
            }
            Address::V6(a) => {
                out.extend(a.port().to_be_bytes());
                out.extend(a.flowinfo().to_be_bytes());
                out.extend(a.ip().octets());
                out.extend(a.scope_id().to_ne_bytes());
            }
            Address::Unix(UnixName::Unnamed) => {}
            Address::Unix(UnixName::Path(path)) => {
                out.extend(path);
                out.push(0);
            }
            Address::Unix(UnixName::Abstract(name)) => {
                out.push(0);
                out.extend(name);
            }
            Address::Netlink { port, groups } => {
                out.extend([0; 2]);
                out.extend(port.to_ne_bytes());
                out.extend(groups.to_ne_bytes());
            }
        }
        out
    }

    /// The family number.
    #[must_use]
    pub fn family(&self) -> u16 {
        let family = match self {
            Address::Unspecified => net::AF_UNSPEC,
            Address::V4(_) => net::AF_INET,
            Address::V6(_) => net::AF_INET6,
            Address::Unix(_) => net::AF_UNIX,
            Address::Netlink { .. } => net::AF_NETLINK,
            Address::Other(family) => return *family,
        };
        u16::try_from(family).unwrap_or(0)
    }

    /// An internet address with IPv4-mapped IPv6 reduced to IPv4.
    #[must_use]
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Address::V4(a) => Some(SocketAddr::V4(*a)),
            Address::V6(a) => Some(SocketAddr::new(a.ip().to_canonical(), a.port())),
            _ => None,
        }
    }

    /// How a socket of the family shows an internet address: an `AF_INET6` socket maps IPv4.
    #[must_use]
    pub(crate) fn for_family(family: u32, addr: SocketAddr) -> Address {
        match (family, addr.ip()) {
            (net::AF_INET6, IpAddr::V4(ip)) => {
                Address::V6(SocketAddrV6::new(ip.to_ipv6_mapped(), addr.port(), 0, 0))
            }
            (_, IpAddr::V4(ip)) => Address::V4(SocketAddrV4::new(ip, addr.port())),
            (_, IpAddr::V6(ip)) => Address::V6(SocketAddrV6::new(ip, addr.port(), 0, 0)),
        }
    }
}

fn parse_unix(path: &[u8]) -> Result<Address> {
    if path.len() > UNIX_PATH_MAX {
        return Err(Errno::EINVAL);
    }
    Ok(Address::Unix(match path {
        [] => UnixName::Unnamed,
        [0, name @ ..] => UnixName::Abstract(name.to_vec()),
        path => {
            let end = path.iter().position(|b| *b == 0).unwrap_or(path.len());
            UnixName::Path(path.get(..end).unwrap_or_default().to_vec())
        }
    }))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let slice = bytes.get(at..at.saturating_add(N)).ok_or(Errno::EINVAL)?;
    slice.try_into().map_err(|_| Errno::EINVAL)
}
