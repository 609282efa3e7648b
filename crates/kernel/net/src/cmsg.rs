//! Control messages as guests lay them out (cmsg(3)).

use base_abi::{Errno, net};

use crate::{Address, Control, MsgFlags, Result};

/// Bytes of `struct cmsghdr`.
const HEADER: usize = 16;
/// Most descriptors in one message (`SCM_MAX_FD`, unix(7)).
pub const MAX_RIGHTS: usize = 253;
/// Most control bytes taken from a guest in one message (`net.core.optmem_max` is of this size).
pub const MAX_CONTROL: usize = 128 << 10;

/// One parsed control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawControl<'a> {
    /// `cmsg_level`.
    pub level: u32,
    /// `cmsg_type`.
    pub kind: u32,
    /// The data after the header.
    pub data: &'a [u8],
}

/// Splits a control buffer.
///
/// # Errors
/// `EINVAL` for a length that does not fit.
pub fn parse(buffer: &[u8]) -> Result<Vec<RawControl<'_>>> {
    let mut found = Vec::new();
    let mut rest = buffer;
    while let Some((header, _)) = rest.split_first_chunk::<HEADER>() {
        let (len, numbers) = header.split_at(8);
        let len = len.try_into().map_or(0, u64::from_ne_bytes);
        let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
        let data = rest.get(HEADER..len).ok_or(Errno::EINVAL)?;
        let (level, kind) = numbers.split_at(4);
        found.push(RawControl {
            level: level.try_into().map_or(0, u32::from_ne_bytes),
            kind: kind.try_into().map_or(0, u32::from_ne_bytes),
            data,
        });
        rest = rest.get(align(len)..).unwrap_or_default();
    }
    Ok(found)
}

/// The descriptor numbers of an `SCM_RIGHTS` message.
///
/// # Errors
/// `EINVAL` when too many (253) or not whole numbers.
pub fn rights(data: &[u8]) -> Result<Vec<i32>> {
    let (numbers, rest) = data.as_chunks::<4>();
    if !rest.is_empty() || numbers.len() > MAX_RIGHTS {
        return Err(Errno::EINVAL);
    }
    Ok(numbers.iter().map(|n| i32::from_ne_bytes(*n)).collect())
}

/// The `struct ucred` of an `SCM_CREDENTIALS` message.
///
/// # Errors
/// `EINVAL` for another length.
pub fn credentials(data: &[u8]) -> Result<crate::Ucred> {
    let (numbers, rest) = data.as_chunks::<4>();
    match (numbers, rest) {
        ([pid, uid, gid], []) => Ok(crate::Ucred {
            pid: i32::from_ne_bytes(*pid),
            uid: u32::from_ne_bytes(*uid),
            gid: u32::from_ne_bytes(*gid),
        }),
        _ => Err(Errno::EINVAL),
    }
}

/// Fills a control buffer of limited size; what does not fit is cut and said (`MSG_CTRUNC`).
#[derive(Debug)]
pub struct ControlWriter {
    bytes: Vec<u8>,
    room: usize,
    flags: MsgFlags,
}

impl ControlWriter {
    /// For a guest buffer of `room` bytes (`msg_controllen`).
    #[must_use]
    pub fn new(room: usize) -> ControlWriter {
        ControlWriter {
            bytes: Vec::new(),
            room: room.min(MAX_CONTROL),
            flags: MsgFlags::empty(),
        }
    }

    /// How many descriptors still fit in an `SCM_RIGHTS` message.
    #[must_use]
    pub fn room_for_rights(&self) -> usize {
        self.left().saturating_sub(HEADER) / 4
    }

    /// Says that something was left out.
    pub fn cut(&mut self) {
        self.flags |= MsgFlags::CTRUNC;
    }

    /// Appends one message; its data is cut when it does not fit.
    pub fn put(&mut self, level: u32, kind: u32, data: &[u8]) {
        let left = self.left();
        if left < HEADER {
            return self.cut();
        }
        let fits = data.len().min(left - HEADER);
        if fits < data.len() {
            self.cut();
        }
        let len = HEADER + fits;
        self.bytes.extend((len as u64).to_ne_bytes());
        self.bytes.extend(level.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(data.get(..fits).unwrap_or_default());
        // The padding counts only as far as the buffer goes.
        let padded = self.bytes.len() - len + align(len).min(left);
        self.bytes.resize(padded, 0);
    }

    /// Appends what a socket delivered. Descriptors are the caller's matter: it installs them and
    /// [puts](ControlWriter::put) their numbers.
    pub fn put_control(&mut self, control: &Control) {
        match control {
            Control::Rights(_) => {}
            Control::Credentials(c) => {
                self.put(net::SOL_SOCKET, net::SCM_CREDENTIALS, &c.encode());
            }
            Control::Timestamp(t) => {
                let data = [t.sec.to_ne_bytes(), (t.nsec / 1000).to_ne_bytes()].concat();
                self.put(net::SOL_SOCKET, net::SO_TIMESTAMP_OLD, &data);
            }
            Control::TimestampNs(t) => {
                let data = [t.sec.to_ne_bytes(), t.nsec.to_ne_bytes()].concat();
                self.put(net::SOL_SOCKET, net::SO_TIMESTAMPNS_OLD, &data);
            }
            Control::PacketInfo(ip) => {
                let lo = crate::loopback::LO_INDEX.to_ne_bytes();
                self.put(
                    net::SOL_IP,
                    net::IP_PKTINFO,
                    &[lo, ip.octets(), ip.octets()].concat(),
                );
            }
            Control::PacketInfo6(ip) => {
                let mut data = ip.octets().to_vec();
                data.extend(crate::loopback::LO_INDEX.to_ne_bytes());
                self.put(net::SOL_IPV6, net::IPV6_PKTINFO, &data);
            }
            Control::Tos(tos) => self.put(net::SOL_IP, net::IP_TOS, &[*tos]),
            Control::Ttl(ttl) => self.put(net::SOL_IP, net::IP_TTL, &ttl.to_ne_bytes()),
            Control::TrafficClass(class) => {
                self.put(net::SOL_IPV6, net::IPV6_TCLASS, &class.to_ne_bytes());
            }
            Control::HopLimit(hops) => {
                self.put(net::SOL_IPV6, net::IPV6_HOPLIMIT, &hops.to_ne_bytes());
            }
            Control::OriginalDestination(address) => {
                let (level, kind) = match address {
                    Address::V6(_) => (net::SOL_IPV6, net::IPV6_ORIGDSTADDR),
                    _ => (net::SOL_IP, net::IP_ORIGDSTADDR),
                };
                self.put(level, kind, &address.encode());
            }
            Control::Error(level, kind, data) => self.put(*level, *kind, data),
            Control::NetlinkGroup(group) => {
                self.put(
                    net::SOL_NETLINK,
                    crate::netlink::NETLINK_PKTINFO,
                    &group.to_ne_bytes(),
                );
            }
        }
    }

    /// The bytes for the guest and the flags to add to `msg_flags`.
    #[must_use]
    pub fn finish(self) -> (Vec<u8>, MsgFlags) {
        (self.bytes, self.flags)
    }

    fn left(&self) -> usize {
        self.room.saturating_sub(self.bytes.len())
    }
}

fn align(len: usize) -> usize {
    len.saturating_add(7) & !7
}
