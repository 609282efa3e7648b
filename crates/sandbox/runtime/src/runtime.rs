//! The Runtime API of one instance: its connections, its state, its events.

use std::collections::{BTreeMap, VecDeque};

use proto_sandbox::{Initialization, Outcome};
use serde::{Deserialize, Serialize};

use crate::answer::HttpAnswer;
use crate::connection::{Connection, ConnectionId, Received, Size, Step};
use crate::event::{Event, RuntimeEvent};
use crate::head::{Delivery, Framing, Head};
use crate::limits::RuntimeLimits;
use crate::request::{self, Request};
use crate::route::{self, NoRoute, RuntimeRoute};
use crate::state::{InvocationNames, RuntimeState, Waiting};

/// An event was delivered while another is being worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// The Runtime API as one guest sees it.
#[derive(Debug, Serialize, Deserialize)]
pub struct RuntimeApi {
    #[serde(skip)]
    pub(crate) limits: RuntimeLimits,
    initialization: Initialization,
    pub(crate) state: RuntimeState,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) requests: BTreeMap<ConnectionId, Request>,
    pub(crate) next_id: u64,
    /// Connections that wait in `/next`, the longest waiting first.
    pub(crate) parked: VecDeque<ConnectionId>,
    /// An event that nobody has asked for yet.
    pending: Option<Event>,
    /// The connection on which the running event was given.
    #[serde(skip)]
    given: Option<ConnectionId>,
    #[serde(skip)]
    pub(crate) events: VecDeque<RuntimeEvent>,
}

impl RuntimeApi {
    /// A Runtime API whose guest has not connected yet.
    pub fn new(limits: RuntimeLimits, initialization: Initialization) -> Self {
        Self {
            limits,
            initialization,
            state: RuntimeState::Started,
            connections: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_id: 0,
            parked: VecDeque::new(),
            pending: None,
            given: None,
            events: VecDeque::new(),
        }
    }

    /// The guest connected. `None` when it has too many connections: reset this one.
    pub fn open(&mut self) -> Option<ConnectionId> {
        if self.connections.len() >= self.limits.connections {
            return None;
        }
        if self.next_id == 0 {
            self.events.push_back(RuntimeEvent::Connected);
        }
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        self.connections.insert(id, Connection::new());
        Some(id)
    }

    /// Takes bytes that the guest sent and says how many; the rest must be offered
    /// again after more output was read or an event was delivered.
    pub fn input(&mut self, id: ConnectionId, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while let Some(connection) = self.connections.get_mut(&id) {
            match connection.step(&mut rest, &self.limits) {
                Step::Wait => break,
                Step::Head(head) => self.begin(id, head),
                Step::Piece(data) => self.hand_on(id, data),
                Step::Overrun => self.too_large(id),
                Step::Body(body) => self.complete(id, body),
                Step::Broken => self.abandon(id),
            }
        }
        bytes.len() - rest.len()
    }

    /// The guest shut its sending side down.
    pub fn end_of_input(&mut self, id: ConnectionId) {
        // Nobody may be reading any more: an event handed over here could be lost.
        self.parked.retain(|parked| *parked != id);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.end_of_input();
            self.abandon(id);
        }
    }

    /// The connection is gone in both directions.
    pub fn close(&mut self, id: ConnectionId) {
        self.abandon(id);
        self.connections.remove(&id);
        self.parked.retain(|parked| *parked != id);
    }

    /// The same, and what was sent there last had not been read to its end: if that was an event, nobody has it.
    pub fn close_unread(&mut self, id: ConnectionId) {
        let answers =
            |request: &Request| matches!(request, Request::Response { .. } | Request::Error { .. });
        if self.given == Some(id)
            && !self.requests.values().any(answers)
            && let RuntimeState::Running(invocation) = &self.state
        {
            let request_id = invocation.request_id.clone();
            self.events.push_back(RuntimeEvent::NotRead { request_id });
            self.state = RuntimeState::HttpAnswered(invocation.clone());
        }
        self.close(id);
    }

    /// Bytes for the guest; [`RuntimeApi::consume_output`] says how many were sent.
    pub fn output(&self, id: ConnectionId) -> &[u8] {
        self.connections.get(&id).map_or(&[], Connection::output)
    }

    /// `count` bytes of [`RuntimeApi::output`] are on their way.
    pub fn consume_output(&mut self, id: ConnectionId, count: usize) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.consume_output(count);
        }
    }

    /// All output is sent and nothing more will be read: close the connection.
    /// Also true for connections that do not exist.
    pub fn is_finished(&self, id: ConnectionId) -> bool {
        self.connections
            .get(&id)
            .is_none_or(Connection::is_finished)
    }

    /// Hands an event to the runtime, now or when it asks for one.
    pub fn deliver(&mut self, event: Event) -> Result<(), Busy> {
        let working = matches!(
            self.state,
            RuntimeState::Running(_) | RuntimeState::Responding(..)
        );
        if working || self.pending.is_some() {
            return Err(Busy);
        }
        self.pending = Some(event);
        self.hand_over();
        Ok(())
    }

    /// Lets a runtime that waits in `/restore/next` or `/template/next` go on, as the original or as a clone;
    /// `environment` is what it could not have had in a snapshot. Whether one waited.
    pub fn resume(&mut self, environment: &[(String, String)]) -> bool {
        let id = match self.state {
            RuntimeState::RestoreReady(id) => {
                self.state = RuntimeState::RestoreRunning;
                id
            }
            RuntimeState::TemplateReady(id) => {
                self.state = RuntimeState::Started;
                self.initialization = Initialization::SnapStart;
                id
            }
            _ => return false,
        };
        self.answer(id, &HttpAnswer::restored(environment));
        // Requests that were pipelined behind this one are next.
        self.input(id, &[]);
        true
    }

    /// Whoever reads the streamed response to `request_id` is `bytes` further: as many more may be under way.
    /// What is no such response any more is left alone.
    pub fn credit(&mut self, request_id: &str, bytes: u64) {
        let id = match &self.state {
            RuntimeState::Responding(invocation, id) if invocation.request_id == request_id => *id,
            _ => return,
        };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.grant(bytes, self.limits.window_bytes);
        }
        // What came along with the head of the response is next.
        self.input(id, &[]);
    }

    /// What the guest did, oldest first.
    pub fn next_event(&mut self) -> Option<RuntimeEvent> {
        self.events.pop_front()
    }

    /// Judges a request by its head, before its body is held.
    fn begin(&mut self, id: ConnectionId, head: Head) {
        let request = self.admit(id, &head);
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let keep = request.limit(&self.limits);
        if head.expects_continue && head.framing != Framing::Length(0) {
            let too_long = matches!(head.framing, Framing::Length(length) if length > keep);
            match request {
                Request::Refused(answer) => {
                    // The guest has not sent the body and, seeing this, may not: stop here.
                    connection.fail(&answer);
                    return;
                }
                _ if too_long => {
                    connection.fail(&HttpAnswer::body_too_large(keep));
                    self.requests.insert(id, request);
                    return self.too_large(id);
                }
                _ => connection.encourage(),
            }
        }
        connection.expect_body(request.body(head.framing, &self.limits));
        self.events.extend(request.announced());
        self.requests.insert(id, request);
    }

    /// Tells of a part of a streamed response.
    fn hand_on(&mut self, id: ConnectionId, data: Vec<u8>) {
        let request = self.requests.get(&id);
        self.events
            .extend(request.and_then(|request| request.piece(data)));
    }

    fn admit(&mut self, id: ConnectionId, head: &Head) -> Request {
        let route = match route::find(self.initialization, &head.method, &head.path) {
            Ok(route) => route,
            Err(NoRoute::NotFound) => return Request::Refused(HttpAnswer::not_found()),
            Err(NoRoute::Method(allowed)) => {
                return Request::Refused(HttpAnswer::method_not_allowed(allowed));
            }
        };
        let invocation_id = head.invocation_id.as_deref();
        let mut begin = |request_id: &str, wanted| {
            self.state
                .begin_answer(id, request_id, invocation_id, wanted)
        };
        match route {
            RuntimeRoute::Ping => Request::Ping,
            RuntimeRoute::Next => Request::Next,
            RuntimeRoute::Response(request_id) => match begin(&request_id, "InvocationResponse") {
                Ok(invocation) => Request::Response {
                    invocation,
                    content_type: head.content_type.clone(),
                    delivery: head.delivery,
                },
                Err(answer) => Request::Refused(answer),
            },
            RuntimeRoute::Error(request_id) => {
                match begin(&request_id, "InvocationErrorResponse") {
                    Ok(invocation) => Request::Error {
                        invocation,
                        error_type: head.error_type.clone(),
                    },
                    Err(answer) => Request::Refused(answer),
                }
            }
            RuntimeRoute::InitError => match self.state {
                RuntimeState::Started => {
                    self.state = RuntimeState::InitError;
                    Request::InitError {
                        error_type: head.error_type.clone(),
                    }
                }
                _ => Request::Refused(self.state.refuse("InitError")),
            },
            RuntimeRoute::RestoreNext => Request::RestoreNext,
            RuntimeRoute::TemplateNext => Request::TemplateNext,
            RuntimeRoute::RestoreError => match self.state {
                RuntimeState::RestoreRunning => {
                    self.state = RuntimeState::RestoreError;
                    Request::RestoreError {
                        error_type: head.error_type.clone(),
                    }
                }
                _ => Request::Refused(self.state.refuse("RestoreError")),
            },
        }
    }

    /// Acts on a request whose body is complete.
    fn complete(&mut self, id: ConnectionId, body: Received) {
        if body.size == Size::TooLarge
            && !self.requests.get(&id).is_some_and(Request::needs_no_body)
        {
            self.too_large(id);
            return self.answer(id, &HttpAnswer::body_too_large(body.limit));
        }
        match self.requests.remove(&id) {
            None => {}
            Some(Request::Refused(answer)) => self.answer(id, &answer),
            Some(Request::Ping) => self.answer(id, &HttpAnswer::pong()),
            Some(Request::Next) => self.park(id),
            Some(Request::RestoreNext) => match self.state {
                RuntimeState::Started => {
                    self.state = RuntimeState::RestoreReady(id);
                    self.events.push_back(RuntimeEvent::RestorePoint);
                }
                _ => {
                    let answer = self.state.refuse("RestoreReady");
                    self.answer(id, &answer);
                }
            },
            Some(Request::TemplateNext) => match self.state {
                RuntimeState::Started => {
                    self.state = RuntimeState::TemplateReady(id);
                    self.events.push_back(RuntimeEvent::RestorePoint);
                }
                _ => {
                    let answer = self.state.refuse("TemplateReady");
                    self.answer(id, &answer);
                }
            },
            Some(Request::RestoreError { error_type }) => {
                self.events.push_back(RuntimeEvent::RestoreError {
                    error_type,
                    body: body.data,
                });
                self.answer(id, &HttpAnswer::accepted());
            }
            Some(Request::Response {
                invocation,
                content_type,
                delivery,
            }) => {
                let told = request::answered(&invocation, content_type, delivery, body);
                self.events.push_back(told);
                self.state = RuntimeState::HttpAnswered(invocation);
                self.answer(id, &HttpAnswer::accepted());
            }
            Some(Request::Error {
                invocation,
                error_type,
            }) => {
                let request_id = invocation.request_id.clone();
                let outcome = Outcome::Function { error_type };
                self.events.push_back(RuntimeEvent::Error {
                    request_id,
                    outcome,
                    body: body.data,
                });
                self.state = RuntimeState::HttpAnswered(invocation);
                self.answer(id, &HttpAnswer::accepted());
            }
            Some(Request::InitError { error_type }) => {
                self.events.push_back(RuntimeEvent::InitError {
                    error_type,
                    body: body.data,
                });
                self.answer(id, &HttpAnswer::accepted());
            }
        }
    }

    fn park(&mut self, id: ConnectionId) {
        match self.state {
            RuntimeState::Started | RuntimeState::RestoreRunning => {
                self.events.push_back(RuntimeEvent::Ready)
            }
            RuntimeState::HttpAnswered(_) => self.events.push_back(RuntimeEvent::Idle),
            RuntimeState::Ready => {}
            RuntimeState::InitError
            | RuntimeState::RestoreReady(_)
            | RuntimeState::TemplateReady(_)
            | RuntimeState::RestoreError
            | RuntimeState::Running(_)
            | RuntimeState::Responding(..) => {
                let answer = self.state.refuse("Ready");
                return self.answer(id, &answer);
            }
        }
        self.state = RuntimeState::Ready;
        self.parked.push_back(id);
        self.hand_over();
    }

    /// What the guest's runtime waits for, if it does nothing else.
    pub fn waits_for(&self) -> Option<Waiting> {
        match &self.state {
            RuntimeState::RestoreReady(_) => Some(Waiting::RestoreNext),
            RuntimeState::TemplateReady(_) => Some(Waiting::TemplateNext),
            RuntimeState::Ready => Some(Waiting::Next),
            _ => None,
        }
    }

    /// Gives the pending event to the connection that waits longest, if there are both.
    fn hand_over(&mut self) {
        if self.state != RuntimeState::Ready || self.pending.is_none() {
            return;
        }
        let Some(id) = self.parked.pop_front() else {
            return;
        };
        let Some(event) = self.pending.take() else {
            return;
        };
        self.state = RuntimeState::Running(InvocationNames::from(&event.head));
        self.given = Some(id);
        self.answer(id, &HttpAnswer::event(event));
        // Requests that were pipelined behind this one are next.
        self.input(id, &[]);
    }

    fn answer(&mut self, id: ConnectionId, answer: &HttpAnswer) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.answer(answer);
        }
    }

    fn too_large(&mut self, id: ConnectionId) {
        self.give_up(id, Outcome::ResponseTooLarge);
    }

    /// The connection's request will never be complete.
    fn abandon(&mut self, id: ConnectionId) {
        if self.state == RuntimeState::RestoreReady(id)
            || self.state == RuntimeState::TemplateReady(id)
        {
            // Nobody is there to be told: it may ask again.
            self.state = RuntimeState::Started;
        }
        self.give_up(id, Outcome::Truncated);
    }

    fn give_up(&mut self, id: ConnectionId, outcome: Outcome) {
        let (invocation, delivery) = match self.requests.remove(&id) {
            Some(Request::Response {
                invocation,
                delivery,
                ..
            }) => (invocation, delivery),
            Some(Request::Error { invocation, .. }) => (invocation, Delivery::Buffered),
            Some(Request::InitError { error_type }) => {
                self.events.push_back(RuntimeEvent::InitError {
                    error_type,
                    body: Vec::new(),
                });
                return;
            }
            Some(Request::RestoreError { error_type }) => {
                self.events.push_back(RuntimeEvent::RestoreError {
                    error_type,
                    body: Vec::new(),
                });
                return;
            }
            Some(
                Request::Refused(_)
                | Request::Ping
                | Request::Next
                | Request::RestoreNext
                | Request::TemplateNext,
            )
            | None => return,
        };
        let told = request::broken_off(&invocation, delivery, outcome);
        self.events.push_back(told);
        self.state = RuntimeState::HttpAnswered(invocation);
    }
}
