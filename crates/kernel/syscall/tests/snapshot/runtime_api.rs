//! The kernel's own server, and the Runtime API on it.

use std::time::Duration;

use kernel_net::endpoint::Listener;
use kernel_vfs::save::LoadError;
use sandbox_api::ApiServer;
use sandbox_runtime::{Event, RuntimeEvent, RuntimeLimits};

use crate::guest::{boot, limit};
use crate::moving::{move_house, wait_for, wait_until_asleep};

#[test]
fn a_request_to_the_kernels_own_server_is_answered_after_the_move() {
    let program = "
import socket
c = socket.create_connection(('169.254.100.1', 9001))
c.sendall(b'GET /next')
print('ready', flush=True)
print(c.recv(99), c.getpeername())
";
    let address = "169.254.100.1:9001".parse().unwrap();
    let machine = boot(Duration::ZERO);
    let listener = Listener::bind(&machine.system.net, address, 8).unwrap();
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", program]);
    wait_for(&machine, "ready\n");
    wait_until_asleep(&machine);
    let stream = listener.accept().unwrap();
    let mut request = [0; 99];
    assert_eq!(stream.read(&mut request), Ok(9));
    // An instance that waits for its next event is frozen; so is the copy until somebody thaws it.
    machine.system.kernel.freeze(limit()).unwrap();
    let next = move_house(machine);
    let resumed = next.system.net.take_resumed();
    assert_eq!(resumed.len(), 1);
    assert_eq!(resumed[0].write(b"an event"), Ok(8));
    assert_eq!(
        next.finish().expect_success(),
        "b'an event' ('169.254.100.1', 9001)\n"
    );
}

/// What the Runtime API told, without what a test does not look at.
fn told(events: &std::sync::mpsc::Receiver<RuntimeEvent>) -> Vec<RuntimeEvent> {
    events.try_iter().collect()
}

#[test]
fn the_runtime_api_goes_on_where_its_runtime_waited() {
    let program = "
import http.client
c = http.client.HTTPConnection('169.254.100.1:9001')
def get(path):
    c.request('GET', '/2018-06-01/runtime/' + path)
    return c.getresponse()
print('ready', flush=True)
print(get('restore/next').read())
r = get('invocation/next')
print(r.headers['Lambda-Runtime-Aws-Request-Id'], r.read())
c.request('POST', '/2018-06-01/runtime/invocation/r1/response', b'an answer')
print(c.getresponse().status)
";
    let address = "169.254.100.1:9001".parse().unwrap();
    let machine = boot(Duration::ZERO);
    let sink = |tell: std::sync::mpsc::Sender<RuntimeEvent>| -> sandbox_api::Sink {
        let tell = std::sync::Mutex::new(tell);
        Box::new(move |event| tell.lock().unwrap().send(event).unwrap())
    };
    let (tell, events) = std::sync::mpsc::channel();
    let net = &machine.system.net;
    let start = proto_sandbox::Initialization::SnapStart;
    let server =
        ApiServer::start(net, address, RuntimeLimits::default(), start, sink(tell)).unwrap();
    machine.start(&["/usr/bin/python3", "-I", "-S", "-c", program]);
    wait_for(&machine, "ready\n");
    wait_until_asleep(&machine);
    assert_eq!(
        told(&events),
        [RuntimeEvent::Connected, RuntimeEvent::RestorePoint]
    );
    let saved = server.save().unwrap();
    let next = move_house(machine);
    drop(server);

    let (tell, events) = std::sync::mpsc::channel();
    let net = &next.system.net;
    for bad in [
        &saved[..saved.len() - 1],
        &[saved.as_slice(), b"x"].concat(),
    ] {
        let (tell, _) = std::sync::mpsc::channel();
        let refused = ApiServer::load(net, address, RuntimeLimits::default(), sink(tell), bad);
        assert!(matches!(refused.err(), Some(LoadError::Malformed(_))));
    }
    let server =
        ApiServer::load(net, address, RuntimeLimits::default(), sink(tell), &saved).unwrap();
    assert!(server.resume(&[("KEY".to_owned(), "late".to_owned())]));
    let head = proto_sandbox::EventHead {
        request_id: "r1".to_owned(),
        ..Default::default()
    };
    let payload = b"an event".to_vec();
    server.deliver(Event { head, payload }).unwrap();
    assert_eq!(
        next.finish().expect_success(),
        "b'{\"environment\":{\"KEY\":\"late\"}}'\nr1 b'an event'\n202\n"
    );
    assert!(matches!(
        told(&events).as_slice(),
        [RuntimeEvent::Ready, RuntimeEvent::Response { payload, .. }] if payload == b"an answer"
    ));
}
