//! A guest's sockets against the served Runtime API.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base_abi::{Errno, net};
use kernel_net::{Address, Caller, MsgFlags, NetStack, Outgoing, Socket, StackConfig};
use proto_sandbox::{EventHead, Initialization, Outcome, STREAM_WINDOW};
use sandbox_api::ApiServer;
use sandbox_runtime::{Event, RuntimeEvent, RuntimeLimits};

const NEXT: &[u8] = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n";

struct Served {
    stack: Arc<NetStack>,
    server: Arc<ApiServer>,
    address: SocketAddr,
    events: Arc<Mutex<Vec<RuntimeEvent>>>,
}

fn serve() -> Served {
    serve_with(|_| {})
}

/// Serves; `also` is told of each event while the server waits for it.
fn serve_with(also: impl Fn(&RuntimeEvent) + Send + Sync + 'static) -> Served {
    let address: SocketAddr = proto_sandbox::RUNTIME_API_ADDRESS.parse().unwrap();
    let config = StackConfig {
        addresses: vec![address.ip()],
        ..StackConfig::default()
    };
    let stack = NetStack::new(config);
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let sink = Box::new(move |event| {
        also(&event);
        seen.lock().unwrap().push(event);
    });
    let server = ApiServer::start(
        &stack,
        address,
        RuntimeLimits::default(),
        Initialization::OnDemand,
        sink,
    )
    .unwrap();
    Served {
        stack,
        server,
        address,
        events,
    }
}

impl Served {
    fn connect(&self) -> Arc<dyn Socket> {
        let caller = Caller::kernel();
        let socket = self
            .stack
            .socket(&caller, net::AF_INET, net::SOCK_STREAM, 0)
            .unwrap();
        let SocketAddr::V4(address) = self.address else {
            panic!()
        };
        let address = Address::V4(address);
        match socket.connect(&caller, &address) {
            Ok(()) | Err(Errno::EINPROGRESS) => socket,
            Err(error) => panic!("{error:?}"),
        }
    }

    fn events(&self) -> Vec<RuntimeEvent> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    fn deliver(&self, payload: &[u8]) {
        self.server.deliver(event(payload)).unwrap();
    }
}

fn event(payload: &[u8]) -> Event {
    Event {
        head: EventHead {
            request_id: "r".into(),
            ..EventHead::default()
        },
        payload: payload.to_vec(),
    }
}

/// Sends all of it, taking room as it comes.
fn send(socket: &Arc<dyn Socket>, mut data: &[u8]) {
    while !data.is_empty() {
        let count = socket
            .send(&Caller::kernel(), Outgoing::bytes(data))
            .unwrap();
        data = &data[count..];
    }
}

fn receive(socket: &Arc<dyn Socket>) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(got) = socket.recv(&mut buffer, MsgFlags::empty()) {
        if got.copied == 0 {
            break;
        }
        all.extend_from_slice(&buffer[..got.copied]);
    }
    all
}

#[test]
fn events_go_round_inside_the_calls_that_cause_them() {
    let served = serve();
    let socket = served.connect();
    send(&socket, NEXT);
    assert_eq!(
        served.events(),
        [RuntimeEvent::Connected, RuntimeEvent::Ready]
    );
    for round in 0..3 {
        served.deliver(b"{}");
        assert!(
            String::from_utf8(receive(&socket))
                .unwrap()
                .ends_with("\r\n\r\n{}"),
            "{round}"
        );
        send(&socket, b"POST /2018-06-01/runtime/invocation/r/response HTTP/1.1\r\nContent-Length: 2\r\n\r\n42");
        assert!(receive(&socket).starts_with(b"HTTP/1.1 202 "));
        assert!(
            matches!(&served.events()[..], [RuntimeEvent::Response { payload, .. }] if payload == b"42")
        );
        send(&socket, NEXT);
        assert_eq!(served.events(), [RuntimeEvent::Idle]);
    }
}

/// What the guest's runtime can read at the moment it is said to have done something.
#[test]
fn what_a_runtime_did_is_told_before_it_has_its_answer() {
    let guest: Arc<OnceLock<Arc<dyn Socket>>> = Arc::default();
    let read = Arc::new(Mutex::new(Vec::new()));
    let (socket, early) = (Arc::clone(&guest), Arc::clone(&read));
    let served = serve_with(move |_| {
        let got = socket.get().map(receive).unwrap_or_default();
        early.lock().unwrap().extend(got);
    });
    let socket = guest.get_or_init(|| served.connect());
    served
        .server
        .deliver_first(event(b"{}"), Duration::from_secs(3));
    send(socket, NEXT);
    assert!(matches!(
        served.events()[..],
        [RuntimeEvent::Connected, RuntimeEvent::Begun { .. }]
    ));
    assert_eq!(read.lock().unwrap().len(), 0);
    let answer = String::from_utf8(receive(socket)).unwrap();
    assert!(answer.ends_with("\r\n\r\n{}"), "{answer}");
    send(
        socket,
        b"POST /2018-06-01/runtime/invocation/r/response HTTP/1.1\r\nContent-Length: 2\r\n\r\n42",
    );
    let told = served.events();
    assert!(matches!(&told[..], [RuntimeEvent::Response { .. }]));
    assert_eq!(read.lock().unwrap().len(), 0);
    assert!(receive(socket).starts_with(b"HTTP/1.1 202 "));
}

#[test]
fn an_event_that_came_along_is_begun_with_when_the_runtime_asks_and_its_time_counts_from_there() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let limit = Duration::from_secs(3);
    let deadline = |answer: Vec<u8>| -> Duration {
        let answer = String::from_utf8(answer).unwrap();
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix("Lambda-Runtime-Deadline-Ms: "));
        Duration::from_millis(line.unwrap().parse().unwrap())
    };
    for waits in [true, false] {
        let served = serve();
        let socket = served.connect();
        if waits {
            send(&socket, NEXT);
            assert_eq!(served.events().pop(), Some(RuntimeEvent::Ready));
        }
        let mut before = now();
        served.server.deliver_first(event(b"{}"), limit);
        if !waits {
            assert_eq!(served.events(), [RuntimeEvent::Connected]);
            before = now();
            send(&socket, NEXT);
        }
        let begun = served.events().pop();
        assert!(matches!(begun, Some(RuntimeEvent::Begun { .. })));
        let deadline = deadline(receive(&socket)) + Duration::from_millis(1);
        assert!(before + limit <= deadline && deadline <= now() + limit + Duration::from_millis(1));
    }
}

#[test]
fn events_and_answers_larger_than_any_buffer_pass() {
    let served = serve();
    let socket = served.connect();
    let large = vec![b'x'; 6_000_000];
    served.deliver(&large);
    send(&socket, NEXT);
    let got = receive(&socket);
    assert!(
        got.ends_with(&large[..]) && got.len() < large.len() + 1000,
        "{}",
        got.len()
    );
    let head = format!(
        "POST /2018-06-01/runtime/invocation/r/response HTTP/1.1\r\nContent-Length: {}\r\n\r\n",
        large.len()
    );
    send(&socket, head.as_bytes());
    send(&socket, &large);
    assert!(
        served.events().iter().any(
            |event| matches!(event, RuntimeEvent::Response { payload, .. } if *payload == large)
        )
    );
}

/// Bytes of the pieces that were told.
fn pieces(events: &[RuntimeEvent]) -> usize {
    let lengths = events.iter().map(|event| match event {
        RuntimeEvent::ResponsePiece { data, .. } => data.len(),
        _ => 0,
    });
    lengths.sum()
}

#[test]
fn a_stream_whose_reader_stalls_fills_the_guests_socket_and_nothing_else() {
    let served = serve();
    let socket = served.connect();
    send(&socket, NEXT);
    served.deliver(b"{}");
    receive(&socket);
    served.events();
    let total = 64 << 20;
    let head = format!(
        "POST /2018-06-01/runtime/invocation/r/response HTTP/1.1\r\nContent-Length: {total}\r\n\
         Lambda-Runtime-Function-Response-Mode: streaming\r\n\r\n"
    );
    send(&socket, head.as_bytes());
    let window = usize::try_from(STREAM_WINDOW).unwrap();
    let chunk = vec![b'x'; 1 << 20];
    let (mut sent, mut told, mut last) = (0, 0, None);
    while told < total {
        // Writes until it would have to wait.
        while sent < total {
            let data = &chunk[..chunk.len().min(total - sent)];
            match socket.send(&Caller::kernel(), Outgoing::bytes(data)) {
                Ok(count) => sent += count,
                Err(Errno::EAGAIN) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
        let events = served.events();
        let now = pieces(&events);
        last = events.last().cloned().or(last);
        assert!(now <= window, "{now}");
        told += now;
        assert!(sent - told < 16 << 20, "{sent} are held for {told}");
        served.server.credit("r", now as u64);
    }
    let last = served.events().pop().or(last);
    let ended = matches!(last, Some(RuntimeEvent::ResponseEnd { failure: None, .. }));
    assert!(ended, "{last:?}");
    assert!(receive(&socket).starts_with(b"HTTP/1.1 202 "));
}

#[test]
fn a_guest_that_ends_while_its_reader_stalls_is_told_when_the_reader_goes_on() {
    let served = serve();
    let socket = served.connect();
    send(&socket, NEXT);
    served.deliver(b"{}");
    let head = "POST /2018-06-01/runtime/invocation/r/response HTTP/1.1\r\nContent-Length: 9999999\r\n\
         Lambda-Runtime-Function-Response-Mode: streaming\r\n\r\n";
    send(&socket, head.as_bytes());
    send(&socket, &vec![b'x'; 300_000]);
    socket.close();
    served.server.credit("r", STREAM_WINDOW);
    let events = served.events();
    assert_eq!(pieces(&events), 300_000);
    let truncated = RuntimeEvent::ResponseEnd {
        request_id: "r".into(),
        failure: Some(Outcome::Truncated),
        body: Vec::new(),
    };
    assert_eq!(events.last(), Some(&truncated));
}

#[test]
fn a_runtime_that_hangs_up_is_noticed() {
    let served = serve();
    let socket = served.connect();
    send(&socket, NEXT);
    served.deliver(b"{}");
    send(
        &socket,
        b"POST /2018-06-01/runtime/invocation/r/response HTTP/1.1\r\nContent-Length: 9\r\n\r\n42",
    );
    served.events();
    socket.close();
    assert!(matches!(&served.events()[..], [RuntimeEvent::Error { .. }]));
    let socket = served.connect();
    send(&socket, NEXT);
    assert_eq!(served.events(), [RuntimeEvent::Idle]);
}

/// It ends between asking for an event and reading it: nobody has begun with that.
#[test]
fn an_event_that_is_not_read_to_its_end_is_nobodys() {
    let not_read = RuntimeEvent::NotRead {
        request_id: "r".into(),
    };
    for read in [0, 1, 100] {
        let served = serve();
        let socket = served.connect();
        send(&socket, NEXT);
        served.deliver(b"{}");
        served.events();
        if read > 0 {
            let got = socket.recv(&mut vec![0; read], MsgFlags::empty()).unwrap();
            assert_eq!(got.copied, read);
        }
        socket.close();
        assert_eq!(
            served.events(),
            std::slice::from_ref(&not_read),
            "{read} bytes read"
        );
    }
    let served = serve();
    let socket = served.connect();
    send(&socket, NEXT);
    served.deliver(b"{}");
    receive(&socket);
    served.events();
    socket.close();
    assert_eq!(served.events(), [], "it had all of it");
}

#[test]
fn connections_beyond_the_limit_are_refused_and_closed_ones_make_room() {
    let served = serve();
    let mut sockets: Vec<_> = (0..RuntimeLimits::default().connections)
        .map(|_| served.connect())
        .collect();
    let refused = served.connect();
    assert!(!matches!(
        refused.recv(&mut [0; 8], MsgFlags::empty()),
        Err(Errno::EAGAIN)
    ));
    sockets.pop().unwrap().close();
    let socket = served.connect();
    send(&socket, b"GET /ping HTTP/1.1\r\n\r\n");
    assert!(receive(&socket).ends_with(b"pong"));
}

#[test]
fn guests_that_send_from_many_threads_are_all_answered() {
    let served = serve();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let socket = served.connect();
                for _ in 0..200 {
                    send(&socket, b"GET /ping HTTP/1.1\r\n\r\n");
                    let mut got = Vec::new();
                    base_eventually::eventually("it is answered", || {
                        got.extend(receive(&socket));
                        got.ends_with(b"pong")
                    });
                }
            });
        }
    });
}
