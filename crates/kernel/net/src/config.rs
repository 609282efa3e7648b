//! How a network namespace is made.

use std::net::IpAddr;
use std::sync::Arc;

use base_abi::structs::Timespec;

use crate::inet::{Beyond, LocalAddresses, NoOutbound, Outbound};
use crate::stack::Config;
use crate::{Limits, NetStack, socket_file};

/// What a network namespace is made from.
#[derive(Clone)]
pub struct StackConfig {
    /// Bounds.
    pub limits: Limits,
    /// Own addresses beyond 127.0.0.0/8 and `::1`.
    pub addresses: Vec<IpAddr>,
    /// First port that needs no privilege (`net.ipv4.ip_unprivileged_port_start`).
    pub unprivileged_port_start: u16,
    /// What is beyond.
    pub outbound: Arc<dyn Outbound>,
    /// Wall clock, for arrival times.
    pub now: Arc<dyn Fn() -> Timespec + Send + Sync>,
}

impl Default for StackConfig {
    fn default() -> StackConfig {
        StackConfig {
            limits: Limits::default(),
            addresses: Vec::new(),
            unprivileged_port_start: 1024,
            outbound: Arc::new(NoOutbound),
            now: Arc::new(Timespec::default),
        }
    }
}

impl NetStack {
    /// A namespace without sockets.
    #[must_use]
    pub fn new(config: StackConfig) -> Arc<NetStack> {
        let inside = Config {
            local: LocalAddresses {
                own: config.addresses,
            },
            unprivileged_port_start: config.unprivileged_port_start,
            now: config.now,
        };
        let stack = NetStack::with(inside, config.limits, socket_file::carrier);
        stack.family::<Beyond>().set(config.outbound);
        stack
    }
}
