//! Unix sockets: descriptors and credentials in messages, cycles, names, limits, waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base_abi::net as abi;
use kernel_net::{
    Address, Caller, Control, Limits, MsgFlags, NetStack, NoNames, Outgoing, Socket, SocketFile,
    StackConfig, Ucred, UnixName,
};
use kernel_vfs::{Description, Errno, Events, Notify, PollTable, StatusFlags};

fn stack() -> Arc<NetStack> {
    NetStack::new(StackConfig::default())
}

fn pair(stack: &Arc<NetStack>, kind: u32) -> [Arc<Description>; 2] {
    let pair = stack.socket_pair(&Caller::kernel(), abi::AF_UNIX, kind, 0);
    pair.expect("pair")
        .map(|s| SocketFile::describe(s, StatusFlags::empty()))
}

fn socket(description: &Description) -> &Arc<dyn Socket> {
    SocketFile::of(description).expect("a socket")
}

fn give(to: &Description, data: &[u8], rights: Vec<Arc<Description>>) -> Result<usize, Errno> {
    let message = Outgoing {
        data,
        rights,
        ..Outgoing::default()
    };
    socket(to).send(&Caller::kernel(), message)
}

fn received_rights(from: &Description, room: usize) -> (usize, Vec<Arc<Description>>) {
    let mut buf = vec![0; room];
    let incoming = socket(from)
        .recv(&mut buf, MsgFlags::empty())
        .expect("a message");
    let mut rights = Vec::new();
    for control in incoming.control {
        if let Control::Rights(more) = control {
            rights.extend(more);
        }
    }
    (incoming.length, rights)
}

fn abstract_name(name: &[u8]) -> Address {
    Address::Unix(UnixName::Abstract(name.to_vec()))
}

#[test]
fn descriptors_travel_and_end_a_read() {
    for kind in [abi::SOCK_STREAM, abi::SOCK_SEQPACKET, abi::SOCK_DGRAM] {
        let stack = stack();
        let [a, b] = pair(&stack, kind);
        let [c, d] = pair(&stack, abi::SOCK_STREAM);
        give(&a, b"one", vec![Arc::clone(&c)]).expect("sent");
        give(&a, b"two", vec![]).expect("sent");
        drop(c);
        let (n, rights) = received_rights(&b, 100);
        assert_eq!((n, rights.len()), (3, 1));
        give(&rights[0], b"through", vec![]).expect("sent");
        assert_eq!(received_rights(&d, 100).0, 7);
        drop(rights);
        assert_eq!(received_rights(&d, 100).0, 0, "the last reference is gone");
        assert_eq!(received_rights(&b, 100).0, 3);
    }
}

#[test]
fn peeking_gives_copies() {
    let stack = stack();
    let [a, b] = pair(&stack, abi::SOCK_STREAM);
    let [c, _d] = pair(&stack, abi::SOCK_STREAM);
    give(&a, b"x", vec![c]).expect("sent");
    let mut buf = [0; 4];
    let peeked = socket(&b).recv(&mut buf, MsgFlags::PEEK).expect("peeked");
    assert!(matches!(&peeked.control[..], [Control::Rights(r)] if r.len() == 1));
    assert_eq!(received_rights(&b, 4).1.len(), 1);
}

#[test]
fn unread_descriptors_are_closed_with_the_receiver() {
    let stack = stack();
    let [a, b] = pair(&stack, abi::SOCK_STREAM);
    let [c, d] = pair(&stack, abi::SOCK_STREAM);
    give(&a, b"x", vec![c]).expect("sent");
    drop(b);
    assert_eq!(received_rights(&d, 4).0, 0);
}

#[test]
fn cycles_are_collected() {
    for kind in [abi::SOCK_STREAM, abi::SOCK_SEQPACKET, abi::SOCK_DGRAM] {
        let stack = stack();
        let [a, b] = pair(&stack, kind);
        // Each in the queue of the other, with a stranger along.
        let [c, d] = pair(&stack, abi::SOCK_STREAM);
        give(&a, b"x", vec![Arc::clone(&b), c]).expect("sent");
        give(&b, b"x", vec![Arc::clone(&a)]).expect("sent");
        drop((a, b));
        // Any close looks for garbage.
        drop(pair(&stack, abi::SOCK_STREAM));
        assert_eq!(received_rights(&d, 4).0, 0, "the stranger was closed");
        drop(d);
        assert_eq!(stack.socket_count(), 0);
        assert_eq!(stack.buffered_bytes(), 0);
    }
}

#[test]
fn a_cycle_that_can_be_reached_is_kept() {
    let stack = stack();
    let [a, b] = pair(&stack, abi::SOCK_STREAM);
    let [holder, reader] = pair(&stack, abi::SOCK_STREAM);
    give(&a, b"x", vec![Arc::clone(&b)]).expect("sent");
    give(&holder, b"y", vec![b]).expect("sent");
    drop(a);
    drop(pair(&stack, abi::SOCK_STREAM));
    let (_, rights) = received_rights(&reader, 4);
    let (n, inner) = received_rights(&rights[0], 4);
    assert_eq!((n, inner.len()), (1, 1), "its queue was not emptied");
}

#[test]
fn a_long_chain_is_closed_without_recursion() {
    let stack = stack();
    let [mut outer, mut keep] = pair(&stack, abi::SOCK_STREAM);
    for _ in 0..2000 {
        let [a, b] = pair(&stack, abi::SOCK_STREAM);
        give(&a, b"x", vec![outer, keep]).expect("sent");
        (outer, keep) = (a, b);
    }
    drop((outer, keep));
    drop(pair(&stack, abi::SOCK_STREAM));
    assert_eq!(stack.socket_count(), 0);
}

#[test]
fn descriptors_in_flight_are_limited() {
    let limits = Limits {
        in_flight: 3,
        ..Limits::default()
    };
    let stack = NetStack::new(StackConfig {
        limits,
        ..StackConfig::default()
    });
    let [a, b] = pair(&stack, abi::SOCK_STREAM);
    let [c, _d] = pair(&stack, abi::SOCK_STREAM);
    give(&a, b"x", vec![Arc::clone(&c); 2]).expect("sent");
    assert_eq!(
        give(&a, b"x", vec![Arc::clone(&c); 2]),
        Err(Errno::ETOOMANYREFS)
    );
    received_rights(&b, 1);
    give(&a, b"x", vec![Arc::clone(&c); 2]).expect("there is room again");
}

/// Programs that raise their limit of descriptors to the 65,536 they are offered may use them all for sockets.
#[test]
fn every_descriptor_of_a_process_can_be_a_socket() {
    let stack = NetStack::new(StackConfig::default());
    let pairs: Vec<_> = (0..32_768)
        .map(|_| pair(&stack, abi::SOCK_STREAM))
        .collect();
    assert_eq!(stack.socket_count(), 65_536);
    drop(pairs);
    assert_eq!(stack.socket_count(), 0);
}

#[test]
fn sockets_and_bytes_are_limited() {
    let limits = Limits {
        sockets: 2,
        buffer_bytes: 1000,
        ..Limits::default()
    };
    let stack = NetStack::new(StackConfig {
        limits,
        ..StackConfig::default()
    });
    let [a, b] = pair(&stack, abi::SOCK_STREAM);
    let more = stack.socket(&Caller::kernel(), abi::AF_INET, abi::SOCK_STREAM, 0);
    assert_eq!(more.err(), Some(Errno::ENFILE));
    assert_eq!(give(&a, &[0; 2000], vec![]), Err(Errno::ENOBUFS));
    drop((a, b));
    assert_eq!((stack.socket_count(), stack.buffered_bytes()), (0, 0));
}

#[test]
fn credentials_come_when_asked_for() {
    for kind in [abi::SOCK_STREAM, abi::SOCK_SEQPACKET, abi::SOCK_DGRAM] {
        let stack = stack();
        let [a, b] = pair(&stack, kind);
        let one = 1i32.to_ne_bytes();
        let caller = Caller {
            credentials: Ucred {
                pid: 7,
                uid: 8,
                gid: 9,
            },
            privileged: false,
            names: &NoNames,
        };
        socket(&b)
            .set_option(&caller, abi::SOL_SOCKET, abi::SO_PASSCRED, &one)
            .expect("set");
        socket(&a)
            .send(&caller, Outgoing::bytes(b"x"))
            .expect("sent");
        let other = Caller {
            credentials: Ucred {
                pid: 1,
                uid: 2,
                gid: 3,
            },
            ..caller
        };
        socket(&a)
            .send(&other, Outgoing::bytes(b"y"))
            .expect("sent");
        let mut buf = [0; 9];
        let first = socket(&b)
            .recv(&mut buf, MsgFlags::empty())
            .expect("received");
        assert_eq!(first.length, 1, "bytes of different senders are not joined");
        assert!(matches!(first.control[..], [Control::Credentials(c)] if c == caller.credentials));
    }
}

#[test]
fn writers_wait_for_room_and_are_woken() {
    struct Count(AtomicU32);
    impl Notify for Count {
        fn notify(&self, _: Events) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    for kind in [abi::SOCK_STREAM, abi::SOCK_SEQPACKET, abi::SOCK_DGRAM] {
        let stack = stack();
        let [a, b] = pair(&stack, kind);
        let mut sent = 0;
        let errno = loop {
            match give(&a, &[1; 5000], vec![]) {
                Ok(n) => sent += n,
                Err(errno) => break errno,
            }
        };
        assert_eq!(errno, Errno::EAGAIN);
        assert!(sent > 100_000);
        let count = Arc::new(Count(AtomicU32::new(0)));
        let mut table = PollTable::waiting(count.clone(), Events::WRITABLE);
        assert!(!socket(&a).poll(&mut table).intersects(Events::OUT));
        let mut got = 0;
        let mut buf = [0; 5000];
        while let Ok(incoming) = socket(&b).recv(&mut buf, MsgFlags::empty()) {
            got += incoming.length;
        }
        assert_eq!(got, sent);
        assert!(count.0.load(Ordering::Relaxed) > 0);
        assert!(
            socket(&a)
                .poll(&mut PollTable::look())
                .contains(Events::OUT)
        );
    }
}

#[test]
fn senders_to_a_full_stranger_wait_for_it() {
    let stack = stack();
    let caller = Caller::kernel();
    let make = || {
        stack
            .socket(&caller, abi::AF_UNIX, abi::SOCK_DGRAM, 0)
            .expect("socket")
    };
    let (server, client) = (make(), make());
    let name = abstract_name(b"server");
    server.bind(&caller, &name).expect("bound");
    let send = || {
        let message = Outgoing {
            to: Some(name.clone()),
            ..Outgoing::bytes(b"x")
        };
        client.send(&caller, message)
    };
    let sent = std::iter::repeat_with(send)
        .take_while(Result::is_ok)
        .count();
    assert_eq!(sent, 11, "one more than net.unix.max_dgram_qlen");
    let ready = |table: &mut PollTable| client.poll_send(&caller, Some(&name), table);
    assert!(!ready(&mut PollTable::look()).intersects(Events::OUT));
    server
        .recv(&mut [0; 1], MsgFlags::empty())
        .expect("received");
    assert!(ready(&mut PollTable::look()).contains(Events::OUT));
    assert_eq!(send(), Ok(1));
}

#[test]
fn names() {
    let stack = stack();
    let caller = Caller::kernel();
    let make = |kind| {
        stack
            .socket(&caller, abi::AF_UNIX, kind, 0)
            .expect("socket")
    };
    let auto = make(abi::SOCK_STREAM);
    auto.bind(&caller, &Address::Unix(UnixName::Unnamed))
        .expect("autobind");
    let Ok(Address::Unix(UnixName::Abstract(name))) = auto.local_address() else {
        panic!("autobind gives an abstract name");
    };
    assert_eq!(name.len(), 5);
    // The same abstract name is free for another type.
    make(abi::SOCK_DGRAM)
        .bind(&caller, &abstract_name(&name))
        .expect("bound");
    let taken = make(abi::SOCK_STREAM).bind(&caller, &abstract_name(&name));
    assert_eq!(taken, Err(Errno::EADDRINUSE));
    auto.listen(&caller, 1).expect("listening");
    let client = make(abi::SOCK_STREAM);
    client
        .connect(&caller, &abstract_name(&name))
        .expect("connected");
    assert_eq!(client.peer_address(), Ok(abstract_name(&name)));
    auto.close();
    let late = make(abi::SOCK_STREAM).connect(&caller, &abstract_name(&name));
    assert_eq!(late, Err(Errno::ECONNREFUSED));
}

#[test]
fn addresses_as_bytes() {
    for (bytes, want) in [
        (&b"\x01\x00"[..], UnixName::Unnamed),
        (b"\x01\x00/a\0junk", UnixName::Path(b"/a".to_vec())),
        (b"\x01\x00/a", UnixName::Path(b"/a".to_vec())),
        (b"\x01\x00\0a\0b", UnixName::Abstract(b"a\0b".to_vec())),
    ] {
        assert_eq!(Address::parse(bytes), Ok(Address::Unix(want)));
    }
    assert_eq!(Address::parse(&[1]), Err(Errno::EINVAL));
    let mut long = vec![1, 0];
    long.resize(111, b'x');
    assert_eq!(Address::parse(&long), Err(Errno::EINVAL));
    assert_eq!(
        Address::parse(&[2, 0, 1, 2, 127, 0, 0, 1]),
        Err(Errno::EINVAL)
    );
}
