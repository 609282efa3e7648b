//! Ports: who is bound where, which bindings exclude each other, and who a destination means.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

use base_abi::Errno;
use parking_lot::Mutex;

use crate::Result;

/// Ports chosen for sockets that did not ask for one (`net.ipv4.ip_local_port_range`).
pub(crate) const EPHEMERAL: std::ops::RangeInclusive<u16> = 32768..=60999;

/// The local addresses a binding covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// `0.0.0.0`.
    AnyV4,
    /// `::` with `IPV6_V6ONLY`.
    AnyV6Only,
    /// `::` that takes IPv4 as well.
    AnyBoth,
    /// One address.
    One(IpAddr),
}

impl Scope {
    fn covers(self, ip: IpAddr) -> bool {
        match self {
            Scope::AnyV4 => ip.is_ipv4(),
            Scope::AnyV6Only => ip.is_ipv6(),
            Scope::AnyBoth => true,
            Scope::One(one) => one == ip,
        }
    }

    fn overlaps(self, other: Scope) -> bool {
        match (self, other) {
            (Scope::One(ip), any) | (any, Scope::One(ip)) => any.covers(ip),
            (Scope::AnyV4, Scope::AnyV6Only) | (Scope::AnyV6Only, Scope::AnyV4) => false,
            _ => true,
        }
    }

    /// How well it fits a destination; nothing if not at all.
    fn score(self, ip: IpAddr) -> Option<u8> {
        let exact = match self {
            Scope::One(_) => 4,
            Scope::AnyBoth if ip.is_ipv4() => 0,
            _ => 1,
        };
        self.covers(ip).then_some(exact)
    }
}

/// What a binding allows others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sharing {
    /// `SO_REUSEADDR`.
    pub(crate) reuse_address: bool,
    /// `SO_REUSEPORT`.
    pub(crate) reuse_port: bool,
    /// The owner, among whom ports may be reused.
    pub(crate) uid: u32,
}

struct Entry<T> {
    id: u64,
    scope: Scope,
    sharing: Sharing,
    listening: bool,
    remote: Option<SocketAddr>,
    target: Weak<T>,
}

impl<T> Entry<T> {
    /// Whether a binding with this scope and sharing excludes `self` (`inet_bind_conflict`).
    fn conflicts(&self, scope: Scope, sharing: Sharing) -> bool {
        let shared_address = self.sharing.reuse_address && sharing.reuse_address && !self.listening;
        let shared_port =
            self.sharing.reuse_port && sharing.reuse_port && self.sharing.uid == sharing.uid;
        self.scope.overlaps(scope) && !shared_address && !shared_port
    }

    fn score(&self, to: IpAddr, from: SocketAddr) -> Option<u8> {
        let remote = match self.remote {
            Some(remote) if remote != from => return None,
            Some(_) => 8,
            None => 0,
        };
        Some(self.scope.score(to)? + remote)
    }
}

struct Ports<T> {
    by_port: HashMap<u16, Vec<Entry<T>>>,
    next_id: u64,
    next_port: u16,
}

/// The ports of one protocol.
pub(crate) struct PortTable<T>(Mutex<Ports<T>>);

/// A bound port, freed when dropped.
pub(crate) struct PortLease<T> {
    table: Arc<PortTable<T>>,
    id: u64,
    pub(crate) port: u16,
}

impl<T> Default for PortTable<T> {
    fn default() -> PortTable<T> {
        PortTable(Mutex::new(Ports {
            by_port: HashMap::new(),
            next_id: 0,
            next_port: *EPHEMERAL.start(),
        }))
    }
}

impl<T> PortTable<T> {
    /// Binds to a port, 0 for any free one.
    ///
    /// # Errors
    /// `EADDRINUSE`.
    pub(crate) fn bind(
        self: &Arc<PortTable<T>>,
        scope: Scope,
        port: u16,
        sharing: Sharing,
        target: Weak<T>,
    ) -> Result<PortLease<T>> {
        let mut ports = self.0.lock();
        let port = match port {
            0 => ports.free_port(scope).ok_or(Errno::EADDRINUSE)?,
            port => {
                let mut others = ports.by_port.get(&port).into_iter().flatten();
                if others.any(|e| e.conflicts(scope, sharing)) {
                    return Err(Errno::EADDRINUSE);
                }
                port
            }
        };
        Ok(self.insert(&mut ports, port, scope, sharing, target))
    }

    /// Adds a binding that shares the port by right: that of an accepted connection.
    pub(crate) fn inherit(
        self: &Arc<PortTable<T>>,
        local: SocketAddr,
        sharing: Sharing,
        target: Weak<T>,
    ) -> PortLease<T> {
        let mut ports = self.0.lock();
        let scope = Scope::One(local.ip());
        self.insert(&mut ports, local.port(), scope, sharing, target)
    }

    fn insert(
        self: &Arc<PortTable<T>>,
        ports: &mut Ports<T>,
        port: u16,
        scope: Scope,
        sharing: Sharing,
        target: Weak<T>,
    ) -> PortLease<T> {
        let id = ports.next_id;
        ports.next_id += 1;
        ports.by_port.entry(port).or_default().push(Entry {
            id,
            scope,
            sharing,
            listening: false,
            remote: None,
            target,
        });
        PortLease {
            table: Arc::clone(self),
            id,
            port,
        }
    }

    /// The listener for a connection.
    pub(crate) fn listener(&self, to: SocketAddr, from: SocketAddr) -> Option<Arc<T>> {
        self.best(to, from, |entry| entry.listening)
    }

    /// The receiver of a datagram.
    pub(crate) fn receiver(&self, to: SocketAddr, from: SocketAddr) -> Option<Arc<T>> {
        self.best(to, from, |_| true)
    }

    /// Everyone who could receive a datagram to a group or to all.
    pub(crate) fn receivers(&self, to: SocketAddr, from: SocketAddr) -> Vec<Arc<T>> {
        let ports = self.0.lock();
        let entries = ports.by_port.get(&to.port()).into_iter().flatten();
        let hit = entries.filter(|e| e.score(to.ip(), from).is_some());
        hit.filter_map(|e| e.target.upgrade()).collect()
    }

    fn best(
        &self,
        to: SocketAddr,
        from: SocketAddr,
        allowed: impl Fn(&Entry<T>) -> bool,
    ) -> Option<Arc<T>> {
        let ports = self.0.lock();
        let entries = ports.by_port.get(&to.port()).into_iter().flatten();
        let scored = entries.filter(|e| allowed(e));
        let scored: Vec<(u8, &Entry<T>)> = scored
            .filter_map(|e| Some((e.score(to.ip(), from)?, e)))
            .collect();
        let top = scored.iter().map(|(score, _)| *score).max()?;
        let ties: Vec<&Entry<T>> = scored
            .iter()
            .filter(|(score, _)| *score == top)
            .map(|(_, e)| *e)
            .collect();
        let last = ties.last()?;
        if !last.sharing.reuse_port {
            return last.target.upgrade();
        }
        // A group of SO_REUSEPORT: the same source always meets the same member.
        let member = usize::from(from.port()) % ties.len();
        ties.get(member)?.target.upgrade()
    }
}

impl<T> Ports<T> {
    fn free_port(&mut self, scope: Scope) -> Option<u16> {
        for _ in EPHEMERAL {
            let port = self.next_port;
            self.next_port = if port >= *EPHEMERAL.end() {
                *EPHEMERAL.start()
            } else {
                port + 1
            };
            let mut others = self.by_port.get(&port).into_iter().flatten();
            if !others.any(|e| e.scope.overlaps(scope)) {
                return Some(port);
            }
        }
        None
    }
}

impl<T> PortLease<T> {
    /// Follows a change of the socket's options.
    pub(crate) fn set_sharing(&self, sharing: Sharing) {
        self.edit(|entry| entry.sharing = sharing);
    }

    /// Follows connect(2): the local address is known now, and only this peer is meant.
    pub(crate) fn set_peer(&self, scope: Scope, remote: Option<SocketAddr>) {
        self.edit(|entry| {
            entry.scope = scope;
            entry.remote = remote;
        });
    }

    /// Starts to take connections.
    ///
    /// # Errors
    /// `EADDRINUSE` when another listener has the address.
    pub(crate) fn start_listening(&self) -> Result<()> {
        let mut ports = self.table.0.lock();
        let entries = ports.by_port.get_mut(&self.port).ok_or(Errno::EINVAL)?;
        let mine = entries
            .iter()
            .position(|e| e.id == self.id)
            .ok_or(Errno::EINVAL)?;
        let me = entries.swap_remove(mine);
        let taken = entries.iter().any(|e| e.conflicts(me.scope, me.sharing));
        entries.push(Entry {
            listening: !taken,
            ..me
        });
        if taken {
            Err(Errno::EADDRINUSE)
        } else {
            Ok(())
        }
    }

    /// Takes no more connections.
    pub(crate) fn stop_listening(&self) {
        self.edit(|entry| entry.listening = false);
    }

    fn edit(&self, change: impl FnOnce(&mut Entry<T>)) {
        let mut ports = self.table.0.lock();
        let entries = ports.by_port.get_mut(&self.port);
        if let Some(entry) = entries.into_iter().flatten().find(|e| e.id == self.id) {
            change(entry);
        }
    }
}

impl<T> Drop for PortLease<T> {
    fn drop(&mut self) {
        let mut ports = self.table.0.lock();
        if let Some(entries) = ports.by_port.get_mut(&self.port) {
            entries.retain(|e| e.id != self.id);
            if entries.is_empty() {
                ports.by_port.remove(&self.port);
            }
        }
    }
}
