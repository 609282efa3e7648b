//! What became of datagrams (ip(7), `IP_RECVERR`): errors with what they are about, in a queue of their own.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base_abi::{Errno, net};
use serde::{Deserialize, Serialize};

use crate::limits::Budget;
use crate::{Address, Control, Incoming, MsgFlags};

/// Most errors that wait; what comes after them is told by `SO_ERROR` alone.
const MOST: usize = 64;
/// What an error costs beside its bytes.
const OVERHEAD: usize = 256;
/// Bytes of a refused datagram that come back: an ICMP message has 576 bytes (RFC 1812, 4.3.2.3), one of ICMPv6 1280
/// (RFC 4443, 2.4), less two headers of IP, its own and that of UDP.
const RETURNED4: usize = 576 - 2 * 20 - 8 - 8;
const RETURNED6: usize = 1280 - 2 * 40 - 8 - 8;

/// A datagram that nobody took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    to: SocketAddr,
    data: Vec<u8>,
}

impl Refused {
    fn cost(&self) -> usize {
        self.data.len() + OVERHEAD
    }

    /// `struct sock_extended_err` with the address that told of it, as for a port that is unreachable.
    fn extended(&self, domain: u32) -> Vec<u8> {
        let (origin, kind, code) = match self.to.ip() {
            IpAddr::V4(_) => (2, 3, 3),
            IpAddr::V6(_) => (3, 1, 4),
        };
        let mut bytes = Errno::ECONNREFUSED.raw().to_ne_bytes().to_vec();
        bytes.extend([origin, kind, code, 0]);
        bytes.extend([0; 8]);
        let offender = SocketAddr::new(self.to.ip(), 0);
        bytes.extend(Address::for_family(domain, offender).encode());
        bytes
    }
}

/// Errors in order, charged to the namespace's budget.
pub(super) struct ErrorQueue {
    errors: VecDeque<Refused>,
    budget: Arc<Budget>,
}

impl ErrorQueue {
    pub(super) fn new(budget: &Arc<Budget>) -> ErrorQueue {
        ErrorQueue {
            errors: VecDeque::new(),
            budget: Arc::clone(budget),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// What is in it, for a snapshot.
    pub(super) fn saved(&self) -> Vec<Refused> {
        self.errors.iter().cloned().collect()
    }

    /// Puts back what was saved, as far as there is room.
    pub(super) fn restore(&mut self, saved: Vec<Refused>) {
        for refused in saved {
            self.queue(refused);
        }
    }

    /// A datagram was refused.
    pub(super) fn push(&mut self, to: SocketAddr, data: &[u8]) {
        let most = if to.is_ipv4() { RETURNED4 } else { RETURNED6 };
        let data = data.get(..most).unwrap_or(data).to_vec();
        self.queue(Refused { to, data });
    }

    fn queue(&mut self, refused: Refused) {
        let full = self.errors.len() >= MOST;
        if !full && self.budget.take_bytes(refused.cost()).is_ok() {
            self.errors.push_back(refused);
        }
    }

    fn pop(&mut self) -> Option<Refused> {
        let refused = self.errors.pop_front()?;
        self.budget.give_bytes(refused.cost());
        Some(refused)
    }

    pub(super) fn clear(&mut self) {
        while self.pop().is_some() {}
    }

    /// Takes the first error as a socket of this domain is told of it: the datagram, where it went, and why it did not arrive.
    pub(super) fn take(&mut self, domain: u32, buf: &mut [u8]) -> Option<Incoming> {
        let refused = self.pop()?;
        let copied = refused.data.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..copied), refused.data.get(..copied)) {
            to.copy_from_slice(from);
        }
        let (level, kind) = match domain {
            net::AF_INET6 => (net::SOL_IPV6, net::IPV6_RECVERR),
            _ => (net::SOL_IP, net::IP_RECVERR),
        };
        let mut flags = MsgFlags::ERRQUEUE;
        flags.set(MsgFlags::TRUNC, copied < refused.data.len());
        Some(Incoming {
            copied,
            length: copied,
            flags,
            from: Some(Address::for_family(domain, refused.to)),
            control: vec![Control::Error(level, kind, refused.extended(domain))],
        })
    }
}

impl Drop for ErrorQueue {
    fn drop(&mut self) {
        self.clear();
    }
}
