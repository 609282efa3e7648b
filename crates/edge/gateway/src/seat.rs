//! Which connections there are, and which of them give way when there are too many.
//!
//! ```text
//!   Head ── its headers came ──▶ Body ── all of it came, and there is room ──▶ Serving ── answer made ──▶ Written
//!    ▲                                                                                                     │
//!    │◀──────────────────────────────────── the connection has taken it ───────────────────────────────────┘
//!    ├── too many in Head and Body: of the peer with most of them, the one that has brought nothing for longest
//!    ▼
//!   Evicted
//! ```
//!
//! So who only sends half a request, or nothing, keeps nobody out: whoever comes and asks at once is heard. Requests
//! that are served have room of their own.
//!
//! Lock order: `Seats::known` is a leaf.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::Config;

const HEAD: u8 = 0;
const BODY: u8 = 1;
const SERVING: u8 = 2;
const WRITTEN: u8 = 3;
const EVICTED: u8 = 4;
const GONE: u8 = 5;

/// Who is on the other side: an address, or the network of one household where addresses are many (IPv6 /64).
type Peer = IpAddr;

fn peer_of(address: IpAddr) -> Peer {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        other => other,
    }
}

/// All connections.
pub(crate) struct Seats {
    reading: usize,
    serving: usize,
    serving_per_peer: usize,
    started: Instant,
    served: AtomicUsize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    next: u64,
    seats: HashMap<u64, Arc<Seat>>,
    /// How many requests of each peer are served.
    peers: HashMap<Peer, Arc<AtomicUsize>>,
}

/// A connection's seat.
pub(crate) struct Seat {
    stage: AtomicU8,
    /// When it last brought something, in milliseconds since the start.
    heard: AtomicU64,
    peer: Peer,
    served_to_peer: Arc<AtomicUsize>,
    evicted: Notify,
    seats: Arc<Seats>,
}

/// The connection that a seat belongs to; it is free again when this is dropped.
pub(crate) struct Sitting {
    pub(crate) seat: Arc<Seat>,
    number: u64,
}

/// There is no room for another request.
#[derive(Debug)]
pub(crate) struct Full;

/// A request that is served, until its answer is made.
pub(crate) struct Serving(Arc<Seat>);

impl Seats {
    pub(crate) fn new(config: &Config) -> Arc<Self> {
        Arc::new(Self {
            reading: config.reading,
            serving: config.serving,
            serving_per_peer: config.serving_per_peer,
            started: Instant::now(),
            served: AtomicUsize::new(0),
            known: Mutex::default(),
        })
    }

    /// A seat for whoever has come from `address`; another gives way if there are too many.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Sitting {
        let peer = peer_of(address);
        let mut known = self.known.lock();
        let served = known.peers.entry(peer).or_default();
        let seat = Arc::new(Seat {
            stage: AtomicU8::new(HEAD),
            heard: AtomicU64::new(self.now()),
            peer,
            served_to_peer: Arc::clone(served),
            evicted: Notify::new(),
            seats: Arc::clone(self),
        });
        if known.seats.len() >= self.reading {
            known.make_room(self.reading);
        }
        let number = known.next;
        known.next += 1;
        known.seats.insert(number, Arc::clone(&seat));
        Sitting { seat, number }
    }

    /// One that has brought nothing for longest gives way: the host has no more descriptors.
    pub(crate) fn give_way(&self) {
        self.known.lock().make_room(0);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Known {
    /// Evicts one of those that bring requests, if there are `most` of them or more.
    fn make_room(&mut self, most: usize) {
        let mut of_peers: HashMap<Peer, usize> = HashMap::new();
        let reading = || self.seats.iter().filter(|(_, seat)| seat.reads());
        for (_, seat) in reading() {
            *of_peers.entry(seat.peer).or_default() += 1;
        }
        if of_peers.values().sum::<usize>() < most.max(1) {
            return;
        }
        let greediest = of_peers.iter().max_by_key(|(_, count)| **count);
        let Some((&greediest, _)) = greediest else {
            return;
        };
        let of_it = reading().filter(|(_, seat)| seat.peer == greediest);
        let stillest = of_it.min_by_key(|(number, seat)| (seat.heard(), **number));
        if let Some((&number, seat)) = stillest
            && seat.evict()
        {
            self.seats.remove(&number);
        }
    }
}

impl Seat {
    fn reads(&self) -> bool {
        matches!(self.stage.load(Ordering::Acquire), HEAD | BODY)
    }

    /// Whether it has asked for nothing yet, or for nothing more.
    pub(crate) fn is_idle(&self) -> bool {
        self.stage.load(Ordering::Acquire) == HEAD
    }

    fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// It has brought something.
    pub(crate) fn hear(&self) {
        self.heard.store(self.seats.now(), Ordering::Relaxed);
    }

    fn change(&self, from: u8, to: u8) -> bool {
        let order = Ordering::AcqRel;
        let changed = self
            .stage
            .compare_exchange(from, to, order, Ordering::Acquire);
        changed.is_ok()
    }

    fn evict(&self) -> bool {
        let evicted = self.change(HEAD, EVICTED) || self.change(BODY, EVICTED);
        if evicted {
            self.evicted.notify_one();
        }
        evicted
    }

    /// Resolves when it has to go.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Headers came.
    pub(crate) fn asks(&self) {
        self.written();
        self.change(HEAD, BODY);
    }

    /// A request is whole and is served now, if there is room.
    pub(crate) fn serve(self: &Arc<Self>) -> Result<Serving, Full> {
        let seats = &self.seats;
        let of_peer = self.served_to_peer.fetch_add(1, Ordering::AcqRel);
        let of_all = seats.served.fetch_add(1, Ordering::AcqRel);
        // Everybody on this machine has the same address.
        let fits = of_peer < seats.serving_per_peer || self.peer.is_loopback();
        if fits && of_all < seats.serving && self.change(BODY, SERVING) {
            return Ok(Serving(Arc::clone(self)));
        }
        self.release();
        self.change(BODY, HEAD);
        Err(Full)
    }

    /// An answer that needed no room is made.
    pub(crate) fn answered(&self) {
        self.change(BODY, HEAD);
    }

    /// The connection has taken all that was to be sent.
    pub(crate) fn written(&self) {
        if self.change(WRITTEN, HEAD) {
            self.release();
            self.hear();
        }
    }

    fn release(&self) {
        self.seats.served.fetch_sub(1, Ordering::AcqRel);
        self.served_to_peer.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Where the connection is gone, that has let go of the room.
        self.0.change(SERVING, WRITTEN);
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        let stage = self.seat.stage.swap(GONE, Ordering::AcqRel);
        if matches!(stage, SERVING | WRITTEN) {
            self.seat.release();
        }
        let mut known = self.seat.seats.known.lock();
        known.seats.remove(&self.number);
        // Two hold it where nobody else of this peer is there: the map, and this seat.
        let peer = self.seat.peer;
        if known
            .peers
            .get(&peer)
            .is_some_and(|it| Arc::strong_count(it) <= 2)
        {
            known.peers.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(reading: usize, serving: usize, serving_per_peer: usize) -> Arc<Seats> {
        Seats::new(&Config {
            reading,
            serving,
            serving_per_peer,
            ..Config::default()
        })
    }

    fn evicted(sitting: &Sitting) -> bool {
        sitting.seat.stage.load(Ordering::Acquire) == EVICTED
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn whoever_brought_nothing_for_longest_gives_way_first_of_the_peer_with_most() {
        let seats = seats(3, 9, 9);
        let (other, first) = (seats.take(address(2)), seats.take(address(1)));
        let second = seats.take(address(1));
        for (at, sitting) in [&other, &first, &second].into_iter().enumerate() {
            sitting.seat.heard.store(at as u64, Ordering::Relaxed);
        }
        second.seat.asks();
        first.seat.heard.store(9, Ordering::Relaxed);
        let third = seats.take(address(1));
        assert!(evicted(&second) && !evicted(&first) && !evicted(&other));
        // Who is served does not count, and cannot be evicted.
        first.seat.asks();
        let serving = first.seat.serve().unwrap();
        let fourth = seats.take(address(3));
        assert!(![&other, &first, &third, &fourth].into_iter().any(evicted));
        drop(serving);
        first.seat.written();
        assert!(first.seat.is_idle());
        assert!(second.seat.serve().is_err(), "it is gone");
    }

    #[test]
    fn room_to_serve_is_given_back_however_a_request_ends() {
        let seats = seats(9, 2, 1);
        let (one, two) = (seats.take(address(1)), seats.take(address(1)));
        let local = seats.take(IpAddr::from([127, 0, 0, 1]));
        let ask = |sitting: &Sitting| {
            sitting.seat.asks();
            sitting.seat.serve()
        };
        let serving = ask(&one).unwrap();
        assert!(ask(&two).is_err(), "one for each peer");
        let locally = ask(&local).unwrap();
        assert!(ask(&seats.take(address(4))).is_err(), "two for all");
        drop(locally);
        assert!(
            ask(&seats.take(address(4))).is_err(),
            "it is not written yet"
        );
        drop(local);
        let other = seats.take(address(4));
        drop(ask(&other).unwrap());
        other.seat.written();
        drop(one);
        drop(serving);
        assert!(ask(&two).is_ok());
        drop((two, other));
        assert_eq!(seats.served.load(Ordering::Acquire), 0);
        assert!(seats.known.lock().peers.is_empty());
    }
}
