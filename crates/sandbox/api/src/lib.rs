//! Serves the Lambda Runtime API on an address inside the sandbox: the state machine of
//! `sandbox-runtime` behind a listener of the sandbox's own network.
//!
//! It has no thread. A guest that sends runs the server inside its own system call, by the
//! notification that its bytes cause; the answer is in its buffer when the call returns.
//! Whoever delivers an event runs it too. Two at once do not wait for each other: the second
//! leaves a note and the first goes round again.
//!
//! # Locks
//! `ApiServer::state` is taken before the locks of the network and is never waited for by a
//! notification. The sink is called with it held, so that events keep their order; a sink
//! must not call back and must not stop the guest itself (the guest's thread may be the
//! one that runs it): it hands that to a thread of its own.
#![forbid(unsafe_code)]

mod saved;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base_abi::Errno;
use kernel_net::NetStack;
use kernel_net::endpoint::{Listener, Stream};
use kernel_vfs::{Events, Notify, Registration};
use parking_lot::Mutex;
use proto_sandbox::Initialization;
use sandbox_runtime::{
    Busy, ConnectionId, Event, RuntimeApi, RuntimeEvent, RuntimeLimits, Waiting,
};

/// Connections that may wait to be accepted.
const BACKLOG: u16 = 64;
/// Bytes read from a connection at once.
const READ_SIZE: usize = 64 * 1024;

/// Receives what the guest's runtime does, in order.
pub type Sink = Box<dyn FnMut(RuntimeEvent) + Send>;

/// The Runtime API of one sandbox; it ends when dropped.
pub struct ApiServer {
    listener: Listener,
    state: Mutex<State>,
    /// Something happened that the one who runs the server may not have seen.
    again: AtomicBool,
    myself: Weak<ApiServer>,
}

struct State {
    sink: Sink,
    runtime: RuntimeApi,
    first: Option<First>,
    connections: BTreeMap<ConnectionId, Connection>,
    buffer: Box<[u8]>,
    _listening: Vec<Registration>,
}

/// An event that waits for the runtime to ask for its first.
struct First {
    event: Event,
    /// From when it asks.
    timeout: Duration,
    /// When it was delivered.
    since: Instant,
}

struct Connection {
    stream: Stream,
    /// Read, and not taken by the state machine yet.
    held: Vec<u8>,
    ended: bool,
    _registrations: Vec<Registration>,
}

impl ApiServer {
    /// Listens at `address` of the sandbox.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` when the address is not the sandbox's, `EADDRINUSE`, `ENFILE`.
    pub fn start(
        stack: &Arc<NetStack>,
        address: SocketAddr,
        limits: RuntimeLimits,
        initialization: Initialization,
        sink: Sink,
    ) -> Result<Arc<Self>, Errno> {
        let runtime = RuntimeApi::new(limits, initialization);
        let server = Self::listen(stack, address, runtime, sink)?;
        server.run();
        Ok(server)
    }

    /// Listens, and serves nobody yet.
    fn listen(
        stack: &Arc<NetStack>,
        address: SocketAddr,
        runtime: RuntimeApi,
        sink: Sink,
    ) -> Result<Arc<Self>, Errno> {
        let listener = Listener::bind(stack, address, BACKLOG)?;
        let state = Mutex::new(State {
            sink,
            runtime,
            first: None,
            connections: BTreeMap::new(),
            buffer: vec![0; READ_SIZE].into_boxed_slice(),
            _listening: Vec::new(),
        });
        let server = Arc::new_cyclic(|myself| Self {
            listener,
            state,
            again: AtomicBool::new(false),
            myself: Weak::clone(myself),
        });
        let target: Arc<dyn Notify> = Arc::clone(&server) as Arc<dyn Notify>;
        let (listening, _) = server.listener.watch(target, Events::IN);
        server.state.lock()._listening = listening;
        Ok(server)
    }

    /// Hands an event to the guest's runtime, now or when it asks for one.
    ///
    /// # Errors
    /// [`Busy`] while it works on another.
    pub fn deliver(&self, event: Event) -> Result<(), Busy> {
        self.state.lock().runtime.deliver(event)?;
        self.run();
        Ok(())
    }

    /// Has an event ready for a runtime that will ask for its first, or waits for it already: it is told as
    /// [`RuntimeEvent::Begun`], before the runtime can know of it, and has `timeout` from then.
    pub fn deliver_first(&self, event: Event, timeout: Duration) {
        let since = Instant::now();
        let first = First {
            event,
            timeout,
            since,
        };
        self.state.lock().first = Some(first);
        self.run();
    }

    /// Answers a runtime that waits in `/restore/next`; `environment` is what it could not have
    /// had in a snapshot. Whether one waited.
    pub fn resume(&self, environment: &[(String, String)]) -> bool {
        let resumed = self.state.lock().runtime.resume(environment);
        self.run();
        resumed
    }

    /// Whoever reads the streamed response to `request_id` has taken `bytes` of it: the guest may send as many more.
    pub fn credit(&self, request_id: &str, bytes: u64) {
        self.state.lock().runtime.credit(request_id, bytes);
        self.run();
    }

    /// What the runtime waits for, if it waits.
    pub fn waits_for(&self) -> Option<Waiting> {
        self.state.lock().runtime.waits_for()
    }

    /// Does whatever can be done now.
    fn run(&self) {
        loop {
            self.again.store(true, Ordering::SeqCst);
            let Some(mut state) = self.state.try_lock() else {
                // Whoever holds it looks at `again` after letting go.
                return;
            };
            while self.again.swap(false, Ordering::SeqCst) {
                self.serve(&mut state);
            }
            drop(state);
            if !self.again.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    fn serve(&self, state: &mut State) {
        self.accept(state);
        let State {
            sink,
            runtime,
            first,
            connections,
            buffer,
            ..
        } = state;
        tell(sink, runtime, first);
        for (id, connection) in connections.iter_mut() {
            // What the runtime did is told before it has its answer.
            while connection.write(*id, runtime) | connection.read(*id, runtime, buffer) {
                tell(sink, runtime, first);
            }
        }
        // Events handed over meanwhile may be output of connections that were looked at before.
        connections.retain(|id, connection| {
            connection.write(*id, runtime);
            let finished = runtime.is_finished(*id);
            if finished {
                runtime.close(*id);
            }
            !finished
        });
        tell(sink, runtime, first);
    }

    fn accept(&self, state: &mut State) {
        let Some(target) = self.myself.upgrade() else {
            return;
        };
        while let Ok(stream) = self.listener.accept() {
            // One too many is dropped, which resets it.
            let Some(id) = state.runtime.open() else {
                continue;
            };
            let connection = Connection::new(stream, &target);
            state.connections.insert(id, connection);
        }
    }
}

/// Tells what the runtime did, and lets it begin with an event that waits for it.
fn tell(sink: &mut Sink, runtime: &mut RuntimeApi, first: &mut Option<First>) {
    while let Some(event) = runtime.next_event() {
        // Said as `Begun`.
        if event != RuntimeEvent::Ready || first.is_none() {
            sink(event);
        }
    }
    if runtime.waits_for() == Some(Waiting::Next)
        && let Some(mut first) = first.take()
    {
        let hooks = first.since.elapsed();
        sink(RuntimeEvent::Begun { hooks });
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let deadline = now.unwrap_or_default().saturating_add(first.timeout);
        first.event.head.deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        if runtime.deliver(first.event).is_err() {
            tracing::warn!("an event came while another was worked on; it was dropped");
        }
    }
}

impl Notify for ApiServer {
    fn notify(&self, _: Events) {
        self.run();
    }
}

impl Connection {
    fn new(stream: Stream, server: &Arc<ApiServer>) -> Self {
        let target: Arc<dyn Notify> = Arc::clone(server) as Arc<dyn Notify>;
        let interest = Events::IN | Events::OUT | Events::RDHUP;
        let (registrations, _) = stream.watch(target, interest);
        Self {
            stream,
            held: Vec::new(),
            ended: false,
            _registrations: registrations,
        }
    }

    /// Sends what fits; whether anything did.
    fn write(&mut self, id: ConnectionId, runtime: &mut RuntimeApi) -> bool {
        let output = runtime.output(id);
        if output.is_empty() {
            return false;
        }
        match self.stream.write(output) {
            Ok(count) => {
                runtime.consume_output(id, count);
                count > 0
            }
            Err(Errno::EAGAIN | Errno::ENOBUFS) => false,
            Err(error) => {
                tracing::debug!(?error, "a runtime hung up");
                runtime.close_unread(id);
                self.ended = true;
                false
            }
        }
    }

    /// Takes what has come and may be taken; whether anything was. What may not stays here, and behind it with the
    /// guest, whose write then waits.
    fn read(&mut self, id: ConnectionId, runtime: &mut RuntimeApi, buffer: &mut [u8]) -> bool {
        if !self.held.is_empty() {
            let taken = runtime.input(id, &self.held);
            self.held.drain(..taken);
            return taken > 0;
        }
        if self.ended {
            return false;
        }
        match self.stream.read(buffer) {
            Ok(0) => {
                self.ended = true;
                runtime.end_of_input(id);
                true
            }
            Ok(count) => {
                let taken = runtime.input(id, &buffer[..count]);
                self.held.extend_from_slice(&buffer[taken..count]);
                true
            }
            Err(Errno::EAGAIN) => false,
            Err(_) => {
                self.ended = true;
                match self.stream.never_read() {
                    0 => runtime.close(id),
                    _ => runtime.close_unread(id),
                }
                false
            }
        }
    }
}
