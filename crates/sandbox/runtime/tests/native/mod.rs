//! Serves the Runtime API on a host TCP port, so that bootstraps and runtimes can be
//! tried natively. Only for tests: production attaches the state machine to a socket
//! inside the sandbox's own kernel.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;

use proto_sandbox::Initialization;
use sandbox_runtime::{ConnectionId, Event, RuntimeApi, RuntimeEvent, RuntimeLimits};

struct Shared {
    runtime: RuntimeApi,
    streams: BTreeMap<ConnectionId, TcpStream>,
    events: mpsc::Sender<RuntimeEvent>,
}

/// A Runtime API behind a TCP port of its own.
#[derive(Clone)]
pub(crate) struct ApiServer {
    shared: Arc<Mutex<Shared>>,
    credited: Arc<Condvar>,
    pub(crate) address: SocketAddr,
}

impl ApiServer {
    /// Listens and serves until the process ends; events come out of the receiver.
    pub(crate) fn start(initialization: Initialization) -> (Self, mpsc::Receiver<RuntimeEvent>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (events, receiver) = mpsc::channel();
        let runtime = RuntimeApi::new(RuntimeLimits::default(), initialization);
        let shared = Shared {
            runtime,
            streams: BTreeMap::new(),
            events,
        };
        let server = Self {
            shared: Arc::new(Mutex::new(shared)),
            credited: Arc::default(),
            address,
        };
        let accepting = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = accepting.clone();
                thread::spawn(move || server.serve(stream));
            }
        });
        (server, receiver)
    }

    /// Hands an event to the runtime.
    pub(crate) fn deliver(&self, event: Event) {
        let mut shared = self.shared.lock().unwrap();
        shared.runtime.deliver(event).expect("no event is running");
        shared.flush();
    }

    /// Lets more of a streamed response come.
    pub(crate) fn credit(&self, request_id: &str, bytes: u64) {
        let mut shared = self.shared.lock().unwrap();
        shared.runtime.credit(request_id, bytes);
        shared.flush();
        self.credited.notify_all();
    }

    /// Answers `restore/next`.
    pub(crate) fn resume(&self, environment: &[(String, String)]) -> bool {
        let mut shared = self.shared.lock().unwrap();
        let resumed = shared.runtime.resume(environment);
        shared.flush();
        resumed
    }

    fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let Some(id) = ({
            let mut shared = self.shared.lock().unwrap();
            let id = shared.runtime.open();
            if let Some(id) = id {
                shared.streams.insert(id, stream.try_clone().unwrap());
            }
            shared.flush();
            id
        }) else {
            return;
        };
        let mut bytes = vec![0; 64 * 1024];
        loop {
            let count = stream.read(&mut bytes).unwrap_or(0);
            let mut shared = self.shared.lock().unwrap();
            if count == 0 {
                shared.runtime.close(id);
                shared.streams.remove(&id);
                shared.flush();
                return;
            }
            let mut rest = &bytes[..count];
            loop {
                rest = &rest[shared.runtime.input(id, rest)..];
                shared.flush();
                if rest.is_empty() {
                    break;
                }
                shared = self.credited.wait(shared).unwrap();
            }
        }
    }
}

impl Shared {
    fn flush(&mut self) {
        for (id, stream) in &mut self.streams {
            let output = self.runtime.output(*id).to_vec();
            let _ = stream.write_all(&output);
            self.runtime.consume_output(*id, output.len());
        }
        while let Some(event) = self.runtime.next_event() {
            let _ = self.events.send(event);
        }
    }
}
