//! What route netlink answers: the link `lo`, its addresses and their local routes.

use std::net::IpAddr;

use base_abi::{Errno, net};

use super::message::{ACK, DUMP, HEADER, Header, MULTI, attributes, finish, put, split, u32_at};
use crate::SocketBase;
use crate::interface;
use crate::loopback::{ARPHRD_LOOPBACK, LO_FLAGS_LINK, LO_INDEX, LO_MTU};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_MIN_TYPE: u16 = 16;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_MAX: u16 = 123;

const IFLA_ADDRESS: u16 = 1;
const IFLA_BROADCAST: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_QDISC: u16 = 6;
const IFLA_STATS: u16 = 7;
const IFLA_TXQLEN: u16 = 13;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKMODE: u16 = 17;
const IFLA_STATS64: u16 = 23;
const IFLA_GROUP: u16 = 27;
const IFLA_PROMISCUITY: u16 = 30;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_CARRIER: u16 = 33;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
/// `IFA_F_PERMANENT`.
const PERMANENT: u8 = 0x80;
const RT_SCOPE_HOST: u8 = 254;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
/// `RT_TABLE_LOCAL`.
const TABLE_LOCAL: u8 = 255;

/// Bytes of `struct ifinfomsg`.
const IFINFO: usize = 16;

type Answer = std::result::Result<Vec<Vec<u8>>, Errno>;

/// Answers every request of a packet: the packets to queue for the sender.
pub(super) fn answer(base: &SocketBase, port: u32, packet: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (header, payload) in split(packet) {
        if header.flags & 1 == 0 || header.kind < NLMSG_MIN_TYPE {
            continue; // Not a request.
        }
        let dump = header.flags & DUMP != 0;
        match reply(base, port, header, payload, dump) {
            Ok(mut messages) if dump => {
                messages.push(done(header, port));
                // One packet of several messages, then the end.
                let last = messages.pop();
                out.push(messages.concat());
                out.extend(last);
                out.retain(|p| !p.is_empty());
            }
            Ok(messages) => {
                let acknowledge = messages.is_empty() || header.flags & ACK != 0;
                out.extend(messages);
                if acknowledge {
                    out.push(error(header, port, payload, 0));
                }
            }
            Err(errno) => out.push(error(header, port, payload, -errno.raw())),
        }
    }
    out
}

fn reply(base: &SocketBase, port: u32, header: Header, payload: &[u8], dump: bool) -> Answer {
    let flags = if dump { MULTI } else { 0 };
    let start = |kind| {
        Header {
            len: 0,
            kind,
            flags,
            port,
            ..header
        }
        .encode()
    };
    let family = payload.first().copied().map_or(0, u32::from);
    match header.kind {
        RTM_GETLINK => {
            if !dump {
                wants_loopback(payload)?;
            }
            Ok(vec![link(start(RTM_NEWLINK))])
        }
        RTM_GETADDR if dump => {
            let all = interface::addresses(base).into_iter();
            let wanted = all.filter(|(ip, _)| family == 0 || family == family_of(*ip));
            Ok(wanted
                .map(|(ip, prefix)| address(start(RTM_NEWADDR), ip, prefix))
                .collect())
        }
        RTM_GETROUTE if dump => {
            let all = interface::addresses(base).into_iter();
            let wanted = all.filter(|(ip, _)| family == 0 || family == family_of(*ip));
            let message = |(ip, prefix)| route(start(RTM_NEWROUTE), network(ip), prefix, ip);
            Ok(wanted.map(message).collect())
        }
        RTM_GETROUTE => {
            let to = destination(payload)?;
            let local = &base.stack.config().local;
            if !local.contains(to) {
                return Err(Errno::ENETUNREACH);
            }
            let prefix = if to.is_ipv4() { 32 } else { 128 };
            Ok(vec![route(
                start(RTM_NEWROUTE),
                to,
                prefix,
                local.source_for(to),
            )])
        }
        // Requests come in fours: NEW, DEL, GET, SET. There are no neighbours, rules, … to dump.
        kind if kind > RTM_MAX => Err(Errno::EOPNOTSUPP),
        kind if kind % 4 == 2 && dump => Ok(Vec::new()),
        kind if kind % 4 == 2 => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::EPERM),
    }
}

fn family_of(ip: IpAddr) -> u32 {
    if ip.is_ipv4() {
        net::AF_INET
    } else {
        net::AF_INET6
    }
}

/// The destination of an address's route: all of 127.0.0.0/8 is local.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) if v4.is_loopback() => IpAddr::from([127, 0, 0, 0]),
        ip => ip,
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// A question about one link, by index or by name.
fn wants_loopback(payload: &[u8]) -> std::result::Result<(), Errno> {
    let index = u32_at(payload, 4).ok_or(Errno::EINVAL)?;
    if index != 0 {
        let lo = index == LO_INDEX.cast_unsigned();
        return if lo { Ok(()) } else { Err(Errno::ENODEV) };
    }
    let named = attributes(payload, IFINFO);
    let name = named
        .iter()
        .find(|(kind, _)| *kind == IFLA_IFNAME)
        .map(|(_, v)| *v);
    match name {
        Some(b"lo" | b"lo\0") => Ok(()),
        Some(_) => Err(Errno::ENODEV),
        None => Err(Errno::EINVAL),
    }
}

fn destination(payload: &[u8]) -> std::result::Result<IpAddr, Errno> {
    let found = attributes(payload, 12);
    let value = found
        .iter()
        .find(|(kind, _)| *kind == RTA_DST)
        .map(|(_, v)| *v);
    let value = value.ok_or(Errno::EINVAL)?;
    if let Ok(four) = <[u8; 4]>::try_from(value) {
        return Ok(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(value)
        .map(IpAddr::from)
        .map_err(|_| Errno::EINVAL)
}

/// `RTM_NEWLINK` for `lo`.
fn link(mut message: Vec<u8>) -> Vec<u8> {
    message.extend([0, 0]);
    message.extend(ARPHRD_LOOPBACK.to_ne_bytes());
    message.extend(LO_INDEX.to_ne_bytes());
    message.extend(LO_FLAGS_LINK.to_ne_bytes());
    message.extend([0; 4]);
    let one = 1u32.to_ne_bytes();
    put(&mut message, IFLA_IFNAME, b"lo\0");
    put(&mut message, IFLA_TXQLEN, &1000u32.to_ne_bytes());
    put(&mut message, IFLA_OPERSTATE, &[0]);
    put(&mut message, IFLA_LINKMODE, &[0]);
    put(&mut message, IFLA_MTU, &LO_MTU.to_ne_bytes());
    put(&mut message, IFLA_GROUP, &[0; 4]);
    put(&mut message, IFLA_PROMISCUITY, &[0; 4]);
    put(&mut message, IFLA_NUM_TX_QUEUES, &one);
    put(&mut message, IFLA_NUM_RX_QUEUES, &one);
    put(&mut message, IFLA_CARRIER, &[1]);
    put(&mut message, IFLA_QDISC, b"noqueue\0");
    put(&mut message, IFLA_ADDRESS, &[0; 6]);
    put(&mut message, IFLA_BROADCAST, &[0; 6]);
    put(&mut message, IFLA_STATS64, &[0; 25 * 8]);
    put(&mut message, IFLA_STATS, &[0; 24 * 4]);
    finish(message)
}

/// `RTM_NEWADDR`.
fn address(mut message: Vec<u8>, ip: IpAddr, prefix: u8) -> Vec<u8> {
    let family = family_of(ip).to_le_bytes().first().copied().unwrap_or(0);
    message.extend([family, prefix, PERMANENT, RT_SCOPE_HOST]);
    message.extend(LO_INDEX.to_ne_bytes());
    put(&mut message, IFA_ADDRESS, &octets(ip));
    if ip.is_ipv4() {
        put(&mut message, IFA_LOCAL, &octets(ip));
        put(&mut message, IFA_LABEL, b"lo\0");
    }
    // Valid and preferred for ever; created and changed at boot.
    let forever = u32::MAX.to_ne_bytes();
    put(
        &mut message,
        IFA_CACHEINFO,
        &[forever, forever, [0; 4], [0; 4]].concat(),
    );
    put(&mut message, IFA_FLAGS, &u32::from(PERMANENT).to_ne_bytes());
    finish(message)
}

/// `RTM_NEWROUTE` of type local.
fn route(mut message: Vec<u8>, to: IpAddr, prefix: u8, source: IpAddr) -> Vec<u8> {
    const RTPROT_KERNEL: u8 = 2;
    const RTN_LOCAL: u8 = 2;
    let family = family_of(to).to_le_bytes().first().copied().unwrap_or(0);
    message.extend([
        family,
        prefix,
        0,
        0,
        TABLE_LOCAL,
        RTPROT_KERNEL,
        RT_SCOPE_HOST,
        RTN_LOCAL,
    ]);
    message.extend([0; 4]);
    put(
        &mut message,
        RTA_TABLE,
        &u32::from(TABLE_LOCAL).to_ne_bytes(),
    );
    put(&mut message, RTA_DST, &octets(to));
    put(&mut message, RTA_PREFSRC, &octets(source));
    put(&mut message, RTA_OIF, &LO_INDEX.to_ne_bytes());
    finish(message)
}

fn done(header: Header, port: u32) -> Vec<u8> {
    let head = Header {
        len: 0,
        kind: NLMSG_DONE,
        flags: MULTI,
        port,
        ..header
    };
    let mut message = head.encode();
    message.extend([0; 4]);
    finish(message)
}

/// `NLMSG_ERROR`: the code and the request's header, with its payload when the code is not 0.
fn error(header: Header, port: u32, payload: &[u8], code: i32) -> Vec<u8> {
    const CAPPED: u16 = 0x100;
    let flags = if code == 0 { CAPPED } else { 0 };
    let head = Header {
        len: 0,
        kind: NLMSG_ERROR,
        flags,
        port,
        ..header
    };
    let mut message = head.encode();
    message.extend(code.to_ne_bytes());
    message.extend(header.encode());
    if code != 0 {
        message.extend(payload);
    }
    debug_assert!(message.len() >= 2 * HEADER + 4);
    finish(message)
}
