//! What send and receive operations carry besides bytes.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use base_abi::structs::Timespec;
use kernel_vfs::Description;

use crate::Address;

bitflags::bitflags! {
    /// `MSG_*` flags (send(2), recv(2)).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MsgFlags: u32 {
        /// Urgent data (TCP).
        const OOB = 0x1;
        /// Look without taking.
        const PEEK = 0x2;
        /// Do not route: everything here is local.
        const DONTROUTE = 0x4;
        /// Control data was cut (out).
        const CTRUNC = 0x8;
        /// Return the real length (in); the message was cut (out).
        const TRUNC = 0x20;
        /// Do not wait; handled by the caller.
        const DONTWAIT = 0x40;
        /// End of record.
        const EOR = 0x80;
        /// Wait for everything; handled by the caller.
        const WAITALL = 0x100;
        /// Take from the error queue.
        const ERRQUEUE = 0x2000;
        /// No `SIGPIPE`; handled by the caller.
        const NOSIGNAL = 0x4000;
        /// More will follow.
        const MORE = 0x8000;
        /// Wait for the first message only (recvmmsg(2)); handled by the caller.
        const WAITFORONE = 0x10000;
        /// Received descriptors get `FD_CLOEXEC`; handled by the caller.
        const CMSG_CLOEXEC = 0x4000_0000;
    }
}

/// `struct ucred` (unix(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ucred {
    /// Process id, 0 for the kernel side.
    pub pid: i32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Ucred {
    /// What a socket without a peer shows (`SO_PEERCRED`).
    pub const NOBODY: Ucred = Ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };

    /// As `struct ucred`.
    #[must_use]
    pub fn encode(&self) -> [u8; 12] {
        let mut out = [0; 12];
        let (pid, ids) = out.split_at_mut(4);
        let (uid, gid) = ids.split_at_mut(4);
        pid.copy_from_slice(&self.pid.to_ne_bytes());
        uid.copy_from_slice(&self.uid.to_ne_bytes());
        gid.copy_from_slice(&self.gid.to_ne_bytes());
        out
    }
}

/// A message to send.
#[derive(Default)]
pub struct Outgoing<'a> {
    /// The bytes.
    pub data: &'a [u8],
    /// Flags of send(2).
    pub flags: MsgFlags,
    /// Destination of sendto(2).
    pub to: Option<Address>,
    /// `SCM_RIGHTS`: the caller keeps its own references until the call returns.
    pub rights: Vec<Arc<Description>>,
    /// `SCM_CREDENTIALS`, already checked against the caller's.
    pub credentials: Option<Ucred>,
    /// `IP_TTL` or `IPV6_HOPLIMIT` of this message.
    pub hops: Option<u8>,
    /// `IP_TOS` or `IPV6_TCLASS` of this message.
    pub class: Option<u8>,
}

impl<'a> Outgoing<'a> {
    /// Bytes alone.
    #[must_use]
    pub fn bytes(data: &'a [u8]) -> Outgoing<'a> {
        Outgoing {
            data,
            ..Outgoing::default()
        }
    }
}

/// Ancillary data of a received message.
#[derive(Clone)]
pub enum Control {
    /// `SCM_RIGHTS`.
    Rights(Vec<Arc<Description>>),
    /// `SCM_CREDENTIALS`.
    Credentials(Ucred),
    /// `SO_TIMESTAMP`: arrival as `struct timeval`.
    Timestamp(Timespec),
    /// `SO_TIMESTAMPNS`: arrival as `struct timespec`.
    TimestampNs(Timespec),
    /// `IP_PKTINFO`: destination; the interface is always `lo`.
    PacketInfo(Ipv4Addr),
    /// `IPV6_PKTINFO`.
    PacketInfo6(Ipv6Addr),
    /// `IP_TOS`.
    Tos(u8),
    /// `IP_TTL`.
    Ttl(i32),
    /// `IPV6_TCLASS`.
    TrafficClass(i32),
    /// `IPV6_HOPLIMIT`.
    HopLimit(i32),
    /// `IP_ORIGDSTADDR` and `IPV6_ORIGDSTADDR`.
    OriginalDestination(Address),
    /// `IP_RECVERR` or `IPV6_RECVERR`: level, type, `struct sock_extended_err` and who told of it.
    Error(u32, u32, Vec<u8>),
    /// `NETLINK_PKTINFO`: the multicast group, 0 for unicast.
    NetlinkGroup(u32),
}

/// A received message; its bytes are in the caller's buffer.
#[derive(Default)]
pub struct Incoming {
    /// Bytes written to the buffer.
    pub copied: usize,
    /// What the call returns: `copied`, or the whole length with `MSG_TRUNC`.
    pub length: usize,
    /// Flags for `msg_flags`.
    pub flags: MsgFlags,
    /// The sender.
    pub from: Option<Address>,
    /// Ancillary data.
    pub control: Vec<Control>,
}

impl Incoming {
    /// `n` bytes of a stream.
    #[must_use]
    pub(crate) fn stream(n: usize) -> Incoming {
        Incoming {
            copied: n,
            length: n,
            ..Incoming::default()
        }
    }
}
