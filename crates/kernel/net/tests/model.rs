//! The same calls on this stack and on the host's own sockets must give the same results, errno by
//! errno and event by event.

use std::fmt::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base_abi::net as abi;
use kernel_net::{
    Address, Caller, MsgFlags, NetStack, Outgoing, Shutdown, Socket, StackConfig, UnixName,
};
use kernel_vfs::{Errno, PollTable};
use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
    UnixStream,
    UnixPacket,
    UnixDatagram,
}

/// One call; sockets are numbered slots.
#[derive(Clone, Debug)]
enum Op {
    Socket(usize),
    /// To the fixed name of the slot (any port, for internet sockets).
    Bind(usize),
    /// To the address of another bound slot.
    BindLike(usize, usize),
    Reuse(usize),
    Listen(usize, i32),
    /// From a listening slot into another.
    Accept(usize, usize),
    Connect(usize, usize),
    /// To a port nobody listens on.
    ConnectNowhere(usize),
    Disconnect(usize),
    Send(usize, usize),
    SendTo(usize, usize, usize),
    Recv(usize, usize),
    Peek(usize, usize),
    Shutdown(usize, u32),
    Linger0(usize),
    Error(usize),
    HasPeer(usize),
    Poll(usize),
    Close(usize),
}

trait World {
    fn run(&mut self, op: &Op) -> Result<usize, i32>;
}

const SLOTS: usize = 5;

struct Ours {
    kind: Kind,
    stack: Arc<NetStack>,
    slots: [Option<Arc<dyn Socket>>; SLOTS],
}

impl Ours {
    fn new(kind: Kind) -> Ours {
        Ours {
            kind,
            stack: NetStack::new(StackConfig::default()),
            slots: Default::default(),
        }
    }

    fn at(&self, slot: usize) -> Result<Arc<dyn Socket>, Errno> {
        self.slots[slot].clone().ok_or(Errno::EBADF)
    }

    fn address(&self, slot: usize) -> Result<Address, Errno> {
        match self.kind {
            Kind::Tcp | Kind::Udp => self.at(slot)?.local_address(),
            _ => Ok(Address::Unix(UnixName::Abstract(
                format!("name{slot}").into(),
            ))),
        }
    }

    fn perform(&mut self, op: &Op) -> Result<usize, Errno> {
        let caller = Caller::kernel();
        let mut buf = vec![0; 1 << 16];
        match *op {
            Op::Socket(s) => {
                let (domain, kind) = match self.kind {
                    Kind::Tcp => (abi::AF_INET, abi::SOCK_STREAM),
                    Kind::Udp => (abi::AF_INET, abi::SOCK_DGRAM),
                    Kind::UnixStream => (abi::AF_UNIX, abi::SOCK_STREAM),
                    Kind::UnixPacket => (abi::AF_UNIX, abi::SOCK_SEQPACKET),
                    Kind::UnixDatagram => (abi::AF_UNIX, abi::SOCK_DGRAM),
                };
                let made = self.stack.socket(&caller, domain, kind, 0)?;
                if let Some(old) = self.slots[s].replace(made) {
                    old.close();
                }
            }
            Op::Bind(s) => {
                let address = match self.kind {
                    Kind::Tcp | Kind::Udp => Address::V4("127.0.0.1:0".parse().expect("address")),
                    _ => self.address(s)?,
                };
                self.at(s)?.bind(&caller, &address)?;
            }
            Op::BindLike(s, like) => {
                let address = self.address(like)?;
                self.at(s)?.bind(&caller, &address)?;
            }
            Op::Reuse(s) => {
                let one = 1i32.to_ne_bytes();
                self.at(s)?
                    .set_option(&caller, abi::SOL_SOCKET, abi::SO_REUSEADDR, &one)?;
            }
            Op::Listen(s, backlog) => self.at(s)?.listen(&caller, backlog)?,
            Op::Accept(s, into) => {
                let (accepted, _) = self.at(s)?.accept()?;
                if let Some(old) = self.slots[into].replace(accepted) {
                    old.close();
                }
            }
            Op::Connect(s, to) => {
                let address = self.address(to)?;
                self.at(s)?.connect(&caller, &address)?;
            }
            Op::ConnectNowhere(s) => {
                let address = match self.kind {
                    Kind::Tcp | Kind::Udp => Address::V4("127.0.0.1:1".parse().expect("address")),
                    _ => Address::Unix(UnixName::Abstract(b"nowhere".to_vec())),
                };
                self.at(s)?.connect(&caller, &address)?;
            }
            Op::Disconnect(s) => self.at(s)?.connect(&caller, &Address::Unspecified)?,
            Op::Send(s, n) => return self.at(s)?.send(&caller, Outgoing::bytes(&buf[..n])),
            Op::SendTo(s, to, n) => {
                let to = Some(self.address(to)?);
                let message = Outgoing {
                    to,
                    ..Outgoing::bytes(&buf[..n])
                };
                return self.at(s)?.send(&caller, message);
            }
            Op::Recv(s, n) => {
                return Ok(self.at(s)?.recv(&mut buf[..n], MsgFlags::empty())?.length);
            }
            Op::Peek(s, n) => return Ok(self.at(s)?.recv(&mut buf[..n], MsgFlags::PEEK)?.length),
            Op::Shutdown(s, how) => self.at(s)?.shutdown(Shutdown::from_raw(how)?)?,
            Op::Linger0(s) => {
                let on = [1i32.to_ne_bytes(), 0i32.to_ne_bytes()].concat();
                self.at(s)?
                    .set_option(&caller, abi::SOL_SOCKET, abi::SO_LINGER, &on)?;
            }
            Op::Error(s) => {
                let value = self.at(s)?.get_option(abi::SOL_SOCKET, abi::SO_ERROR, 4)?;
                return Ok(usize::from(value[0]));
            }
            Op::HasPeer(s) => drop(self.at(s)?.peer_address()?),
            Op::Poll(s) => {
                let events = self.at(s)?.poll(&mut PollTable::look()).bits();
                return Ok(events as usize);
            }
            Op::Close(s) => self.slots[s].take().ok_or(Errno::EBADF)?.close(),
        }
        Ok(0)
    }
}

impl World for Ours {
    fn run(&mut self, op: &Op) -> Result<usize, i32> {
        self.perform(op).map_err(Errno::raw)
    }
}

struct Host {
    kind: Kind,
    tag: u32,
    slots: [Option<OwnedFd>; SLOTS],
}

impl Host {
    fn new(kind: Kind) -> Host {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Host {
            kind,
            tag: NEXT.fetch_add(1, Ordering::Relaxed),
            slots: Default::default(),
        }
    }

    fn at(&self, slot: usize) -> rustix::io::Result<&OwnedFd> {
        self.slots[slot].as_ref().ok_or(rustix::io::Errno::BADF)
    }

    /// Without Nagle's algorithm, which holds small segments back for a while.
    fn prompt(&self, fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
        if self.kind == Kind::Tcp {
            sockopt::set_tcp_nodelay(&fd, true)?;
        }
        Ok(fd)
    }

    fn name(&self, slot: &str) -> SocketAddrUnix {
        let name = format!(
            "kernel-net-model-{}-{}-{slot}",
            std::process::id(),
            self.tag
        );
        SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("name")
    }

    /// Calls `f` with the address of a slot.
    fn with_address<R>(
        &self,
        slot: usize,
        f: impl FnOnce(&dyn Fn(&OwnedFd, Use) -> rustix::io::Result<usize>) -> rustix::io::Result<R>,
    ) -> rustix::io::Result<R> {
        match self.kind {
            Kind::Tcp | Kind::Udp => {
                let address = net::getsockname(self.at(slot)?)?;
                let address = SocketAddr::try_from(address)?;
                f(&|fd, how| apply(fd, &address, how))
            }
            _ => {
                let address = self.name(&slot.to_string());
                f(&|fd, how| apply(fd, &address, how))
            }
        }
    }

    fn perform(&mut self, op: &Op) -> rustix::io::Result<usize> {
        let mut buf = vec![0; 1 << 16];
        match *op {
            Op::Socket(s) => {
                let (family, kind) = match self.kind {
                    Kind::Tcp => (AddressFamily::INET, SocketType::STREAM),
                    Kind::Udp => (AddressFamily::INET, SocketType::DGRAM),
                    Kind::UnixStream => (AddressFamily::UNIX, SocketType::STREAM),
                    Kind::UnixPacket => (AddressFamily::UNIX, SocketType::SEQPACKET),
                    Kind::UnixDatagram => (AddressFamily::UNIX, SocketType::DGRAM),
                };
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                let made = net::socket_with(family, kind, flags, None)?;
                self.slots[s] = Some(self.prompt(made)?);
            }
            Op::Bind(s) => match self.kind {
                Kind::Tcp | Kind::Udp => {
                    let address: SocketAddr = "127.0.0.1:0".parse().expect("address");
                    net::bind(self.at(s)?, &address)?;
                }
                _ => net::bind(self.at(s)?, &self.name(&s.to_string()))?,
            },
            Op::BindLike(s, like) => {
                let fd = self.at(s)?;
                self.with_address(like, |go| go(fd, Use::Bind))?;
            }
            Op::Reuse(s) => sockopt::set_socket_reuseaddr(self.at(s)?, true)?,
            Op::Listen(s, backlog) => net::listen(self.at(s)?, backlog)?,
            Op::Accept(s, into) => {
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                let accepted = net::accept_with(self.at(s)?, flags)?;
                self.slots[into] = Some(self.prompt(accepted)?);
            }
            Op::Connect(s, to) => {
                let fd = self.at(s)?;
                self.with_address(to, |go| go(fd, Use::Connect))?;
            }
            Op::ConnectNowhere(s) => match self.kind {
                Kind::Tcp | Kind::Udp => {
                    let address: SocketAddr = "127.0.0.1:1".parse().expect("address");
                    net::connect(self.at(s)?, &address)?;
                }
                _ => net::connect(self.at(s)?, &self.name("nowhere"))?,
            },
            Op::Disconnect(s) => net::connect_unspec(self.at(s)?)?,
            Op::Send(s, n) => return net::send(self.at(s)?, &buf[..n], SendFlags::NOSIGNAL),
            Op::SendTo(s, to, n) => {
                let fd = self.at(s)?;
                return self.with_address(to, |go| go(fd, Use::Send(n)));
            }
            Op::Recv(s, n) => {
                return Ok(net::recv(self.at(s)?, &mut buf[..n], RecvFlags::empty())?.1);
            }
            Op::Peek(s, n) => {
                return Ok(net::recv(self.at(s)?, &mut buf[..n], RecvFlags::PEEK)?.1);
            }
            Op::Shutdown(s, how) => {
                let how = match how {
                    0 => net::Shutdown::Read,
                    1 => net::Shutdown::Write,
                    _ => net::Shutdown::Both,
                };
                net::shutdown(self.at(s)?, how)?;
            }
            Op::Linger0(s) => {
                sockopt::set_socket_linger(self.at(s)?, Some(std::time::Duration::ZERO))?;
            }
            Op::Error(s) => {
                let error = sockopt::socket_error(self.at(s)?)?;
                let raw = error.err().map_or(0, |e| e.raw_os_error());
                return Ok(usize::try_from(raw).expect("positive"));
            }
            Op::HasPeer(s) => {
                net::getpeername(self.at(s)?)?;
            }
            Op::Poll(s) => {
                let asked = PollFlags::from_bits_retain(0x23df);
                let mut fds = [PollFd::new(self.at(s)?, asked)];
                poll(
                    &mut fds,
                    Some(&Timespec {
                        tv_sec: 0,
                        tv_nsec: 0,
                    }),
                )?;
                return Ok(usize::from(fds[0].revents().bits()));
            }
            Op::Close(s) => drop(self.slots[s].take().ok_or(rustix::io::Errno::BADF)?),
        }
        Ok(0)
    }
}

#[derive(Clone, Copy)]
enum Use {
    Bind,
    Connect,
    Send(usize),
}

fn apply(
    fd: &OwnedFd,
    address: &impl rustix::net::addr::SocketAddrArg,
    how: Use,
) -> rustix::io::Result<usize> {
    match how {
        Use::Bind => net::bind(fd, address).map(|()| 0),
        Use::Connect => net::connect(fd, address).map(|()| 0),
        Use::Send(n) => net::sendto(fd, &vec![0; n], SendFlags::NOSIGNAL, address),
    }
}

impl World for Host {
    fn run(&mut self, op: &Op) -> Result<usize, i32> {
        let result = self.perform(op).map_err(|e| e.raw_os_error());
        // Packets of a busy host may be left to a kernel thread: let it run.
        if self.kind == Kind::Tcp {
            for _ in 0..30 {
                std::thread::yield_now();
            }
        }
        result
    }
}

fn transcript(world: &mut dyn World, ops: &[Op]) -> String {
    let mut out = String::new();
    for op in ops {
        let result = match world.run(op) {
            Ok(n) if matches!(op, Op::Poll(_)) => format!("{n:#x}"),
            Ok(n) => n.to_string(),
            Err(raw) => Errno::from_raw(raw).name().to_string(),
        };
        let _ = writeln!(out, "{op:?} = {result}");
    }
    out
}

/// Runs the calls in both worlds and compares what they said.
fn same(kind: Kind, ops: &[Op]) {
    let host = transcript(&mut Host::new(kind), ops);
    let ours = transcript(&mut Ours::new(kind), ops);
    assert_eq!(ours, host, "ours first, the host's second");
}

use Op::*;

/// Slot 0 listens, 1 connected to it, 2 is the accepted end.
fn connected() -> Vec<Op> {
    vec![
        Socket(0),
        Bind(0),
        Listen(0, 5),
        Poll(0),
        Socket(1),
        Poll(1),
        Connect(1, 0),
        Poll(1),
        Connect(1, 0),
        Poll(0),
        Accept(0, 2),
        Poll(2),
        HasPeer(1),
        HasPeer(2),
    ]
}

const STREAMS: [Kind; 3] = [Kind::Tcp, Kind::UnixStream, Kind::UnixPacket];

fn after_connecting(more: &[Op]) {
    for kind in STREAMS {
        same(kind, &[connected(), more.to_vec()].concat());
    }
}

#[test]
fn data_flows_and_can_be_peeked() {
    after_connecting(&[
        Recv(2, 10),
        Send(1, 100),
        Poll(2),
        Peek(2, 50),
        Recv(2, 60),
        Recv(2, 60),
        Recv(2, 60),
        Poll(2),
    ]);
}

#[test]
fn half_close_is_seen_by_both() {
    after_connecting(&[
        Send(1, 10),
        Shutdown(1, 1),
        Poll(1),
        Poll(2),
        Send(1, 1),
        Recv(2, 20),
        Recv(2, 20),
        Send(2, 5),
        Recv(1, 10),
        Shutdown(2, 1),
        Poll(1),
        Poll(2),
        Recv(1, 10),
        HasPeer(1),
        Error(1),
        Shutdown(1, 2),
    ]);
}

#[test]
fn shutting_the_reading_half() {
    after_connecting(&[
        Shutdown(1, 0),
        Poll(1),
        Poll(2),
        Recv(1, 5),
        Send(2, 5),
        Poll(2),
    ]);
}

#[test]
fn close_after_everything_was_read() {
    after_connecting(&[
        Send(1, 3),
        Recv(2, 10),
        Close(1),
        Poll(2),
        Recv(2, 10),
        Send(2, 5),
        Poll(2),
        Send(2, 5),
        Recv(2, 5),
        Error(2),
        HasPeer(2),
    ]);
}

#[test]
fn close_with_unread_data_resets() {
    after_connecting(&[
        Send(2, 9),
        Close(1),
        Poll(2),
        Error(2),
        Poll(2),
        Recv(2, 10),
        Send(2, 5),
    ]);
    after_connecting(&[
        Send(1, 4),
        Send(2, 9),
        Close(1),
        Recv(2, 10),
        Recv(2, 10),
        Recv(2, 10),
    ]);
    after_connecting(&[Send(2, 9), Close(1), Send(2, 5), Send(2, 5)]);
    after_connecting(&[
        Send(2, 9),
        Shutdown(1, 1),
        Close(1),
        Poll(2),
        Recv(2, 5),
        Send(2, 5),
        Error(2),
    ]);
}

#[test]
fn linger_zero_resets() {
    same(
        Kind::Tcp,
        &[
            connected(),
            vec![
                Linger0(1),
                Close(1),
                Poll(2),
                Recv(2, 10),
                Recv(2, 10),
                Poll(2),
            ],
        ]
        .concat(),
    );
}

#[test]
fn close_of_a_listener_ends_what_was_not_accepted() {
    for kind in STREAMS {
        same(
            kind,
            &[
                Socket(0),
                Bind(0),
                Listen(0, 5),
                Socket(1),
                Connect(1, 0),
                Connect(1, 0),
                Close(0),
                Poll(1),
                Recv(1, 5),
                Recv(1, 5),
                Send(1, 5),
            ],
        );
    }
}

#[test]
fn refusals() {
    for kind in STREAMS {
        same(
            kind,
            &[
                Socket(1),
                ConnectNowhere(1),
                Poll(1),
                ConnectNowhere(1),
                Poll(1),
                Recv(1, 5),
                Send(1, 5),
                HasPeer(1),
                Accept(1, 2),
                Shutdown(1, 0),
                Listen(1, 1),
                Bind(1),
                Bind(1),
                Listen(1, 1),
                ConnectNowhere(1),
                Connect(1, 1),
                Recv(1, 5),
                Send(1, 5),
                Poll(1),
            ],
        );
        same(
            kind,
            &[
                Socket(1),
                ConnectNowhere(1),
                Error(1),
                ConnectNowhere(1),
                Error(1),
            ],
        );
    }
}

#[test]
fn a_full_accept_queue_makes_connectors_wait() {
    for kind in [Kind::UnixStream, Kind::UnixPacket] {
        same(
            kind,
            &[
                Socket(0),
                Bind(0),
                Listen(0, 0),
                Socket(1),
                Connect(1, 0),
                Socket(2),
                Connect(2, 0),
                Poll(2),
                Accept(0, 3),
                Connect(2, 0),
                Accept(0, 4),
            ],
        );
    }
}

#[test]
fn addresses_in_use() {
    for kind in [Kind::Tcp, Kind::Udp, Kind::UnixStream, Kind::UnixDatagram] {
        same(
            kind,
            &[
                Socket(0),
                Bind(0),
                Socket(1),
                BindLike(1, 0),
                Reuse(1),
                BindLike(1, 0),
                Close(0),
                Socket(0),
                Bind(0),
            ],
        );
    }
    same(
        Kind::Tcp,
        &[
            Socket(0),
            Reuse(0),
            Bind(0),
            Socket(1),
            Reuse(1),
            BindLike(1, 0),
            Listen(0, 1),
            Listen(1, 1),
            Socket(2),
            Reuse(2),
            BindLike(2, 0),
        ],
    );
}

#[test]
fn a_port_with_accepted_connections_needs_reuse() {
    for reuse in [vec![], vec![Reuse(0)]] {
        let mut ops = vec![Socket(0)];
        ops.extend(reuse);
        ops.extend([
            Bind(0),
            Listen(0, 5),
            Socket(1),
            Connect(1, 0),
            Accept(0, 2),
            Close(0),
            Socket(3),
            BindLike(3, 2),
            Reuse(3),
            BindLike(3, 2),
        ]);
        same(Kind::Tcp, &ops);
    }
}

#[test]
fn disconnecting() {
    same(
        Kind::Tcp,
        &[
            connected(),
            vec![
                Disconnect(1),
                Poll(1),
                Error(1),
                Poll(2),
                Recv(2, 4),
                Connect(1, 0),
                Connect(1, 0),
                Poll(1),
            ],
        ]
        .concat(),
    );
    for kind in [Kind::Udp, Kind::UnixDatagram] {
        same(
            kind,
            &[
                Socket(0),
                Bind(0),
                Socket(1),
                Connect(1, 0),
                HasPeer(1),
                Send(1, 5),
                Disconnect(1),
                Send(1, 5),
                HasPeer(1),
                SendTo(1, 0, 5),
                Recv(0, 9),
                Recv(0, 9),
                Recv(0, 9),
            ],
        );
    }
}

#[test]
fn datagrams() {
    for kind in [Kind::Udp, Kind::UnixDatagram] {
        same(
            kind,
            &[
                Socket(0),
                Poll(0),
                Bind(0),
                Socket(1),
                Send(1, 5),
                SendTo(1, 0, 0),
                SendTo(1, 0, 20),
                Poll(0),
                Peek(0, 5),
                Recv(0, 5),
                Recv(0, 5),
                Recv(0, 5),
                Listen(1, 1),
                Accept(1, 2),
                Connect(1, 0),
                Send(1, 7),
                Send(1, 40000),
                Recv(0, 60000),
                Recv(0, 60000),
                Socket(3),
                Connect(0, 1),
                ConnectNowhere(3),
                Send(3, 1),
                Send(3, 1),
                Send(3, 1),
                Error(3),
                Poll(3),
            ],
        );
    }
}

#[test]
fn a_datagram_peer_that_is_gone() {
    for kind in [Kind::Udp, Kind::UnixDatagram] {
        same(
            kind,
            &[
                Socket(0),
                Bind(0),
                Socket(1),
                Connect(1, 0),
                Send(1, 5),
                Close(0),
                Send(1, 5),
                Poll(1),
                Send(1, 5),
                Send(1, 5),
                Error(1),
                Recv(1, 5),
                Recv(1, 5),
            ],
        );
        same(
            kind,
            &[
                Socket(0),
                Bind(0),
                Socket(1),
                Connect(1, 0),
                Shutdown(1, 1),
                Send(1, 5),
                Poll(1),
                Shutdown(1, 0),
                Poll(1),
            ],
        );
    }
}

#[test]
fn shutdown_of_unconnected_sockets() {
    for kind in [Kind::Tcp, Kind::Udp, Kind::UnixStream] {
        same(
            kind,
            &[
                Socket(0),
                Shutdown(0, 2),
                Poll(0),
                Bind(0),
                Listen(0, 1),
                Shutdown(0, 1),
                Poll(0),
            ],
        );
    }
    same(
        Kind::Tcp,
        &[
            Socket(0),
            Bind(0),
            Listen(0, 1),
            Shutdown(0, 0),
            Poll(0),
            Accept(0, 1),
        ],
    );
    // accept(2) on it is EINVAL at once here, as on a blocking descriptor there.
    same(
        Kind::UnixStream,
        &[Socket(0), Bind(0), Listen(0, 1), Shutdown(0, 0), Poll(0)],
    );
}

fn any_op() -> impl Strategy<Value = Op> {
    let slot = 1..3usize;
    prop_oneof![
        4 => (slot.clone(), 1..40usize).prop_map(|(s, n)| Send(s, n)),
        4 => (slot.clone(), 1..60usize).prop_map(|(s, n)| Recv(s, n)),
        1 => (slot.clone(), 1..60usize).prop_map(|(s, n)| Peek(s, n)),
        2 => (slot.clone(), 0..3u32).prop_map(|(s, how)| Shutdown(s, how)),
        2 => slot.clone().prop_map(Poll),
        1 => slot.clone().prop_map(Error),
        1 => slot.clone().prop_map(HasPeer),
        1 => slot.prop_map(Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_life_of_a_connection(kind in prop::sample::select(&STREAMS[..]), ops in prop::collection::vec(any_op(), 0..16)) {
        let ops = [connected(), ops].concat();
        let host = transcript(&mut Host::new(kind), &ops);
        let ours = transcript(&mut Ours::new(kind), &ops);
        prop_assert_eq!(ours, host, "{:?}: ours first, the host's second", kind);
    }
}
