//! Decides, without acting, which instance serves which event.
//!
//! An event is a *ticket* from its arrival until an instance takes it. Each instance
//! takes one event at a time:
//!
//! ```text
//!            Started            Assign              Gone
//! Starting ──────────▶ Idle ◀───────────▶ Busy   Stopping ──▶ ∅
//!    │ ▲          Finished ╲ Answered ▼ ▲ Late   ▲
//!    │ │                    ╰──────── Closing ───┤ (from any state)
//!    │ ╰─ Return ── Busy ◀── Take ──╮            │
//!    ├──────────────────────────────╯            │
//!    ├─ InitAgain ─▶ Busy (tries again)          │
//!    ╰─ StartFailed ─────────────────────────────╯
//! ```
//!
//! Two kinds of instances will soon be idle, and an event that waits for one has no other started for it: those that
//! start, and those whose event is answered while its turn is not over (`Closing`).
//!
//! An instance of a function whose events are kept apart ([`Isolation::PerEvent`]) goes from `Busy` to
//! `Stopping` when it has finished; until its event comes it may be idle like any other.
//!
//! Invariants (simulated in `tests/decide.rs`): limits on instances, memory and waiting
//! tickets hold; every ticket is assigned or rejected exactly once; no ticket waits while
//! an instance of its function is idle; nothing waits for ever when room can be made; an instance
//! whose events are kept apart is assigned one.

mod words;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use proto_node::{Isolation, Revision};

pub use words::{Action, Input, InstanceId, Limits, Rejection, TicketId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Starting,
    Idle { since: Instant },
    Busy,
    Closing,
    Stopping,
}

#[derive(Debug)]
struct Instance {
    revision: Revision,
    state: State,
}

#[derive(Debug, Clone, Copy)]
struct Ticket {
    id: TicketId,
    deadline: Instant,
}

#[derive(Debug)]
struct Function {
    memory_mb: u64,
    isolation: Isolation,
    /// Instances that are not gone, of any state.
    alive: usize,
    starting: Vec<InstanceId>,
    /// Instances whose event is answered and not over.
    closing: usize,
    /// Idle instances, the last used last.
    idle: Vec<InstanceId>,
    waiting: VecDeque<Ticket>,
}

impl Function {
    /// Instances that will soon be idle.
    fn coming(&self) -> usize {
        self.starting.len() + self.closing
    }

    /// The longest waiting event for which no instance is coming.
    fn uncovered(&self) -> Option<TicketId> {
        self.waiting.get(self.coming()).map(|ticket| ticket.id)
    }
}

/// Forgotten revisions that are remembered, so that late events do not revive them.
const MAX_FORGOTTEN: usize = 4096;
/// When an event beyond its deadline, whose instance is coming, is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The whole state of the decision.
#[derive(Debug)]
pub struct Decider {
    limits: Limits,
    draining: bool,
    next_instance: u64,
    functions: HashMap<Revision, Function>,
    /// Functions for which events wait.
    hungry: BTreeSet<Revision>,
    instances: HashMap<InstanceId, Instance>,
    /// Memory of instances that are not gone, and of those among them that are stopping.
    memory_mb: u64,
    stopping_mb: u64,
    stopping: usize,
    /// Idle instances by the time since when they are.
    idle: BTreeSet<(Instant, InstanceId)>,
    /// Waiting tickets, with their revision and by deadline.
    tickets: HashMap<TicketId, Revision>,
    deadlines: BTreeSet<(Instant, TicketId)>,
    forgotten: VecDeque<Revision>,
    /// Forgotten revisions of which something is alive or waits.
    unwanted: BTreeSet<Revision>,
}

impl Decider {
    /// Nothing runs, nothing waits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            draining: false,
            next_instance: 0,
            functions: HashMap::new(),
            hungry: BTreeSet::new(),
            instances: HashMap::new(),
            memory_mb: 0,
            stopping_mb: 0,
            stopping: 0,
            idle: BTreeSet::new(),
            tickets: HashMap::new(),
            deadlines: BTreeSet::new(),
            forgotten: VecDeque::new(),
            unwanted: BTreeSet::new(),
        }
    }

    /// Takes note of what happened and says what to do, in order.
    pub fn step(&mut self, now: Instant, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Arrive {
                ticket,
                revision,
                memory_mb,
                isolation,
                deadline,
            } => {
                let ticket = Ticket {
                    id: ticket,
                    deadline,
                };
                let kind = (u64::from(memory_mb), isolation);
                self.arrive(ticket, revision, kind, &mut actions);
            }
            Input::Cancel(ticket) => self.remove_ticket(ticket),
            Input::Started(id) => self.become_idle(id, now),
            Input::Finished(id) => self.finish(id, now, &mut actions),
            Input::StartFailed(id) => self.take_oldest(id, State::Stopping, &mut actions),
            Input::InitAgain(id) => self.take_oldest(id, State::Busy, &mut actions),
            Input::Take(id) => self.take_along(id, &mut actions),
            Input::Return(id) => self.pass(id, State::Busy, State::Starting),
            Input::Answered(id) => self.answered(id),
            Input::Late(id) => self.pass(id, State::Closing, State::Busy),
            Input::Gone(id) => self.remove_instance(id),
            Input::Forget(revision) => self.forget(revision),
            Input::Drain => {
                self.draining = true;
                self.unwanted = self.functions.keys().cloned().collect();
            }
            Input::Tick => self.expire(now, &mut actions),
        }
        self.assign(&mut actions);
        self.turn_away(&mut actions);
        self.start(&mut actions);
        self.stop_unwanted(&mut actions);
        actions
    }

    /// When [`Input::Tick`] will change something.
    pub fn next_deadline(&self) -> Option<Instant> {
        let idle = self
            .idle
            .first()
            .map(|(since, _)| *since + self.limits.idle);
        let ticket = self.deadlines.first().map(|(deadline, _)| *deadline);
        [idle, ticket].into_iter().flatten().min()
    }

    /// Instances of `revision` that are not gone.
    pub fn alive(&self, revision: &Revision) -> usize {
        self.functions
            .get(revision)
            .map_or(0, |function| function.alive)
    }

    /// Whether anything of `revision` is alive or waits.
    pub fn knows(&self, revision: &Revision) -> bool {
        self.functions.contains_key(revision)
    }

    /// Instances that are not gone.
    pub fn instances(&self) -> impl Iterator<Item = InstanceId> {
        self.instances.keys().copied()
    }

    /// Sum of the memory limits of instances that are not gone, in MiB.
    pub fn memory_mb(&self) -> u64 {
        self.memory_mb
    }

    /// Events that wait for an instance.
    pub fn waiting(&self) -> usize {
        self.tickets.len()
    }

    fn arrive(
        &mut self,
        ticket: Ticket,
        revision: Revision,
        (memory_mb, isolation): (u64, Isolation),
        actions: &mut Vec<Action>,
    ) {
        let mut reject = |why| actions.push(Action::Reject(ticket.id, why));
        if self.draining {
            return reject(Rejection::Draining);
        }
        if self.forgotten.contains(&revision) {
            return reject(Rejection::Forgotten);
        }
        let function = self.functions.get(&revision);
        let waits = function.is_none_or(|function| function.idle.is_empty());
        let full = self.tickets.len() >= self.limits.waiting
            || function.map_or(0, |f| f.waiting.len()) >= self.limits.waiting_per_function;
        if memory_mb > self.limits.memory_mb || (waits && full) {
            return reject(Rejection::Concurrency);
        }
        let function = self
            .functions
            .entry(revision.clone())
            .or_insert_with(|| Function {
                memory_mb,
                isolation,
                alive: 0,
                starting: Vec::new(),
                closing: 0,
                idle: Vec::new(),
                waiting: VecDeque::new(),
            });
        function.waiting.push_back(ticket);
        self.hungry.insert(revision.clone());
        self.tickets.insert(ticket.id, revision);
        self.deadlines.insert((ticket.deadline, ticket.id));
    }

    /// Forgets what is not needed of a function that lost a ticket or an instance.
    fn tidy(&mut self, revision: &Revision) {
        let Some(function) = self.functions.get(revision) else {
            return;
        };
        if function.waiting.is_empty() {
            self.hungry.remove(revision);
            if function.alive == 0 {
                self.functions.remove(revision);
                self.unwanted.remove(revision);
            }
        }
    }

    fn remove_ticket(&mut self, id: TicketId) {
        let Some(revision) = self.tickets.remove(&id) else {
            return;
        };
        let Some(function) = self.functions.get_mut(&revision) else {
            return;
        };
        if let Some(at) = function.waiting.iter().position(|ticket| ticket.id == id)
            && let Some(ticket) = function.waiting.remove(at)
        {
            self.deadlines.remove(&(ticket.deadline, id));
        }
        self.tidy(&revision);
    }

    fn pop_ticket(&mut self, revision: &Revision) -> Option<TicketId> {
        let ticket = self.functions.get_mut(revision)?.waiting.pop_front()?;
        self.tickets.remove(&ticket.id);
        self.deadlines.remove(&(ticket.deadline, ticket.id));
        self.tidy(revision);
        Some(ticket.id)
    }

    /// Moves an instance to another state, with all sums and sets. Instances that are
    /// stopping stay so.
    fn enter(&mut self, id: InstanceId, state: State) {
        let Some(instance) = self.instances.get_mut(&id) else {
            return;
        };
        let Some(function) = self.functions.get_mut(&instance.revision) else {
            return;
        };
        match instance.state {
            State::Stopping => return,
            State::Starting => function.starting.retain(|starting| *starting != id),
            State::Idle { since } => {
                self.idle.remove(&(since, id));
                function.idle.retain(|idle| *idle != id);
            }
            State::Closing => function.closing -= 1,
            State::Busy => {}
        }
        match state {
            State::Starting => function.starting.push(id),
            State::Idle { since } => {
                self.idle.insert((since, id));
                function.idle.push(id);
            }
            State::Closing => function.closing += 1,
            State::Busy => {}
            State::Stopping => {
                self.stopping += 1;
                self.stopping_mb += function.memory_mb;
            }
        }
        instance.state = state;
    }

    fn become_idle(&mut self, id: InstanceId, now: Instant) {
        if self
            .instances
            .get(&id)
            .is_some_and(|i| matches!(i.state, State::Starting | State::Busy | State::Closing))
        {
            self.enter(id, State::Idle { since: now });
        }
    }

    /// An instance is done with its event; some take no other.
    fn finish(&mut self, id: InstanceId, now: Instant, actions: &mut Vec<Action>) {
        let instance = self.instances.get(&id);
        let function = instance.and_then(|one| Some((one, self.functions.get(&one.revision)?)));
        match function {
            Some((instance, function))
                if function.isolation == Isolation::PerEvent && instance.state == State::Busy =>
            {
                self.stop(id, actions);
            }
            _ => self.become_idle(id, now),
        }
    }

    /// Moves an instance on if it is where it is believed to be.
    fn pass(&mut self, id: InstanceId, from: State, to: State) {
        if self.instances.get(&id).is_some_and(|i| i.state == from) {
            self.enter(id, to);
        }
    }

    /// The event of an instance is answered. One whose events are kept apart will not be idle.
    fn answered(&mut self, id: InstanceId) {
        let instance = self.instances.get(&id);
        let function = instance.and_then(|instance| self.functions.get(&instance.revision));
        if function.is_some_and(|function| function.isolation == Isolation::PerInstance) {
            self.pass(id, State::Busy, State::Closing);
        }
    }

    /// Gives the event that waits longest to an instance that is not there yet.
    fn take_along(&mut self, id: InstanceId, actions: &mut Vec<Action>) {
        let instance = self.instances.get(&id);
        let Some(instance) = instance.filter(|i| i.state == State::Starting) else {
            return;
        };
        let revision = instance.revision.clone();
        if let Some(ticket) = self.pop_ticket(&revision) {
            self.enter(id, State::Busy);
            actions.push(Action::Assign(ticket, id));
        }
    }

    /// A starting instance that needs an event: the longest waiting one of its function.
    fn take_oldest(&mut self, id: InstanceId, state: State, actions: &mut Vec<Action>) {
        let Some(instance) = self.instances.get(&id) else {
            return;
        };
        if instance.state != State::Starting {
            return;
        }
        let revision = instance.revision.clone();
        match self.pop_ticket(&revision) {
            Some(ticket) => {
                self.enter(id, state);
                actions.push(Action::Assign(ticket, id));
            }
            None => self.stop(id, actions),
        }
    }

    fn stop(&mut self, id: InstanceId, actions: &mut Vec<Action>) {
        self.enter(id, State::Stopping);
        actions.push(Action::Stop(id));
    }

    fn remove_instance(&mut self, id: InstanceId) {
        self.enter(id, State::Stopping);
        let Some(instance) = self.instances.remove(&id) else {
            return;
        };
        let Some(function) = self.functions.get_mut(&instance.revision) else {
            return;
        };
        function.alive -= 1;
        self.stopping -= 1;
        self.stopping_mb -= function.memory_mb;
        self.memory_mb -= function.memory_mb;
        self.tidy(&instance.revision);
    }

    fn forget(&mut self, revision: Revision) {
        if self.forgotten.len() >= MAX_FORGOTTEN {
            self.forgotten.pop_front();
        }
        if self.functions.contains_key(&revision) {
            self.unwanted.insert(revision.clone());
        }
        self.forgotten.push_back(revision);
    }

    fn expire(&mut self, now: Instant, actions: &mut Vec<Action>) {
        while let Some((since, id)) = self.idle.first().copied()
            && since + self.limits.idle <= now
        {
            self.stop(id, actions);
        }
        while let Some((deadline, id)) = self.deadlines.first().copied()
            && deadline <= now
        {
            let function = self
                .tickets
                .get(&id)
                .and_then(|r| self.functions.get_mut(r));
            let position = function
                .as_ref()
                .and_then(|f| f.waiting.iter().position(|t| t.id == id));
            self.deadlines.remove(&(deadline, id));
            match (function, position) {
                // An instance is coming for it: its failure or its answer is better than ours.
                (Some(function), Some(at)) if at < function.coming() => {
                    function.waiting[at].deadline = now + LOOK_AGAIN;
                    self.deadlines.insert((now + LOOK_AGAIN, id));
                }
                _ => {
                    self.remove_ticket(id);
                    actions.push(Action::Reject(id, Rejection::QueueTimeout));
                }
            }
        }
    }

    /// Gives waiting events to idle instances, the last used first: the others may expire.
    fn assign(&mut self, actions: &mut Vec<Action>) {
        let ready = |r: &&Revision| self.functions.get(*r).is_some_and(|f| !f.idle.is_empty());
        let ready: Vec<_> = self.hungry.iter().filter(ready).cloned().collect();
        for revision in ready {
            while let Some(function) = self.functions.get(&revision)
                && let Some(id) = function.idle.last().copied()
                && let Some(ticket) = self.pop_ticket(&revision)
            {
                self.enter(id, State::Busy);
                actions.push(Action::Assign(ticket, id));
            }
        }
    }

    /// Rejects events of unwanted functions for which no instance is there to come.
    fn turn_away(&mut self, actions: &mut Vec<Action>) {
        let why = if self.draining {
            Rejection::Draining
        } else {
            Rejection::Forgotten
        };
        for revision in self
            .hungry
            .intersection(&self.unwanted)
            .cloned()
            .collect::<Vec<_>>()
        {
            while let Some(function) = self.functions.get(&revision)
                && let Some(id) = function.uncovered()
            {
                self.remove_ticket(id);
                actions.push(Action::Reject(id, why));
            }
        }
    }

    /// Starts instances for waiting events that none is starting for, in order of arrival,
    /// making room by stopping the longest idle instances of other functions.
    fn start(&mut self, actions: &mut Vec<Action>) {
        // Who waits for room may be many; only the first of each function is looked at.
        let mut hungry: BTreeSet<_> = self
            .hungry
            .iter()
            .filter_map(|r| Some((self.functions.get(r)?.uncovered()?, r.clone())))
            .collect();
        while let Some((_, revision)) = hungry.pop_first() {
            let Some(function) = self.functions.get_mut(&revision) else {
                continue;
            };
            if function.alive >= self.limits.instances_per_function {
                continue;
            }
            let need = function.memory_mb;
            let room = self.memory_mb + need <= self.limits.memory_mb
                && self.instances.len() < self.limits.instances;
            if !room {
                // First come, first served: who comes later may not take the room it waits for.
                self.make_room(need, actions);
                return;
            }
            let id = InstanceId(self.next_instance);
            self.next_instance += 1;
            function.alive += 1;
            function.starting.push(id);
            self.memory_mb += need;
            if let Some(ticket) = function.uncovered() {
                hungry.insert((ticket, revision.clone()));
            }
            let instance = Instance {
                revision: revision.clone(),
                state: State::Starting,
            };
            self.instances.insert(id, instance);
            actions.push(Action::Start(id, revision));
        }
    }

    /// Stops idle instances until, once they are gone, another with `need` MiB fits.
    fn make_room(&mut self, need: u64, actions: &mut Vec<Action>) {
        while self.memory_mb - self.stopping_mb + need > self.limits.memory_mb
            || self.instances.len() - self.stopping >= self.limits.instances
        {
            let Some((_, id)) = self.idle.first().copied() else {
                return;
            };
            self.stop(id, actions);
        }
    }

    /// Stops idle instances that will get no event any more, and starting ones too.
    fn stop_unwanted(&mut self, actions: &mut Vec<Action>) {
        let mut unwanted = Vec::new();
        for function in self.unwanted.iter().filter_map(|r| self.functions.get(r)) {
            unwanted.extend_from_slice(&function.idle);
            if function.waiting.is_empty() {
                unwanted.extend_from_slice(&function.starting);
            }
        }
        for id in unwanted {
            self.stop(id, actions);
        }
    }
}
