//! A received UDP datagram.

use std::net::SocketAddr;
use std::sync::Arc;

use base_abi::structs::Timespec;

/// What a datagram costs beside its bytes.
const OVERHEAD: usize = 512;

/// A received datagram.
#[derive(Clone)]
pub(super) struct Datagram {
    pub(super) data: Arc<[u8]>,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) tos: u8,
    pub(super) ttl: i32,
    pub(super) arrived: Timespec,
}

impl Datagram {
    pub(super) fn cost(&self) -> usize {
        self.data.len() + OVERHEAD
    }
}
