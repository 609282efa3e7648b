//! What every socket has, whatever its family.

use std::sync::Arc;

use base_abi::net;
use kernel_vfs::WaitQueue;
use parking_lot::Mutex;

use crate::limits::SocketPlace;
use crate::option::{SocketOptions, give};
use crate::{NetStack, Result, Timeouts, Ucred};

/// The common part of a socket.
pub struct SocketBase {
    /// `AF_*`.
    pub domain: u32,
    /// `SOCK_*`.
    pub kind: u32,
    /// `IPPROTO_*`, or the netlink protocol.
    pub protocol: u32,
    /// Inode number, as in `socket:[N]`.
    pub ino: u64,
    /// Who made it.
    pub creator: Ucred,
    pub(crate) stack: Arc<NetStack>,
    pub(crate) options: Mutex<SocketOptions>,
    pub(crate) queue: WaitQueue,
    _place: SocketPlace,
}

impl SocketBase {
    /// `st_dev` of sockets.
    pub const DEVICE: u64 = 8;

    /// # Errors
    /// `ENFILE` when the namespace has too many sockets.
    pub(crate) fn new(
        stack: &Arc<NetStack>,
        [domain, kind, protocol]: [u32; 3],
        creator: Ucred,
        options: SocketOptions,
    ) -> Result<SocketBase> {
        Ok(SocketBase {
            domain,
            kind,
            protocol,
            ino: stack.next_ino(),
            creator,
            stack: Arc::clone(stack),
            options: Mutex::new(options),
            queue: WaitQueue::new(),
            _place: stack.budget.socket()?,
        })
    }

    /// `SO_RCVTIMEO` and `SO_SNDTIMEO` for whoever waits on behalf of a caller.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.options.lock().timeouts
    }

    /// getsockopt(2) of level `SOL_SOCKET` for what is the same in every family.
    pub(crate) fn get_option(&self, name: u32) -> Result<Vec<u8>> {
        match name {
            net::SO_TYPE => Ok(give(self.kind)),
            net::SO_DOMAIN => Ok(give(self.domain)),
            net::SO_PROTOCOL => Ok(give(self.protocol)),
            net::SO_COOKIE => Ok(self.ino.to_ne_bytes().to_vec()),
            _ => self.options.lock().get(name),
        }
    }

    /// A copy of the options: short lock, no order to mind.
    pub(crate) fn options(&self) -> SocketOptions {
        self.options.lock().clone()
    }
}

impl SocketBase {
    /// As it was saved: with its number, and the queue that its connection wakes.
    pub(crate) fn restored(
        stack: &Arc<NetStack>,
        [domain, kind, protocol]: [u32; 3],
        creator: Ucred,
        options: SocketOptions,
        ino: u64,
        queue: WaitQueue,
    ) -> Result<SocketBase> {
        stack.number_taken(ino);
        Ok(SocketBase {
            domain,
            kind,
            protocol,
            ino,
            creator,
            stack: Arc::clone(stack),
            options: Mutex::new(options),
            queue,
            _place: stack.budget.socket()?,
        })
    }
}
