//! Acts on what is decided: holds the waiting events and the orders of the instances.
//!
//! Lock order: `Shared::state` is the only lock here and is never held across an await
//! or a call out of this module (channels that never block excepted).

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use node_logs::LogHub;
use parking_lot::Mutex;
use proto_node::{FunctionSpec, InvokeError, NoSnapshot, Reply, Revision, ThrottleReason};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout_at;

use crate::answer::Answer;
use crate::clock;
use crate::decide::{
    Action, Decider, Input, InstanceId, Kind, Limits, Rejection, Shape, Target, TicketId, View,
};
use crate::instance::{Instance, Order};
use crate::invocation::{Arrival, Invocation};
use crate::launch::Launcher;
use crate::prepare::{self, Seat};

/// How a pool behaves.
#[derive(Debug, Clone, Copy)]
pub struct PoolConfig {
    /// How much may be alive and wait.
    pub limits: Limits,
    /// Longest initialisation before the first event; 10 s on AWS.
    pub init_timeout: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            limits: Limits {
                processors: std::thread::available_parallelism().map_or(1, usize::from),
                ..Limits::default()
            },
            init_timeout: Duration::from_secs(10),
        }
    }
}

/// Times that an event may be given to an instance which ends before it begins with it.
const MAX_LOST: u8 = 3;
/// Longest that an event waits, whatever its caller says.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the end of killed instances is waited for at shutdown.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// The instances of one machine. Dropping it ends them all.
pub struct Pool {
    shared: Arc<Shared>,
}

/// What the pool's callers, its instances and its timer have in common.
pub(crate) struct Shared {
    pub(crate) launcher: Arc<dyn Launcher>,
    pub(crate) hub: Arc<LogHub>,
    pub(crate) init_timeout: Duration,
    limits: Limits,
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

impl Pool {
    /// A pool without instances. Must be called inside a tokio runtime.
    pub fn new(launcher: Arc<dyn Launcher>, hub: Arc<LogHub>, config: PoolConfig) -> Self {
        let shared = Arc::new_cyclic(|myself| Shared {
            launcher,
            hub,
            init_timeout: config.init_timeout,
            limits: config.limits,
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
        });
        tokio::spawn(keep_time(Arc::downgrade(&shared)));
        Self { shared }
    }

    /// Where the log records of all instances pass.
    pub fn logs(&self) -> &Arc<LogHub> {
        &self.shared.hub
    }

    /// Runs one event; resolves when it is answered, or when the function begins to answer by a stream. When the
    /// future or the reply is dropped, an event that waits is forgotten; one that runs does so to its end.
    pub async fn invoke(
        &self,
        function: Arc<FunctionSpec>,
        event: Arrival,
    ) -> Result<Reply, InvokeError> {
        let (answer, answered) = Answer::new();
        let arrived = clock::now();
        let invocation = Invocation {
            function,
            deadline: arrived + event.head.queue_time.min(LONGEST_WAIT),
            request: event.head,
            payload: event.payload,
            taken: Some(event.taken),
            answer,
            arrived,
            lost: 0,
        };
        let ticket = self.shared.arrive(invocation);
        let _cancel = Cancel {
            shared: &self.shared,
            ticket,
        };
        answered.await.unwrap_or(Err(InvokeError::ShuttingDown))
    }

    /// From now on so many of a kind are to be there for `function`.
    pub(crate) fn aim(&self, function: Arc<FunctionSpec>, kind: Kind, count: usize) {
        let target = Target {
            revision: function.revision.clone(),
            kind,
            count,
        };
        let mut state = self.shared.state.lock();
        let input = Input::Target(target, shape(&function));
        state.know(function);
        self.shared.perform(&mut state, input);
    }

    pub(crate) fn limits(&self) -> Limits {
        self.shared.limits
    }

    pub(crate) fn view(&self) -> View {
        self.shared.state.lock().decider.view()
    }

    /// Starts nothing more of `revision`; resolves when nothing is left.
    pub async fn forget(&self, revision: &Revision) {
        self.shared.step(Input::Forget(revision.clone()));
        self.shared
            .until(|state| state.decider.alive(revision) == 0)
            .await;
        self.shared.launcher.forget(revision).await;
    }

    /// Has the launcher keep nothing of any other revisions than these.
    pub async fn keep_only(&self, revisions: BTreeSet<Revision>) {
        self.shared.launcher.keep_only(revisions).await;
    }

    /// Starts `function` once without an event and has it captured on the way.
    pub async fn prepare(&self, function: Arc<FunctionSpec>) -> Result<(), NoSnapshot> {
        prepare::prepare(Arc::clone(&self.shared), function).await
    }

    /// Whether new instances of `function` come from a snapshot.
    pub fn has_snapshot(&self, function: &FunctionSpec) -> bool {
        self.shared.launcher.has_snapshot(function)
    }

    /// Instances alive now.
    pub fn instances(&self) -> usize {
        self.shared.state.lock().decider.of_kind(Kind::Instance)
    }

    /// Takes no new events, lets running ones end for as long as `within`, then ends everything.
    pub async fn shutdown(&self, within: Duration) {
        let deadline = clock::now() + within;
        self.shared.step(Input::Drain);
        let empty = |state: &State| state.decider.sandboxes() == 0;
        if timeout_at(deadline.into(), self.shared.until(empty))
            .await
            .is_ok()
        {
            return;
        }
        self.shared.stop_all();
        let limit = clock::now() + KILL_GRACE;
        if timeout_at(limit.into(), self.shared.until(empty))
            .await
            .is_err()
        {
            tracing::error!("sandboxes are still there after being killed");
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.step(Input::Drain);
        self.shared.stop_all();
        self.shared.closed.store(true, Ordering::Release);
        self.shared.timer.notify_one();
    }
}

/// Forgets a waiting event when nobody awaits its answer any more.
struct Cancel<'a> {
    shared: &'a Shared,
    ticket: TicketId,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        self.shared.cancel(self.ticket);
    }
}

impl Shared {
    fn arrive(&self, invocation: Invocation) -> TicketId {
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
        taken
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

    fn act(&self, state: &mut State, action: Action) {
        match action {
            Action::Start(id, revision, shell) => self.start(state, id, &revision, shell),
            Action::Assign(ticket, id) => state.assign(ticket, id),
            Action::Prepare(ticket, id) => {
                if let Some(wish) = state.wishes.remove(&ticket) {
                    let (sender, orders) = mpsc::unbounded_channel();
                    state.orders.insert(id, sender);
                    // Who left took the wish along.
                    let _ = wish.send(Ok(Seat { id, orders }));
                }
            }
            Action::MakeShell(id, revision) => self.make_shell(state, id, &revision),
            Action::Reject(ticket, why) => {
                if let Some(invocation) = state.waiting.remove(&ticket) {
                    invocation.answer.finish(Err(rejected(why)), None);
                } else if let Some(wish) = state.wishes.remove(&ticket) {
                    let _ = wish.send(Err(why));
                }
            }
            Action::Stop(id) => state.order(id, Order::Stop),
            Action::DropShell(id) => self.drop_shell(id),
        }
    }

    fn start(
        &self,
        state: &mut State,
        id: InstanceId,
        revision: &Revision,
        shell: Option<InstanceId>,
    ) {
        let (Some(function), Some(shared)) = (state.functions.get(revision), self.myself.upgrade())
        else {
            return;
        };
        let (sender, receiver) = mpsc::unbounded_channel();
        state.orders.insert(id, sender);
        let instance = Instance::new(id, shared, Arc::clone(function), shell, receiver);
        self.runtime.spawn(instance.run());
    }

    fn make_shell(&self, state: &mut State, id: InstanceId, revision: &Revision) {
        let (Some(function), Some(shared)) = (state.functions.get(revision), self.myself.upgrade())
        else {
            return;
        };
        let function = Arc::clone(function);
        self.runtime.spawn(async move {
            match shared.launcher.make_shell(id, &function).await {
                Ok(()) => shared.step(Input::Started(id)),
                Err(why) => {
                    // The start that needs it will find out, and act on it.
                    tracing::debug!(function = function.name, %why, "no shell was made");
                    shared.step(Input::StartFailed(id));
                    shared.step(Input::Gone(id));
                }
            }
        });
    }

    fn drop_shell(&self, id: InstanceId) {
        if let Some(shared) = self.myself.upgrade() {
            self.runtime.spawn(async move {
                shared.launcher.drop_shell(id).await;
                shared.step(Input::Gone(id));
            });
        }
    }

    fn stop_all(&self) {
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

/// What is decided by. A runtime of Lambda asks for its next event when it is done with the last.
fn shape(function: &FunctionSpec) -> Shape {
    Shape {
        memory_mb: function.memory_mb,
        slots: NonZeroU32::MIN,
        isolation: function.isolation,
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

    fn assign(&mut self, ticket: TicketId, id: InstanceId) {
        if let Some(invocation) = self.waiting.remove(&ticket) {
            self.order(id, Order::Invoke(Box::new(invocation)));
        }
    }

    fn order(&mut self, id: InstanceId, order: Order) {
        if let Some(orders) = self.orders.get(&id) {
            // An instance that has ended reports Gone itself.
            let _ = orders.send(order);
        }
    }
}

fn rejected(why: Rejection) -> InvokeError {
    match why {
        Rejection::Concurrency | Rejection::Forgotten => {
            InvokeError::Throttled(ThrottleReason::Concurrency)
        }
        Rejection::QueueTimeout => InvokeError::Throttled(ThrottleReason::QueueTimeout),
        Rejection::Draining => InvokeError::ShuttingDown,
    }
}

/// Ticks when the next deadline has come, until the pool is gone.
async fn keep_time(shared: Weak<Shared>) {
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
