//! TCP and UDP inside the sandbox: families, waiting connections, groups, options, the kernel side,
//! what is beyond.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use base_abi::net as abi;
use kernel_net::endpoint::Listener;
use kernel_net::{
    Address, Caller, Control, MsgFlags, NetStack, NoNames, Outbound, OutboundRequest, Outgoing,
    Socket, StackConfig, Ucred,
};
use kernel_vfs::{Errno, Events, PollTable};

const API: &str = "169.254.100.1:9001";

fn stack() -> Arc<NetStack> {
    let own = API.parse::<SocketAddr>().expect("address").ip();
    NetStack::new(StackConfig {
        addresses: vec![own],
        ..StackConfig::default()
    })
}

fn address(text: &str) -> Address {
    match text.parse().expect("address") {
        SocketAddr::V4(a) => Address::V4(a),
        SocketAddr::V6(a) => Address::V6(a),
    }
}

fn make(stack: &Arc<NetStack>, domain: u32, kind: u32) -> Arc<dyn Socket> {
    stack
        .socket(&Caller::kernel(), domain, kind, 0)
        .expect("socket")
}

fn tcp(stack: &Arc<NetStack>, domain: u32) -> Arc<dyn Socket> {
    make(stack, domain, abi::SOCK_STREAM)
}

fn bound(socket: Arc<dyn Socket>, to: &str) -> Arc<dyn Socket> {
    socket.bind(&Caller::kernel(), &address(to)).expect("bound");
    socket
}

fn connect(socket: &Arc<dyn Socket>, to: &Address) -> Result<(), Errno> {
    match socket.connect(&Caller::kernel(), to) {
        Err(Errno::EINPROGRESS) => socket.connect(&Caller::kernel(), to),
        other => other,
    }
}

fn set(socket: &Arc<dyn Socket>, level: u32, name: u32, value: i32) -> Result<(), Errno> {
    socket.set_option(&Caller::kernel(), level, name, &value.to_ne_bytes())
}

fn get(socket: &Arc<dyn Socket>, level: u32, name: u32) -> i32 {
    let value = socket.get_option(level, name, 4).expect("option");
    i32::from_ne_bytes(value[..4].try_into().expect("an int"))
}

fn send_to(socket: &Arc<dyn Socket>, to: &str, data: &[u8]) -> Result<usize, Errno> {
    let message = Outgoing {
        to: Some(address(to)),
        ..Outgoing::bytes(data)
    };
    socket.send(&Caller::kernel(), message)
}

fn events(socket: &Arc<dyn Socket>) -> Events {
    socket.poll(&mut PollTable::look())
}

#[test]
fn dual_stack_listeners_take_both_families() {
    let stack = stack();
    let server = bound(tcp(&stack, abi::AF_INET6), "[::]:80");
    server.listen(&Caller::kernel(), 5).expect("listening");
    let client = tcp(&stack, abi::AF_INET);
    connect(&client, &address("127.0.0.1:80")).expect("connected");
    let (accepted, peer) = server.accept().expect("accepted");
    assert!(matches!(peer, Address::V6(a) if a.ip().to_ipv4_mapped().is_some()));
    assert_eq!(
        accepted.local_address(),
        Ok(address("[::ffff:127.0.0.1]:80"))
    );
    let taken = tcp(&stack, abi::AF_INET).bind(&Caller::kernel(), &address("0.0.0.0:80"));
    assert_eq!(taken, Err(Errno::EADDRINUSE));
    let client = tcp(&stack, abi::AF_INET6);
    connect(&client, &address("[::1]:80")).expect("connected");
    assert_eq!(client.peer_address(), Ok(address("[::1]:80")));
}

#[test]
fn v6_only_leaves_ipv4_alone() {
    let stack = stack();
    let six = tcp(&stack, abi::AF_INET6);
    set(&six, abi::SOL_IPV6, abi::IPV6_V6ONLY, 1).expect("set");
    let six = bound(six, "[::]:80");
    assert_eq!(
        set(&six, abi::SOL_IPV6, abi::IPV6_V6ONLY, 0),
        Err(Errno::EINVAL)
    );
    let four = bound(tcp(&stack, abi::AF_INET), "0.0.0.0:80");
    four.listen(&Caller::kernel(), 1).expect("listening");
    six.listen(&Caller::kernel(), 1).expect("listening");
    connect(&tcp(&stack, abi::AF_INET), &address("127.0.0.1:80")).expect("connected");
    assert!(four.accept().is_ok());
    assert_eq!(six.accept().err(), Some(Errno::EAGAIN));
}

#[test]
fn a_full_queue_completes_when_there_is_room() {
    let stack = stack();
    let server = bound(tcp(&stack, abi::AF_INET), "127.0.0.1:80");
    server.listen(&Caller::kernel(), 0).expect("listening");
    let to = address("127.0.0.1:80");
    connect(&tcp(&stack, abi::AF_INET), &to).expect("connected");
    let late = tcp(&stack, abi::AF_INET);
    assert_eq!(connect(&late, &to), Err(Errno::EALREADY));
    assert_eq!(events(&late), Events::empty());
    let gone = tcp(&stack, abi::AF_INET);
    assert_eq!(connect(&gone, &to), Err(Errno::EALREADY));
    server.accept().expect("the first");
    assert!(events(&late).contains(Events::OUT));
    assert_eq!(late.connect(&Caller::kernel(), &to), Ok(()));
    assert_eq!(late.connect(&Caller::kernel(), &to), Err(Errno::EISCONN));
    server.close();
    assert_eq!(
        get(&gone, abi::SOL_SOCKET, abi::SO_ERROR),
        Errno::ECONNREFUSED.raw()
    );
    assert_eq!(
        get(&late, abi::SOL_SOCKET, abi::SO_ERROR),
        Errno::ECONNRESET.raw()
    );
}

#[test]
fn a_closed_peer_takes_no_more_than_the_own_buffer() {
    let stack = stack();
    let server = bound(tcp(&stack, abi::AF_INET), "127.0.0.1:80");
    server.listen(&Caller::kernel(), 1).expect("listening");
    let client = tcp(&stack, abi::AF_INET);
    set(&client, abi::SOL_SOCKET, abi::SO_SNDBUF, 4096).expect("set");
    connect(&client, &address("127.0.0.1:80")).expect("connected");
    server.accept().expect("accepted").0.close();
    let send = || client.send(&Caller::kernel(), Outgoing::bytes(&[0; 100_000]));
    assert_eq!(send(), Ok(8192));
    assert_eq!(send(), Err(Errno::EPIPE));
}

#[test]
fn urgent_data() {
    let stack = stack();
    let server = bound(tcp(&stack, abi::AF_INET), "127.0.0.1:80");
    server.listen(&Caller::kernel(), 1).expect("listening");
    let client = tcp(&stack, abi::AF_INET);
    connect(&client, &address("127.0.0.1:80")).expect("connected");
    let (end, _) = server.accept().expect("accepted");
    let urgent = Outgoing {
        flags: MsgFlags::OOB,
        ..Outgoing::bytes(b"ab!")
    };
    client.send(&Caller::kernel(), urgent).expect("sent");
    client
        .send(&Caller::kernel(), Outgoing::bytes(b"cd"))
        .expect("sent");
    assert!(events(&end).contains(Events::PRI));
    let mut buf = [0; 9];
    assert_eq!(
        end.recv(&mut buf, MsgFlags::empty()).expect("read").length,
        2
    );
    assert_eq!(end.at_mark(), Ok(true));
    assert_eq!(end.recv(&mut buf, MsgFlags::OOB).expect("urgent").length, 1);
    assert_eq!(buf[0], b'!');
    assert_eq!(end.recv(&mut buf, MsgFlags::OOB).err(), Some(Errno::EINVAL));
    assert_eq!(
        end.recv(&mut buf, MsgFlags::empty()).expect("read").length,
        2
    );
}

#[test]
fn the_kernel_side_serves_guests() {
    let stack = stack();
    let listener = Listener::bind(&stack, API.parse().expect("address"), 16).expect("listening");
    assert_eq!(listener.accept().err(), Some(Errno::EAGAIN));
    let guest = tcp(&stack, abi::AF_INET);
    connect(&guest, &address(API)).expect("connected");
    guest
        .send(&Caller::kernel(), Outgoing::bytes(b"GET /"))
        .expect("sent");
    let stream = listener.accept().expect("accepted");
    let mut buf = [0; 99];
    assert_eq!(stream.read(&mut buf), Ok(5));
    assert_eq!(stream.read(&mut buf), Err(Errno::EAGAIN));
    assert_eq!(stream.write(b"hello"), Ok(5));
    stream.finish().expect("finished");
    assert_eq!(
        guest
            .recv(&mut buf, MsgFlags::empty())
            .expect("read")
            .length,
        5
    );
    assert_eq!(
        guest.recv(&mut buf, MsgFlags::empty()).expect("end").length,
        0
    );
    assert_eq!(
        stream.peer_address().ip(),
        API.parse::<SocketAddr>().expect("address").ip()
    );
    drop(stream);
    assert!(events(&guest).contains(Events::RDHUP));
}

#[test]
fn what_is_beyond_is_unreachable() {
    let stack = stack();
    for kind in [abi::SOCK_STREAM, abi::SOCK_DGRAM] {
        let socket = make(&stack, abi::AF_INET, kind);
        assert_eq!(
            connect(&socket, &address("192.0.2.1:80")),
            Err(Errno::ENETUNREACH)
        );
        assert_eq!(socket.local_address(), Ok(address("0.0.0.0:0")));
    }
    let socket = tcp(&stack, abi::AF_INET);
    let bind = socket.bind(&Caller::kernel(), &address("192.0.2.1:80"));
    assert_eq!(bind, Err(Errno::EADDRNOTAVAIL));
}

#[test]
fn outbound_connections_can_be_plugged_in() {
    #[derive(Default)]
    struct World(Mutex<Vec<OutboundRequest>>);
    impl Outbound for World {
        fn route(&self, _: SocketAddr) -> Result<IpAddr, Errno> {
            Ok("10.0.0.2".parse().expect("address"))
        }
        fn connect(&self, request: OutboundRequest) {
            self.0.lock().expect("lock").push(request);
        }
        fn datagram(&self, _: SocketAddr, _: SocketAddr, _: &[u8]) -> Result<(), Errno> {
            Ok(())
        }
    }
    let world = Arc::new(World::default());
    let config = StackConfig {
        outbound: world.clone(),
        ..StackConfig::default()
    };
    let stack = NetStack::new(config);
    let guest = tcp(&stack, abi::AF_INET);
    let to = address("192.0.2.1:80");
    assert_eq!(connect(&guest, &to), Err(Errno::EALREADY));
    let request = world.0.lock().expect("lock").pop().expect("asked");
    assert_eq!(request.to(), "192.0.2.1:80".parse().expect("address"));
    let far = request.accept().expect("accepted");
    assert_eq!(guest.connect(&Caller::kernel(), &to), Ok(()));
    guest
        .send(&Caller::kernel(), Outgoing::bytes(b"out"))
        .expect("sent");
    assert_eq!(far.read(&mut [0; 9]), Ok(3));
    let other = tcp(&stack, abi::AF_INET);
    assert_eq!(connect(&other, &to), Err(Errno::EALREADY));
    drop(world.0.lock().expect("lock").pop());
    assert_eq!(other.connect(&Caller::kernel(), &to), Err(Errno::ETIMEDOUT));
}

#[test]
fn groups_reach_their_members() {
    let stack = stack();
    let member = bound(make(&stack, abi::AF_INET, abi::SOCK_DGRAM), "0.0.0.0:5000");
    let sender = make(&stack, abi::AF_INET, abi::SOCK_DGRAM);
    send_to(&sender, "239.1.2.3:5000", b"early").expect("sent");
    assert_eq!(
        member.recv(&mut [0; 9], MsgFlags::empty()).err(),
        Some(Errno::EAGAIN)
    );
    let request = [239, 1, 2, 3, 127, 0, 0, 1];
    let join = |name| member.set_option(&Caller::kernel(), abi::SOL_IP, name, &request);
    join(abi::IP_ADD_MEMBERSHIP).expect("joined");
    assert_eq!(join(abi::IP_ADD_MEMBERSHIP), Err(Errno::EADDRINUSE));
    set(&member, abi::SOL_IP, abi::IP_PKTINFO, 1).expect("set");
    send_to(&sender, "239.1.2.3:5000", b"hello").expect("sent");
    let got = member
        .recv(&mut [0; 9], MsgFlags::empty())
        .expect("received");
    assert!(matches!(got.control[..], [Control::PacketInfo(ip)] if ip.is_multicast()));
    join(abi::IP_DROP_MEMBERSHIP).expect("left");
    assert_eq!(join(abi::IP_DROP_MEMBERSHIP), Err(Errno::EADDRNOTAVAIL));
}

#[test]
fn broadcasts_need_permission_and_reach_all() {
    let stack = stack();
    let receivers: Vec<_> = (0..2)
        .map(|_| {
            let socket = make(&stack, abi::AF_INET, abi::SOCK_DGRAM);
            set(&socket, abi::SOL_SOCKET, abi::SO_REUSEADDR, 1).expect("set");
            bound(socket, "0.0.0.0:5000")
        })
        .collect();
    let sender = make(&stack, abi::AF_INET, abi::SOCK_DGRAM);
    assert_eq!(
        send_to(&sender, "127.255.255.255:5000", b"x"),
        Err(Errno::EACCES)
    );
    set(&sender, abi::SOL_SOCKET, abi::SO_BROADCAST, 1).expect("set");
    send_to(&sender, "127.255.255.255:5000", b"x").expect("sent");
    for receiver in receivers {
        assert!(receiver.recv(&mut [0; 9], MsgFlags::empty()).is_ok());
    }
}

#[test]
fn connected_datagram_sockets_hear_only_their_peer() {
    let stack = stack();
    let make = |port: &str| bound(make(&stack, abi::AF_INET, abi::SOCK_DGRAM), port);
    let (a, b, c) = (
        make("127.0.0.1:1001"),
        make("127.0.0.1:1002"),
        make("127.0.0.1:1003"),
    );
    connect(&a, &address("127.0.0.1:1002")).expect("connected");
    send_to(&c, "127.0.0.1:1001", b"stranger").expect("sent");
    assert_eq!(
        a.recv(&mut [0; 9], MsgFlags::empty()).err(),
        Some(Errno::EAGAIN)
    );
    send_to(&b, "127.0.0.1:1001", b"friend").expect("sent");
    let got = a.recv(&mut [0; 9], MsgFlags::empty()).expect("received");
    assert_eq!(got.from, Some(address("127.0.0.1:1002")));
}

#[test]
fn corked_datagrams_become_one() {
    let stack = stack();
    let server = bound(make(&stack, abi::AF_INET, abi::SOCK_DGRAM), "127.0.0.1:53");
    let client = make(&stack, abi::AF_INET, abi::SOCK_DGRAM);
    connect(&client, &address("127.0.0.1:53")).expect("connected");
    let more = Outgoing {
        flags: MsgFlags::MORE,
        ..Outgoing::bytes(b"ab")
    };
    client.send(&Caller::kernel(), more).expect("kept");
    client
        .send(&Caller::kernel(), Outgoing::bytes(b"cd"))
        .expect("sent");
    assert_eq!(
        server
            .recv(&mut [0; 9], MsgFlags::empty())
            .expect("received")
            .length,
        4
    );
}

#[test]
fn hop_limits_and_classes_of_one_message() {
    let stack = stack();
    let server = bound(make(&stack, abi::AF_INET6, abi::SOCK_DGRAM), "[::1]:53");
    set(&server, abi::SOL_IPV6, abi::IPV6_RECVHOPLIMIT, 1).expect("set");
    set(&server, abi::SOL_IPV6, abi::IPV6_RECVTCLASS, 1).expect("set");
    let client = make(&stack, abi::AF_INET6, abi::SOCK_DGRAM);
    set(&client, abi::SOL_IPV6, abi::IPV6_UNICAST_HOPS, 9).expect("set");
    for (hops, want) in [(None, 9), (Some(2), 2)] {
        let to = Some(address("[::1]:53"));
        let message = Outgoing {
            to,
            hops,
            class: Some(3),
            ..Outgoing::bytes(b"x")
        };
        client.send(&Caller::kernel(), message).expect("sent");
        let got = server
            .recv(&mut [0; 9], MsgFlags::empty())
            .expect("received");
        assert!(
            matches!(got.control[..], [Control::HopLimit(h), Control::TrafficClass(3)] if h == want)
        );
    }
}

#[test]
fn low_ports_are_for_the_privileged() {
    let stack = stack();
    let caller = Caller {
        credentials: Ucred::default(),
        privileged: false,
        names: &NoNames,
    };
    let socket = tcp(&stack, abi::AF_INET);
    assert_eq!(
        socket.bind(&caller, &address("0.0.0.0:80")),
        Err(Errno::EACCES)
    );
    socket
        .bind(&caller, &address("0.0.0.0:8080"))
        .expect("bound");
}

#[test]
fn families_and_types() {
    let stack = stack();
    for (domain, kind, protocol, errno) in [
        (abi::AF_PACKET, abi::SOCK_RAW, 0, Errno::EAFNOSUPPORT),
        (abi::AF_VSOCK, abi::SOCK_STREAM, 0, Errno::EAFNOSUPPORT),
        (abi::AF_ALG, abi::SOCK_SEQPACKET, 0, Errno::EAFNOSUPPORT),
        (abi::AF_INET, abi::SOCK_RAW, 1, Errno::EPERM),
        (abi::AF_INET, abi::SOCK_SEQPACKET, 0, Errno::ESOCKTNOSUPPORT),
        (
            abi::AF_INET,
            abi::SOCK_STREAM,
            abi::SOL_UDP,
            Errno::EPROTONOSUPPORT,
        ),
        (abi::AF_INET, 77, 0, Errno::EINVAL),
        (abi::AF_UNIX, abi::SOCK_STREAM, 5, Errno::EPROTONOSUPPORT),
        (abi::AF_NETLINK, abi::SOCK_RAW, 12, Errno::EPROTONOSUPPORT),
        (abi::AF_NETLINK, abi::SOCK_STREAM, 0, Errno::ESOCKTNOSUPPORT),
    ] {
        let made = stack.socket(&Caller::kernel(), domain, kind, protocol);
        assert_eq!(made.err(), Some(errno), "{domain} {kind} {protocol}");
    }
}

#[test]
fn options_read_back() {
    let stack = stack();
    let socket = tcp(&stack, abi::AF_INET);
    let sock = abi::SOL_SOCKET;
    set(&socket, sock, abi::SO_RCVBUF, 10_000).expect("set");
    assert_eq!(get(&socket, sock, abi::SO_RCVBUF), 20_000);
    set(&socket, sock, abi::SO_RCVBUF, 0).expect("set");
    assert_eq!(get(&socket, sock, abi::SO_RCVBUF), 2304);
    assert_eq!(get(&socket, sock, abi::SO_TYPE), 1);
    assert_eq!(get(&socket, sock, abi::SO_PROTOCOL), 6);
    set(&socket, abi::SOL_TCP, abi::TCP_NODELAY, 1).expect("set");
    assert_eq!(get(&socket, abi::SOL_TCP, abi::TCP_NODELAY), 1);
    assert_eq!(
        set(&socket, abi::SOL_TCP, abi::TCP_KEEPCNT, 0),
        Err(Errno::EINVAL)
    );
    assert_eq!(set(&socket, sock, 9999, 0), Err(Errno::ENOPROTOOPT));
    assert_eq!(
        set(&socket, abi::SOL_IPV6, abi::IPV6_V6ONLY, 1),
        Err(Errno::ENOPROTOOPT)
    );
    let timeout = [2i64.to_ne_bytes(), 500_000i64.to_ne_bytes()].concat();
    let caller = Caller::kernel();
    socket
        .set_option(&caller, sock, abi::SO_RCVTIMEO_OLD, &timeout)
        .expect("set");
    assert_eq!(
        socket.base().timeouts().receive.map(|t| t.as_millis()),
        Some(2500)
    );
    let denormal = [0i64.to_ne_bytes(), 1_000_000i64.to_ne_bytes()].concat();
    let set = socket.set_option(&caller, sock, abi::SO_RCVTIMEO_OLD, &denormal);
    assert_eq!(set, Err(Errno::EDOM));
}

#[test]
fn tables_of_proc() {
    let stack = stack();
    let server = bound(tcp(&stack, abi::AF_INET), "127.0.0.1:80");
    server.listen(&Caller::kernel(), 1).expect("listening");
    let table = stack.proc_table("tcp").expect("known");
    assert!(
        table.contains("   0: 0100007F:0050 00000000:0000 0A "),
        "{table}"
    );
    let _udp = bound(make(&stack, abi::AF_INET6, abi::SOCK_DGRAM), "[::1]:53");
    let table = stack.proc_table("udp6").expect("known");
    assert!(
        table.contains("00000000000000000000000001000000:0035"),
        "{table}"
    );
    assert!(
        stack
            .proc_table("sockstat")
            .expect("known")
            .starts_with("sockets: used 2\n")
    );
}

#[test]
fn netlink_tells_of_lo() {
    let stack = stack();
    let socket = stack
        .socket(&Caller::kernel(), abi::AF_NETLINK, abi::SOCK_RAW, 0)
        .expect("socket");
    for (kind, name) in [(18u16, &b"lo\0"[..]), (22, &[127, 0, 0, 1])] {
        let mut request = 17u32.to_ne_bytes().to_vec();
        request.extend(kind.to_ne_bytes());
        request.extend(0x301u16.to_ne_bytes());
        request.extend([1, 0, 0, 0, 0, 0, 0, 0, 0]);
        socket
            .send(&Caller::kernel(), Outgoing::bytes(&request))
            .expect("asked");
        let mut buf = [0; 8192];
        let n = socket
            .recv(&mut buf, MsgFlags::empty())
            .expect("answer")
            .length;
        assert!(buf[..n].windows(name.len()).any(|w| w == name));
        let n = socket
            .recv(&mut buf, MsgFlags::empty())
            .expect("end")
            .length;
        assert_eq!((n, buf[4]), (20, 3), "NLMSG_DONE");
    }
    // Changes are refused.
    let mut request = 20u32.to_ne_bytes().to_vec();
    request.extend(16u16.to_ne_bytes());
    request.extend(5u16.to_ne_bytes());
    request.extend([0; 12]);
    socket
        .send(&Caller::kernel(), Outgoing::bytes(&request))
        .expect("asked");
    let mut buf = [0; 512];
    socket.recv(&mut buf, MsgFlags::empty()).expect("answer");
    assert_eq!(
        i32::from_ne_bytes(buf[16..20].try_into().expect("an int")),
        -Errno::EPERM.raw()
    );
}
