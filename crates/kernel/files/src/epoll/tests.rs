//! Epoll against the host's epoll, event by event.

use super::*;
use crate::pipe::Pipe;
use crate::testing::Counter;
use kernel_vfs::{AccessMode, StatusFlags};
use rustix::event::epoll as host_epoll;
use rustix::fd::{AsFd, OwnedFd};
use rustix::pipe::PipeFlags;
use rustix::time::Timespec;

fn description(file: Arc<dyn File>, access: AccessMode) -> Arc<Description> {
    Description::anonymous(file, access, StatusFlags::NONBLOCK)
}

/// The same pipes and epolls here and on the host.
struct World {
    ours: Vec<Option<Arc<Description>>>,
    host: Vec<Option<OwnedFd>>,
}

impl World {
    fn new() -> World {
        World {
            ours: Vec::new(),
            host: Vec::new(),
        }
    }

    fn epoll(&mut self) -> usize {
        let epoll = Epoll::new(&Budget::new(1000), 1);
        self.ours
            .push(Some(description(epoll, AccessMode::ReadWrite)));
        let flags = host_epoll::CreateFlags::CLOEXEC;
        self.host.push(Some(host_epoll::create(flags).unwrap()));
        self.ours.len() - 1
    }

    fn pipe(&mut self) -> (usize, usize) {
        let (r, w) = Pipe::pair(&Budget::new(64), 1, [0; 2]).unwrap();
        let (hr, hw) = rustix::pipe::pipe_with(PipeFlags::NONBLOCK).unwrap();
        self.ours.push(Some(description(r, AccessMode::Read)));
        self.ours.push(Some(description(w, AccessMode::Write)));
        self.host.push(Some(hr));
        self.host.push(Some(hw));
        (self.ours.len() - 2, self.ours.len() - 1)
    }

    fn at(&self, i: usize) -> (&Arc<Description>, &OwnedFd) {
        (
            self.ours[i].as_ref().unwrap(),
            self.host[i].as_ref().unwrap(),
        )
    }

    fn ctl(&self, epoll: usize, op: &str, target: usize, flags: u32) -> Result<()> {
        let (ours, host) = self.at(epoll);
        let (target_ours, target_host) = self.at(target);
        let event = EpollEvent {
            flags: EpollFlags::from_bits_retain(flags),
            data: target as u64,
        };
        let ours = ours.downcast::<Epoll>().unwrap();
        let (host_data, host_flags) = (
            host_epoll::EventData::new_u64(target as u64),
            host_epoll::EventFlags::from_bits_retain(flags),
        );
        let (mine, theirs) = match op {
            "add" => (
                ours.control(EpollOp::Add(event), 1, target_ours),
                host_epoll::add(host, target_host, host_data, host_flags),
            ),
            "mod" => (
                ours.control(EpollOp::Modify(event), 1, target_ours),
                host_epoll::modify(host, target_host, host_data, host_flags),
            ),
            _ => (
                ours.control(EpollOp::Delete, 1, target_ours),
                host_epoll::delete(host, target_host),
            ),
        };
        let theirs = theirs.map_err(|e| Errno::from_raw(e.raw_os_error()));
        assert_eq!(mine, theirs, "{op} {target} in {epoll}");
        mine
    }

    fn wait(&self, epoll: usize, max: usize) -> Vec<(u64, u32)> {
        let (ours, host) = self.at(epoll);
        let mine = ours.downcast::<Epoll>().unwrap().wait(max).events;
        let mine: Vec<_> = mine.iter().map(|e| (e.data, e.flags.bits())).collect();
        let mut buf = Vec::with_capacity(max);
        host_epoll::wait(
            host.as_fd(),
            rustix::buffer::spare_capacity(&mut buf),
            Some(&Timespec::default()),
        )
        .unwrap();
        let theirs: Vec<_> = buf
            .iter()
            .map(|e| (e.data.u64(), { e.flags }.bits()))
            .collect();
        assert_eq!(mine, theirs, "wait on {epoll}");
        mine
    }

    fn write(&self, i: usize, n: usize) {
        let data = vec![1; n];
        let (ours, host) = self.at(i);
        let _ = ours.write(&data);
        let _ = rustix::io::write(host, &data);
    }

    fn read(&self, i: usize, n: usize) {
        let mut data = vec![1; n];
        let (ours, host) = self.at(i);
        let _ = ours.read(&mut data);
        let _ = rustix::io::read(host, &mut data);
    }

    fn close(&mut self, i: usize) {
        self.ours[i] = None;
        self.host[i] = None;
    }
}

const IN: u32 = 1;
const OUT: u32 = 4;
const ET: u32 = 1 << 31;
const ONESHOT: u32 = 1 << 30;
const EXCLUSIVE: u32 = 1 << 28;

#[test]
fn level_triggered_repeats_until_drained() {
    let mut w = World::new();
    let e = w.epoll();
    let (r, p) = w.pipe();
    w.ctl(e, "add", r, IN).unwrap();
    assert!(w.wait(e, 8).is_empty());
    w.write(p, 10);
    assert_eq!(w.wait(e, 8), [(r as u64, IN)]);
    assert_eq!(w.wait(e, 8).len(), 1);
    w.read(r, 5);
    assert_eq!(w.wait(e, 8).len(), 1);
    w.read(r, 5);
    assert!(w.wait(e, 8).is_empty());
    w.close(p);
    assert_eq!(w.wait(e, 8), [(r as u64, 0x10)]);
}

#[test]
fn edge_triggered_tells_each_write_once() {
    let mut w = World::new();
    let e = w.epoll();
    let (r, p) = w.pipe();
    w.write(p, 3);
    w.ctl(e, "add", r, IN | ET).unwrap();
    assert_eq!(w.wait(e, 8).len(), 1);
    assert!(w.wait(e, 8).is_empty());
    w.write(p, 3);
    assert_eq!(w.wait(e, 8).len(), 1);
    w.read(r, 1);
    assert!(w.wait(e, 8).is_empty());
    w.ctl(e, "mod", r, IN | ET).unwrap();
    assert_eq!(w.wait(e, 8).len(), 1);
    w.write(p, 3);
    w.read(r, 100);
    assert!(w.wait(e, 8).is_empty());
}

#[test]
fn edge_triggered_writer_is_told_when_room_appears() {
    let mut w = World::new();
    let e = w.epoll();
    let (r, p) = w.pipe();
    w.ctl(e, "add", p, OUT | ET).unwrap();
    assert_eq!(w.wait(e, 8).len(), 1);
    w.write(p, 100_000);
    assert!(w.wait(e, 8).is_empty());
    w.read(r, 100);
    assert!(w.wait(e, 8).is_empty());
    w.read(r, 9000);
    assert_eq!(w.wait(e, 8).len(), 1);
    w.read(r, 9000);
    assert!(w.wait(e, 8).is_empty());
    w.close(r);
    assert_eq!(w.wait(e, 8).len(), 1);
}

#[test]
fn oneshot_is_silent_until_changed() {
    let mut w = World::new();
    let e = w.epoll();
    let (r, p) = w.pipe();
    w.ctl(e, "add", r, IN | ONESHOT).unwrap();
    w.write(p, 1);
    assert_eq!(w.wait(e, 8).len(), 1);
    w.write(p, 1);
    assert!(w.wait(e, 8).is_empty());
    w.ctl(e, "mod", r, IN | ONESHOT).unwrap();
    assert_eq!(w.wait(e, 8).len(), 1);
}

#[test]
fn errors_are_those_of_linux() {
    let mut w = World::new();
    let e = w.epoll();
    let (r, _p) = w.pipe();
    assert_eq!(w.ctl(e, "mod", r, IN), Err(Errno::ENOENT));
    assert_eq!(w.ctl(e, "del", r, 0), Err(Errno::ENOENT));
    w.ctl(e, "add", r, IN).unwrap();
    assert_eq!(w.ctl(e, "add", r, IN), Err(Errno::EEXIST));
    assert_eq!(w.ctl(e, "mod", r, IN | EXCLUSIVE), Err(Errno::EINVAL));
    w.ctl(e, "del", r, 0).unwrap();
    assert_eq!(
        w.ctl(e, "add", r, IN | EXCLUSIVE | ONESHOT),
        Err(Errno::EINVAL)
    );
    w.ctl(e, "add", r, IN | EXCLUSIVE).unwrap();
    assert_eq!(w.ctl(e, "mod", r, IN), Err(Errno::EINVAL));
    assert_eq!(w.ctl(e, "add", e, IN), Err(Errno::EINVAL));
    let f = w.epoll();
    assert_eq!(w.ctl(e, "add", f, IN | EXCLUSIVE), Err(Errno::EINVAL));
}

#[test]
fn loops_and_deep_nesting_are_refused_like_linux() {
    let mut w = World::new();
    let chain: Vec<_> = (0..8).map(|_| w.epoll()).collect();
    for pair in chain.windows(2) {
        let _ = w.ctl(pair[0], "add", pair[1], IN);
    }
    let _ = w.ctl(chain[3], "add", chain[0], IN);
    let _ = w.ctl(chain[1], "add", chain[0], IN);
    // From the inside out.
    let mut w = World::new();
    let chain: Vec<_> = (0..8).map(|_| w.epoll()).collect();
    for pair in chain.windows(2) {
        let _ = w.ctl(pair[1], "add", pair[0], IN);
    }
    let _ = w.ctl(chain[0], "add", chain[2], IN);
}

#[test]
fn nested_epoll_becomes_readable() {
    let mut w = World::new();
    let (outer, inner) = (w.epoll(), w.epoll());
    let (r, p) = w.pipe();
    w.ctl(outer, "add", inner, IN).unwrap();
    w.ctl(inner, "add", r, IN).unwrap();
    assert!(w.wait(outer, 8).is_empty());
    w.write(p, 1);
    assert_eq!(w.wait(outer, 8), [(inner as u64, IN)]);
    assert_eq!(w.wait(inner, 8).len(), 1);
    w.read(r, 1);
    assert!(w.wait(outer, 8).is_empty());
}

#[test]
fn more_ready_than_asked_are_served_in_turn() {
    let mut w = World::new();
    let e = w.epoll();
    let pipes: Vec<_> = (0..5).map(|_| w.pipe()).collect();
    for (r, p) in &pipes {
        w.ctl(e, "add", *r, IN).unwrap();
        w.write(*p, 1);
    }
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.extend(w.wait(e, 2).iter().map(|(data, _)| *data));
    }
    let served = pipes.iter().all(|(r, _)| seen.contains(&(*r as u64)));
    assert!(served, "{seen:?}");
}

#[test]
fn closing_the_last_descriptor_removes_the_item() {
    let mut w = World::new();
    let e = w.epoll();
    let (r, p) = w.pipe();
    w.ctl(e, "add", r, IN).unwrap();
    w.write(p, 1);
    w.close(r);
    assert!(w.wait(e, 8).is_empty());
    let ours = w.at(e).0.downcast::<Epoll>().unwrap();
    assert!(ours.interests().is_empty());
    assert_eq!(ours.watches.used(), 0);
}

#[test]
fn waiters_are_told_and_watches_bounded() {
    let epoll = Epoll::new(&Budget::new(1), 1);
    let (r, w) = Pipe::pair(&Budget::new(64), 1, [0; 2]).unwrap();
    let (r, w) = (
        description(r, AccessMode::Read),
        description(w, AccessMode::Write),
    );
    let event = EpollEvent {
        flags: EpollFlags::from_bits_retain(IN),
        data: 0,
    };
    epoll.control(EpollOp::Add(event), 1, &r).unwrap();
    let full = epoll.control(EpollOp::Add(event), 2, &w);
    assert_eq!(full, Err(Errno::ENOSPC));
    let waiter = Counter::new();
    let mut table = PollTable::waiting(waiter.clone(), Events::IN);
    assert_eq!(epoll.poll(&mut table), Events::empty());
    let _kept = table.into_registrations();
    w.write(b"x").unwrap();
    assert_eq!(waiter.count(), 1);
    assert_eq!(epoll.poll(&mut PollTable::look()), Events::READABLE);
}
