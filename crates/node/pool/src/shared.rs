//! Acts on what is decided: holds the waiting events and the orders of the instances.
//!
//! Lock order: `Shared::state` is the only lock here and is never held across an await
//! or a call out of this module (channels that never block, and the spawning of tasks, excepted).

mod act;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use node_logs::LogHub;
use parking_lot::Mutex;
use proto_node::{FunctionSpec, InvokeError, Revision};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, oneshot};

use crate::clock;
use crate::config::PoolConfig;
use crate::decide::{
    Action, Decider, Input, InstanceId, Kind, Limits, PoolView, Rejection, Target, TicketId,
};
use crate::invocation::{Invocation, Order};
use crate::launch::Launcher;
use crate::terms::shape;

/// Times that an event may be given to an instance which ends before it begins with it.
const MAX_LOST: u8 = 3;
/// All that makes an instance.
pub(crate) struct Begin {
    pub(crate) id: InstanceId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) function: Arc<FunctionSpec>,
    /// In which it comes up the first time.
    pub(crate) shell: Option<InstanceId>,
    pub(crate) orders: UnboundedReceiver<Order>,
}

/// The time of a preparation has come.
pub(crate) struct Seat {
    pub(crate) id: InstanceId,
    pub(crate) orders: UnboundedReceiver<Order>,
}

/// What the pool's callers, its instances and its timer have in common.
pub(crate) struct Shared {
    pub(crate) launcher: Arc<dyn Launcher>,
    pub(crate) hub: Arc<LogHub>,
    pub(crate) init_timeout: Duration,
    pub(crate) limits: Limits,
    /// Has an instance live, as a task.
    begin: fn(&Handle, Begin),
    /// Where tasks run, also those of a pool that is dropped elsewhere.
    runtime: Handle,
    /// For new tasks to hold on to.
    myself: Weak<Shared>,
    state: Mutex<State>,
    /// Something ended: whoever waits for that looks again.
    ended: Notify,
    /// The pool was dropped.
    closed: AtomicBool,
    /// The timer must look at its deadline again.
    timer: Notify,
}

struct State {
    decider: Decider,
    next_ticket: u64,
    /// Events that no instance has taken yet.
    waiting: HashMap<TicketId, Invocation>,
    /// Preparations whose time has not come.
    wishes: HashMap<TicketId, oneshot::Sender<Result<Seat, Rejection>>>,
    functions: HashMap<Revision, Arc<FunctionSpec>>,
    orders: HashMap<InstanceId, UnboundedSender<Order>>,
    /// When the timer wakes up; none when it waits to be told.
    timer_at: Option<Instant>,
}

impl Shared {
    /// Nothing runs, nothing waits. Must be called inside a tokio runtime.
    pub(crate) fn new(
        launcher: Arc<dyn Launcher>,
        hub: Arc<LogHub>,
        config: PoolConfig,
        begin: fn(&Handle, Begin),
    ) -> Arc<Self> {
        Arc::new_cyclic(|myself| Shared {
            launcher,
            hub,
            init_timeout: config.init_timeout,
            limits: config.limits,
            begin,
            runtime: Handle::current(),
            myself: Weak::clone(myself),
            state: Mutex::new(State {
                decider: Decider::new(config.limits),
                next_ticket: 0,
                waiting: HashMap::new(),
                wishes: HashMap::new(),
                functions: HashMap::new(),
                orders: HashMap::new(),
                timer_at: None,
            }),
            ended: Notify::new(),
            closed: AtomicBool::new(false),
            timer: Notify::new(),
        })
    }

    /// From now on so many of a kind are to be there for `function`.
    pub(crate) fn aim(&self, function: Arc<FunctionSpec>, kind: Kind, count: usize) {
        let target = Target {
            revision: function.revision.clone(),
            kind,
            count,
        };
        let mut state = self.state.lock();
        let input = Input::Target(target, shape(&function));
        state.know(function);
        self.perform(&mut state, input);
    }

    pub(crate) fn view(&self) -> PoolView {
        self.state.lock().decider.view()
    }

    /// Sandboxes of a kind that are not gone.
    pub(crate) fn of_kind(&self, kind: Kind) -> usize {
        self.state.lock().decider.of_kind(kind)
    }

    /// Resolves when nothing of the revision is left.
    pub(crate) async fn until_gone(&self, revision: &Revision) {
        self.until(|state| state.decider.alive(revision) == 0).await;
    }

    /// Resolves when nothing is left.
    pub(crate) async fn until_empty(&self) {
        self.until(|state| state.decider.sandboxes() == 0).await;
    }

    /// Takes no new events and ends everything; nothing keeps time any more.
    pub(crate) fn close(&self) {
        self.step(Input::Drain);
        self.stop_all();
        self.closed.store(true, Ordering::Release);
        self.timer.notify_one();
    }

    pub(crate) fn arrive(&self, invocation: Invocation) -> TicketId {
        self.arrive_at(&mut self.state.lock(), invocation)
    }

    fn arrive_at(&self, state: &mut State, invocation: Invocation) -> TicketId {
        let function = Arc::clone(&invocation.function);
        let ticket = state.ticket();
        let input = Input::Arrive {
            ticket,
            revision: function.revision.clone(),
            shape: shape(&function),
            deadline: invocation.deadline,
        };
        state.waiting.insert(ticket, invocation);
        state.know(function);
        self.perform(state, input);
        ticket
    }

    /// A function is to be prepared; tells when its time has come.
    pub(crate) fn wish(
        &self,
        function: Arc<FunctionSpec>,
        answer: oneshot::Sender<Result<Seat, Rejection>>,
    ) -> TicketId {
        let mut state = self.state.lock();
        let ticket = state.ticket();
        let input = Input::Prepare {
            ticket,
            revision: function.revision.clone(),
            shape: shape(&function),
        };
        state.wishes.insert(ticket, answer);
        state.know(function);
        self.perform(&mut state, input);
        ticket
    }

    /// Nobody waits for this event or preparation any more; whether it was waiting.
    pub(crate) fn cancel(&self, ticket: TicketId) -> bool {
        let mut state = self.state.lock();
        let invocation = state.waiting.remove(&ticket).is_some();
        let waited = invocation || state.wishes.remove(&ticket).is_some();
        if waited {
            self.perform(&mut state, Input::Cancel(ticket));
        }
        waited
    }

    /// The event that waits for an instance which is about to come up, if there is one.
    pub(crate) fn take(&self, id: InstanceId) -> Option<Invocation> {
        let mut state = self.state.lock();
        let mut taken = None;
        for action in state.decider.step(clock::now(), Input::Take(id)) {
            match action {
                Action::Assign(ticket, to) if to == id => taken = state.waiting.remove(&ticket),
                action => self.act(&mut state, action),
            }
        }
        self.look_at_time(&state);
        drop(state);
        let mut invocation = taken?;
        if invocation.tell_taken().is_ok() {
            return Some(invocation);
        }
        self.step(Input::Return(id));
        invocation.turn_away();
        None
    }

    /// A shell for an instance that starts once more, if one waits.
    pub(crate) fn another_shell(&self, id: InstanceId) -> Option<InstanceId> {
        let mut state = self.state.lock();
        let mut found = None;
        for action in state.decider.step(clock::now(), Input::StartAgain(id)) {
            match action {
                Action::UseShell(to, shell) if to == id => found = Some(shell),
                action => self.act(&mut state, action),
            }
        }
        self.look_at_time(&state);
        found
    }

    /// An instance ended before it began with this event: another shall take it.
    pub(crate) fn give_back(&self, invocation: Invocation) {
        self.give_back_at(&mut self.state.lock(), invocation);
    }

    /// An instance that is still starting did not begin with the event that it took along.
    pub(crate) fn give_back_from(&self, id: InstanceId, invocation: Invocation) {
        let mut state = self.state.lock();
        self.perform(&mut state, Input::Return(id));
        self.give_back_at(&mut state, invocation);
    }

    fn give_back_at(&self, state: &mut State, mut invocation: Invocation) {
        invocation.lost += 1;
        if invocation.lost < MAX_LOST {
            self.arrive_at(state, invocation);
        } else {
            let error = InvokeError::Sandbox("instances end before they take events".into());
            invocation.answer.finish(Err(error), None);
        }
    }

    pub(crate) fn step(&self, input: Input) {
        self.perform(&mut self.state.lock(), input);
    }

    fn perform(&self, state: &mut State, input: Input) {
        let ended = matches!(input, Input::Gone(_));
        if let Input::Gone(id) = input {
            state.orders.remove(&id);
        }
        for action in state.decider.step(clock::now(), input) {
            self.act(state, action);
        }
        let State {
            decider, functions, ..
        } = state;
        if ended || functions.len() > 2 * decider.sandboxes() + decider.waiting() + 64 {
            functions.retain(|revision, _| decider.knows(revision));
        }
        if ended {
            self.ended.notify_waiters();
        }
        self.look_at_time(state);
    }

    /// Has the timer go by the next deadline.
    fn look_at_time(&self, state: &State) {
        let next = state.decider.next_deadline();
        if next.is_some() && state.timer_at.is_none_or(|at| next < Some(at)) {
            self.timer.notify_one();
        }
    }

    pub(crate) fn stop_all(&self) {
        let state = self.state.lock();
        for orders in state.orders.values() {
            let _ = orders.send(Order::Stop);
        }
    }

    /// Waits until `holds`; looked at again each time an instance ends.
    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if holds(&self.state.lock()) {
                return;
            }
            ended.await;
        }
    }
}

impl State {
    fn ticket(&mut self) -> TicketId {
        let ticket = TicketId(self.next_ticket);
        self.next_ticket += 1;
        ticket
    }

    /// Keeps what a start needs, for as long as the decision knows of the function.
    fn know(&mut self, function: Arc<FunctionSpec>) {
        self.functions
            .entry(function.revision.clone())
            .or_insert(function);
    }
}

/// Ticks when the next deadline has come, until the pool is gone.
pub(crate) async fn keep_time(shared: Weak<Shared>) {
    while let Some(strong) = shared
        .upgrade()
        .filter(|s| !s.closed.load(Ordering::Acquire))
    {
        let next = {
            let mut state = strong.state.lock();
            let next = state.decider.next_deadline();
            state.timer_at = next;
            next
        };
        match next {
            Some(at) => {
                tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => strong.step(Input::Tick),
                    () = strong.timer.notified() => {}
                }
            }
            None => strong.timer.notified().await,
        }
    }
}
