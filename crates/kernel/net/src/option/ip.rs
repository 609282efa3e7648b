//! Options of levels `IPPROTO_IP` and `IPPROTO_IPV6` (ip(7), ipv6(7)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base_abi::{Errno, net};

use super::{flag, give, int, int_or_byte};
use crate::{Caller, Result};

/// Groups one socket may join (`net.ipv4.igmp_max_memberships`).
const MAX_MEMBERSHIPS: usize = 20;
/// MTU of the loopback interface.
const LOOPBACK_MTU: i32 = 65536;

/// The IP options of one socket.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct IpOptions {
    pub(crate) v6_only: bool,
    pub(crate) tos: u8,
    pub(crate) packet_info: bool,
    pub(crate) receive_tos: bool,
    pub(crate) receive_ttl: bool,
    pub(crate) receive_original: bool,
    pub(crate) report_errors: bool,
    pub(crate) multicast_loop: bool,
    pub(crate) multicast_all: bool,
    pub(crate) packet_info6: bool,
    pub(crate) receive_class: bool,
    pub(crate) receive_hops: bool,
    pub(crate) traffic_class: i32,
    /// Groups joined.
    pub(crate) groups: Vec<IpAddr>,
    ttl: i32,
    multicast_ttl: i32,
    multicast_interface: Ipv4Addr,
    mtu_discover: i32,
    free_bind: bool,
    bind_no_port: bool,
    min_ttl: i32,
    unicast_hops: i32,
    multicast_hops: i32,
    multicast_interface6: i32,
    mtu_discover6: i32,
    dont_fragment: bool,
}

impl Default for IpOptions {
    fn default() -> IpOptions {
        IpOptions {
            v6_only: false,
            tos: 0,
            packet_info: false,
            receive_tos: false,
            receive_ttl: false,
            receive_original: false,
            report_errors: false,
            multicast_loop: true,
            multicast_all: true,
            packet_info6: false,
            receive_class: false,
            receive_hops: false,
            traffic_class: 0,
            groups: Vec::new(),
            ttl: -1,
            multicast_ttl: 1,
            multicast_interface: Ipv4Addr::UNSPECIFIED,
            mtu_discover: 1,
            free_bind: false,
            bind_no_port: false,
            min_ttl: 0,
            unicast_hops: -1,
            multicast_hops: 1,
            multicast_interface6: 0,
            mtu_discover6: 1,
            dont_fragment: false,
        }
    }
}

impl IpOptions {
    fn ttl(&self) -> i32 {
        if self.ttl < 0 { 64 } else { self.ttl }
    }

    /// Time to live of what this socket sends to an address.
    pub(crate) fn hops_towards(&self, to: IpAddr) -> i32 {
        match to {
            IpAddr::V4(to) if to.is_multicast() => self.multicast_ttl,
            IpAddr::V6(to) if to.is_multicast() => self.multicast_hops,
            IpAddr::V4(_) => self.ttl(),
            IpAddr::V6(_) if self.unicast_hops < 0 => 64,
            IpAddr::V6(_) => self.unicast_hops,
        }
    }

    /// Type of service, or traffic class, of what this socket sends to an address.
    pub(crate) fn class_towards(&self, to: IpAddr) -> u8 {
        match to {
            IpAddr::V4(_) => self.tos,
            IpAddr::V6(_) => u8::try_from(self.traffic_class).unwrap_or(0),
        }
    }

    /// Whether an address that is not local may be bound (`IP_FREEBIND`).
    pub(crate) fn free_bind(&self) -> bool {
        self.free_bind
    }

    /// getsockopt(2) at level `IPPROTO_IP`.
    pub(crate) fn get_v4(&self, name: u32, connected: bool) -> Result<Vec<u8>> {
        Ok(match name {
            net::IP_TOS => give(self.tos),
            net::IP_TTL => give(self.ttl()),
            net::IP_HDRINCL | net::IP_NODEFRAG | net::IP_TRANSPARENT => give(0),
            net::IP_OPTIONS => Vec::new(),
            net::IP_PKTINFO => give(self.packet_info),
            net::IP_RECVTOS => give(self.receive_tos),
            net::IP_RECVTTL => give(self.receive_ttl),
            net::IP_RECVERR => give(self.report_errors),
            net::IP_RECVORIGDSTADDR => give(self.receive_original),
            net::IP_RECVOPTS | net::IP_RETOPTS | net::IP_PASSSEC => give(0),
            net::IP_MTU_DISCOVER => give(self.mtu_discover),
            net::IP_MTU if connected => give(LOOPBACK_MTU),
            net::IP_MTU => return Err(Errno::ENOTCONN),
            net::IP_FREEBIND => give(self.free_bind),
            net::IP_BIND_ADDRESS_NO_PORT => give(self.bind_no_port),
            net::IP_MINTTL => give(self.min_ttl),
            net::IP_MULTICAST_TTL => give(self.multicast_ttl),
            net::IP_MULTICAST_LOOP => give(self.multicast_loop),
            net::IP_MULTICAST_ALL => give(self.multicast_all),
            net::IP_MULTICAST_IF => self.multicast_interface.octets().to_vec(),
            net::IP_UNICAST_IF => give(0),
            _ => return Err(Errno::ENOPROTOOPT),
        })
    }

    /// setsockopt(2) at level `IPPROTO_IP`.
    pub(crate) fn set_v4(&mut self, caller: &Caller<'_>, name: u32, value: &[u8]) -> Result<()> {
        match name {
            net::IP_ADD_MEMBERSHIP => return self.join(group4(value)?),
            net::IP_DROP_MEMBERSHIP => return self.leave(group4(value)?),
            net::MCAST_JOIN_GROUP => return self.join(group_request(value)?),
            net::MCAST_LEAVE_GROUP => return self.leave(group_request(value)?),
            net::IP_MULTICAST_IF => return self.set_multicast_interface(value),
            net::IP_OPTIONS if value.is_empty() => return Ok(()),
            net::IP_OPTIONS => return Err(Errno::EINVAL),
            _ => {}
        }
        let number = int_or_byte(value)?;
        let on = number != 0;
        match name {
            net::IP_TOS => self.tos = number.to_le_bytes().first().copied().unwrap_or(0),
            net::IP_TTL => self.ttl = one_of(number, number == -1 || (1..256).contains(&number))?,
            net::IP_PKTINFO => self.packet_info = on,
            net::IP_RECVTOS => self.receive_tos = on,
            net::IP_RECVTTL => self.receive_ttl = on,
            net::IP_RECVERR => self.report_errors = on,
            net::IP_RECVORIGDSTADDR => self.receive_original = on,
            net::IP_RECVOPTS | net::IP_RETOPTS | net::IP_PASSSEC | net::IP_UNICAST_IF => {}
            net::IP_MTU_DISCOVER => self.mtu_discover = one_of(number, (0..6).contains(&number))?,
            net::IP_FREEBIND => self.free_bind = on,
            net::IP_TRANSPARENT if on && !caller.privileged => return Err(Errno::EPERM),
            net::IP_TRANSPARENT => return Err(Errno::ENOPROTOOPT),
            net::IP_BIND_ADDRESS_NO_PORT => self.bind_no_port = on,
            net::IP_MINTTL => self.min_ttl = one_of(number, (0..256).contains(&number))?,
            net::IP_MULTICAST_TTL => {
                let ok = number == -1 || (0..256).contains(&number);
                self.multicast_ttl = if one_of(number, ok)? == -1 { 1 } else { number };
            }
            net::IP_MULTICAST_LOOP => self.multicast_loop = on,
            net::IP_MULTICAST_ALL => {
                self.multicast_all = one_of(number, (0..2).contains(&number))? != 0
            }
            // For raw sockets only, which do not exist here.
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// getsockopt(2) at level `IPPROTO_IPV6`.
    pub(crate) fn get_v6(&self, name: u32, connected: bool) -> Result<Vec<u8>> {
        Ok(match name {
            net::IPV6_V6ONLY => give(self.v6_only),
            net::IPV6_UNICAST_HOPS if self.unicast_hops < 0 => give(64),
            net::IPV6_UNICAST_HOPS => give(self.unicast_hops),
            net::IPV6_MULTICAST_HOPS => give(self.multicast_hops),
            net::IPV6_MULTICAST_LOOP => give(self.multicast_loop),
            net::IPV6_MULTICAST_ALL => give(self.multicast_all),
            net::IPV6_MULTICAST_IF => give(self.multicast_interface6),
            net::IPV6_RECVPKTINFO => give(self.packet_info6),
            net::IPV6_RECVTCLASS => give(self.receive_class),
            net::IPV6_RECVHOPLIMIT => give(self.receive_hops),
            net::IPV6_RECVORIGDSTADDR => give(self.receive_original),
            net::IPV6_RECVERR => give(self.report_errors),
            net::IPV6_TCLASS => give(self.traffic_class),
            net::IPV6_MTU_DISCOVER => give(self.mtu_discover6),
            net::IPV6_MTU if connected => give(LOOPBACK_MTU),
            net::IPV6_MTU => return Err(Errno::ENOTCONN),
            net::IPV6_DONTFRAG => give(self.dont_fragment),
            net::IPV6_FREEBIND => give(self.free_bind),
            net::IPV6_AUTOFLOWLABEL => give(1),
            net::IPV6_TRANSPARENT | net::IPV6_FLOWINFO_SEND | net::IPV6_RECVPATHMTU => give(0),
            _ => return Err(Errno::ENOPROTOOPT),
        })
    }

    /// setsockopt(2) at level `IPPROTO_IPV6`; `bound` sockets cannot change their families any more.
    pub(crate) fn set_v6(&mut self, name: u32, value: &[u8], bound: bool) -> Result<()> {
        match name {
            net::IPV6_ADD_MEMBERSHIP => return self.join(group6(value)?),
            net::IPV6_DROP_MEMBERSHIP => return self.leave(group6(value)?),
            net::MCAST_JOIN_GROUP => return self.join(group_request(value)?),
            net::MCAST_LEAVE_GROUP => return self.leave(group_request(value)?),
            _ => {}
        }
        let number = int(value)?;
        let on = flag(value)?;
        let byte_or_default = number == -1 || (0..256).contains(&number);
        match name {
            net::IPV6_V6ONLY if bound => return Err(Errno::EINVAL),
            net::IPV6_V6ONLY => self.v6_only = on,
            net::IPV6_UNICAST_HOPS => self.unicast_hops = one_of(number, byte_or_default)?,
            net::IPV6_MULTICAST_HOPS => {
                self.multicast_hops = if one_of(number, byte_or_default)? == -1 {
                    1
                } else {
                    number
                };
            }
            net::IPV6_MULTICAST_LOOP => {
                self.multicast_loop = one_of(number, (0..2).contains(&number))? != 0
            }
            net::IPV6_MULTICAST_ALL => self.multicast_all = on,
            net::IPV6_MULTICAST_IF => match number {
                0 | crate::loopback::LO_INDEX => self.multicast_interface6 = number,
                _ => return Err(Errno::ENODEV),
            },
            net::IPV6_RECVPKTINFO => self.packet_info6 = on,
            net::IPV6_RECVTCLASS => self.receive_class = on,
            net::IPV6_RECVHOPLIMIT => self.receive_hops = on,
            net::IPV6_RECVORIGDSTADDR => self.receive_original = on,
            net::IPV6_RECVERR => self.report_errors = on,
            net::IPV6_TCLASS => {
                self.traffic_class = if one_of(number, byte_or_default)? == -1 {
                    0
                } else {
                    number
                };
            }
            net::IPV6_MTU_DISCOVER => {
                self.mtu_discover6 = one_of(number, (0..6).contains(&number))?
            }
            net::IPV6_DONTFRAG => self.dont_fragment = on,
            net::IPV6_FREEBIND => self.free_bind = on,
            net::IPV6_AUTOFLOWLABEL | net::IPV6_FLOWINFO_SEND | net::IPV6_RECVPATHMTU => {}
            net::IPV6_ADDR_PREFERENCES => {}
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    fn join(&mut self, group: IpAddr) -> Result<()> {
        if !group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        if self.groups.contains(&group) {
            return Err(Errno::EADDRINUSE);
        }
        if self.groups.len() >= MAX_MEMBERSHIPS {
            return Err(Errno::ENOBUFS);
        }
        self.groups.push(group);
        Ok(())
    }

    fn leave(&mut self, group: IpAddr) -> Result<()> {
        let at = self.groups.iter().position(|g| *g == group);
        self.groups.swap_remove(at.ok_or(Errno::EADDRNOTAVAIL)?);
        Ok(())
    }

    fn set_multicast_interface(&mut self, value: &[u8]) -> Result<()> {
        // `struct in_addr`, `struct ip_mreq` or `struct ip_mreqn`: the interface address is the
        // first, the second, the second word.
        let at = if value.len() >= 8 { 4 } else { 0 };
        let address = word(value, at).ok_or(Errno::EINVAL)?;
        self.multicast_interface = Ipv4Addr::from(address);
        Ok(())
    }
}

fn one_of(number: i32, ok: bool) -> Result<i32> {
    if ok { Ok(number) } else { Err(Errno::EINVAL) }
}

fn word(value: &[u8], at: usize) -> Option<[u8; 4]> {
    value.get(at..)?.first_chunk().copied()
}

fn lo_or_any(index: [u8; 4]) -> Result<()> {
    match i32::from_ne_bytes(index) {
        0 | crate::loopback::LO_INDEX => Ok(()),
        _ => Err(Errno::ENODEV),
    }
}

/// `struct ip_mreq` or `struct ip_mreqn`.
fn group4(value: &[u8]) -> Result<IpAddr> {
    let (Some(group), Some(_)) = (word(value, 0), word(value, 4)) else {
        return Err(Errno::EINVAL);
    };
    lo_or_any(word(value, 8).unwrap_or_default())?;
    Ok(IpAddr::V4(Ipv4Addr::from(group)))
}

/// `struct ipv6_mreq`.
fn group6(value: &[u8]) -> Result<IpAddr> {
    let group: &[u8; 16] = value.first_chunk().ok_or(Errno::EINVAL)?;
    lo_or_any(word(value, 16).ok_or(Errno::EINVAL)?)?;
    Ok(IpAddr::V6(Ipv6Addr::from(*group)))
}

/// `struct group_req`: interface index, padding, `struct sockaddr_storage`.
fn group_request(value: &[u8]) -> Result<IpAddr> {
    lo_or_any(word(value, 0).ok_or(Errno::EINVAL)?)?;
    let address = crate::Address::parse(value.get(8..).ok_or(Errno::EINVAL)?)?;
    address.inet().map(|a| a.ip()).ok_or(Errno::EINVAL)
}
