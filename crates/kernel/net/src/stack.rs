//! A network namespace: its limits, its own addresses, and what families of sockets keep of it.

use std::any::Any;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base_abi::Errno;
use base_abi::structs::Timespec;
use parking_lot::Mutex;

use crate::inet::LocalAddresses;
use crate::limits::Budget;
use crate::rights::{FindCarrier, Ledger};
use crate::{Limits, Result};

/// The configuration as the sockets use it.
pub(crate) struct Config {
    pub(crate) local: LocalAddresses,
    pub(crate) unprivileged_port_start: u16,
    pub(crate) now: Arc<dyn Fn() -> Timespec + Send + Sync>,
}

/// One network namespace.
pub struct NetStack {
    config: Config,
    pub(crate) budget: Arc<Budget>,
    pub(crate) ledger: Arc<Ledger>,
    flows: Arc<Mutex<HashSet<(SocketAddr, SocketAddr)>>>,
    families: Mutex<Vec<Arc<dyn Any + Send + Sync>>>,
    next_ino: AtomicU64,
}

/// A pair of addresses that one TCP connection has for itself; freed when dropped.
pub(crate) struct Flow {
    flows: Arc<Mutex<HashSet<(SocketAddr, SocketAddr)>>>,
    pair: (SocketAddr, SocketAddr),
}

impl Flow {
    pub(crate) fn remote(&self) -> SocketAddr {
        self.pair.1
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.flows.lock().remove(&self.pair);
    }
}

impl NetStack {
    /// A namespace without sockets; `carrier` finds the unix sockets among descriptions.
    pub(crate) fn with(config: Config, limits: Limits, carrier: FindCarrier) -> Arc<NetStack> {
        Arc::new(NetStack {
            budget: Budget::new(limits),
            ledger: Ledger::new(limits.in_flight, carrier),
            config,
            flows: Arc::default(),
            families: Mutex::default(),
            // Low numbers look like nothing else's.
            next_ino: AtomicU64::new(4096),
        })
    }

    /// What a family of sockets keeps of this namespace, made when it is first asked for. The namespace knows no
    /// family; each knows its own (`net_generic` of Linux). A socket asks once and keeps what it needs often.
    pub(crate) fn family<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        let mut families = self.families.lock();
        let known = families.iter().find(|one| one.is::<T>());
        if let Some(known) = known.and_then(|one| Arc::clone(one).downcast().ok()) {
            return known;
        }
        let made = Arc::<T>::default();
        families.push(Arc::<T>::clone(&made));
        made
    }

    /// Bytes waiting in all buffers.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.budget.bytes()
    }

    /// Sockets alive, those in accept queues included.
    #[must_use]
    pub fn socket_count(&self) -> usize {
        self.budget.sockets()
    }

    /// The bounds it was made with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.budget.limits()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn now(&self) -> Timespec {
        (self.config.now)()
    }

    /// A restored socket has this number: later ones get higher ones.
    pub(crate) fn number_taken(&self, ino: u64) {
        self.next_ino
            .fetch_max(ino.saturating_add(1), Ordering::Relaxed);
    }

    pub(crate) fn next_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Ordering::Relaxed)
    }

    /// Reserves a pair of addresses.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` when a connection has it.
    pub(crate) fn claim_flow(&self, local: SocketAddr, remote: SocketAddr) -> Result<Flow> {
        if !self.flows.lock().insert((local, remote)) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        Ok(Flow {
            flows: Arc::clone(&self.flows),
            pair: (local, remote),
        })
    }
}

impl std::fmt::Debug for NetStack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NetStack({} sockets)", self.socket_count())
    }
}
