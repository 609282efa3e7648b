//! What the outside world looks like, as it follows from the actions, and what must hold of it after each step.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use node_pool::decide::{
    Action, Decider, Input, InstanceId, Kind, Limits, Shape, Target, TicketId, Why,
};
use proto_node::{Isolation, Revision};

pub(crate) const LIMITS: Limits = Limits {
    instances: 4,
    memory_mb: 1000,
    instances_per_function: 3,
    waiting: 6,
    waiting_per_function: 4,
    idle: Duration::from_secs(60),
    processors: 2,
    preparations: 2,
    patience: Duration::from_secs(3),
    preparation_patience: Duration::from_secs(20),
    shells: 3,
    shells_per_function: 2,
    shell_mb: 20,
};

/// Memory of one instance of each function, the events that it takes at once, and whether it takes several.
const SHAPES: [(u32, u32, Isolation); 5] = [
    (128, 1, Isolation::PerInstance),
    (300, 1, Isolation::PerInstance),
    (700, 1, Isolation::PerInstance),
    (200, 1, Isolation::PerEvent),
    (150, 3, Isolation::PerInstance),
];
pub(crate) const FUNCTIONS: usize = SHAPES.len();

pub(crate) fn revision(function: usize) -> Revision {
    Revision(format!("f{function}"))
}

pub(crate) fn shape(function: usize) -> Shape {
    let (memory_mb, slots, isolation) = SHAPES[function];
    Shape {
        memory_mb,
        slots: NonZeroU32::new(slots).unwrap(),
        isolation,
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Stage {
    ComingUp,
    Up,
    Stopping,
}

#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) function: usize,
    pub(crate) kind: Kind,
    pub(crate) stage: Stage,
    /// Events that it has, and those that it ever had.
    pub(crate) events: usize,
    pub(crate) total: usize,
    /// Of those that it has: answered, and not over.
    pub(crate) answered: usize,
}

pub(crate) struct World {
    pub(crate) decider: Decider,
    pub(crate) now: Instant,
    next_ticket: u64,
    pub(crate) waiting: BTreeMap<TicketId, usize>,
    /// Preparations that wait, and since when.
    pub(crate) wishes: BTreeMap<TicketId, (usize, Instant)>,
    pub(crate) sandboxes: BTreeMap<InstanceId, Sandbox>,
    settled: BTreeSet<TicketId>,
    pub(crate) forgotten: BTreeSet<usize>,
    pub(crate) draining: bool,
    pub(crate) targets: BTreeMap<(usize, Kind), usize>,
    /// Functions of which a snapshot was ever heard.
    captured: BTreeSet<usize>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            decider: Decider::new(LIMITS),
            now: Instant::now(),
            next_ticket: 0,
            waiting: BTreeMap::new(),
            wishes: BTreeMap::new(),
            sandboxes: BTreeMap::new(),
            settled: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            draining: false,
            targets: BTreeMap::new(),
            captured: BTreeSet::new(),
        }
    }

    fn ticket(&mut self) -> TicketId {
        self.next_ticket += 1;
        TicketId(self.next_ticket - 1)
    }

    pub(crate) fn arrive(&mut self, function: usize, patience: u64) -> Vec<Action> {
        let ticket = self.ticket();
        self.waiting.insert(ticket, function);
        self.step(Input::Arrive {
            ticket,
            revision: revision(function),
            shape: shape(function),
            deadline: self.now + Duration::from_secs(patience),
        })
    }

    pub(crate) fn prepare(&mut self, function: usize) -> Vec<Action> {
        let ticket = self.ticket();
        self.wishes.insert(ticket, (function, self.now));
        self.step(Input::Prepare {
            ticket,
            revision: revision(function),
            shape: shape(function),
        })
    }

    pub(crate) fn target(&mut self, function: usize, kind: Kind, count: usize) -> Vec<Action> {
        if !self.unwanted(function) {
            self.targets.insert((function, kind), count);
        }
        let target = Target {
            revision: revision(function),
            kind,
            count,
        };
        self.step(Input::Target(target, shape(function)))
    }

    pub(crate) fn captured(&mut self, function: usize) -> Vec<Action> {
        self.captured.insert(function);
        self.step(Input::Captured(revision(function)))
    }

    pub(crate) fn started(&mut self, id: InstanceId) -> Vec<Action> {
        let sandbox = self.sandboxes.get_mut(&id).unwrap();
        if sandbox.stage == Stage::ComingUp {
            sandbox.stage = Stage::Up;
        }
        self.step(Input::Started(id))
    }

    pub(crate) fn finished(&mut self, id: InstanceId) -> Vec<Action> {
        let sandbox = self.sandboxes.get_mut(&id).unwrap();
        if sandbox.stage == Stage::ComingUp {
            sandbox.stage = Stage::Up;
        }
        sandbox.events -= 1;
        sandbox.answered = sandbox.answered.saturating_sub(1);
        self.step(Input::Finished(id))
    }

    pub(crate) fn gone(&mut self, id: InstanceId) -> Vec<Action> {
        self.sandboxes.remove(&id);
        self.step(Input::Gone(id))
    }

    pub(crate) fn take(&mut self, id: InstanceId) -> Vec<Action> {
        self.captured.insert(self.sandboxes[&id].function);
        self.step(Input::Take(id))
    }

    pub(crate) fn start_failed(&mut self, id: InstanceId) -> Vec<Action> {
        let sandbox = self.sandboxes.get_mut(&id).unwrap();
        // Nobody ends a shell that was not made.
        if sandbox.kind == Kind::Shell {
            sandbox.stage = Stage::Stopping;
        }
        self.step(Input::StartFailed(id))
    }

    /// What was given back comes again.
    pub(crate) fn give_back(&mut self, id: InstanceId) {
        let sandbox = self.sandboxes.get_mut(&id).unwrap();
        sandbox.events -= 1;
        sandbox.total -= 1;
        let function = sandbox.function;
        self.step(Input::Return(id));
        self.arrive(function, 10);
    }

    pub(crate) fn cancel(&mut self, ticket: TicketId) {
        self.waiting.remove(&ticket);
        self.wishes.remove(&ticket);
        self.settled.insert(ticket);
        self.step(Input::Cancel(ticket));
    }

    pub(crate) fn forget(&mut self, function: usize) -> Vec<Action> {
        self.forgotten.insert(function);
        self.targets.retain(|(of, _), _| *of != function);
        self.step(Input::Forget(revision(function)))
    }

    pub(crate) fn drain(&mut self) -> Vec<Action> {
        self.draining = true;
        self.targets.clear();
        self.step(Input::Drain)
    }

    pub(crate) fn unwanted(&self, function: usize) -> bool {
        self.draining || self.forgotten.contains(&function)
    }

    pub(crate) fn step(&mut self, input: Input) -> Vec<Action> {
        let failing = match &input {
            Input::StartFailed(id) | Input::InitAgain(id) | Input::Take(id) => Some(*id),
            _ => None,
        };
        let fails = matches!(input, Input::StartFailed(_));
        let ticked = matches!(input, Input::Tick);
        let actions = self.decider.step(self.now, input);
        let mut ahead = false;
        for action in &actions {
            ahead |= self.follow(action, failing, fails);
        }
        self.check();
        if ahead {
            let view = self.decider.view();
            let waits = |held: &node_pool::decide::Held| {
                held.kind == Kind::Instance && held.waiting > 0 && held.why == Some(Why::Room)
            };
            assert!(!view.held.iter().any(waits), "events go first: {view:?}");
        }
        let next = self.decider.next_deadline();
        if ticked {
            assert!(next.is_none_or(|next| next > self.now), "a tick moves it");
        }
        if next.is_none_or(|next| next > self.now) {
            let mut other = self.decider.clone();
            let early = other.step(self.now, Input::Tick);
            assert_eq!(early, [], "no tick is needed before");
            assert_eq!(other.next_deadline(), next, "{:#?}", self.decider);
        }
        actions
    }

    fn function(&self, of: &Revision) -> usize {
        let function = (0..FUNCTIONS).find(|f| revision(*f) == *of).unwrap();
        assert!(!self.unwanted(function));
        function
    }

    fn enter(&mut self, id: InstanceId, function: usize, kind: Kind) {
        let sandbox = Sandbox {
            function,
            kind,
            stage: Stage::ComingUp,
            events: 0,
            total: 0,
            answered: 0,
        };
        assert!(self.sandboxes.insert(id, sandbox).is_none());
    }

    /// Whether it was started for nobody in particular, before whom events go.
    fn follow(&mut self, action: &Action, failing: Option<InstanceId>, fails: bool) -> bool {
        match action {
            Action::Start(id, of, shell) => {
                let function = self.function(of);
                if let Some(shell) = shell {
                    let shell = self.sandboxes.remove(shell).unwrap();
                    let is = (shell.function, shell.kind, shell.stage);
                    assert_eq!(is, (function, Kind::Shell, Stage::Up));
                }
                self.enter(*id, function, Kind::Instance);
                false
            }
            Action::UseShell(id, shell) => {
                let instance = &self.sandboxes[id];
                assert_eq!(instance.stage, Stage::ComingUp);
                let function = instance.function;
                let shell = self.sandboxes.remove(shell).unwrap();
                let is = (shell.function, shell.kind, shell.stage);
                assert_eq!(is, (function, Kind::Shell, Stage::Up));
                false
            }
            Action::Assign(ticket, id) => {
                let function = self.waiting.remove(ticket).expect("assigned once");
                assert!(self.settled.insert(*ticket));
                let sandbox = self.sandboxes.get_mut(id).unwrap();
                assert_eq!((sandbox.function, sandbox.kind), (function, Kind::Instance));
                if failing == Some(*id) {
                    assert_eq!(sandbox.stage, Stage::ComingUp);
                    if fails {
                        sandbox.stage = Stage::Stopping;
                        return false;
                    }
                } else {
                    assert_eq!(sandbox.stage, Stage::Up);
                }
                sandbox.events += 1;
                sandbox.total += 1;
                assert!(sandbox.events <= shape(function).slots.get() as usize);
                let apart = shape(function).isolation == Isolation::PerEvent;
                assert!(!apart || sandbox.total == 1);
                false
            }
            Action::Prepare(ticket, id) => {
                let (function, since) = self.wishes.remove(ticket).expect("prepared once");
                assert!(self.settled.insert(*ticket) && !self.unwanted(function));
                self.enter(*id, function, Kind::Preparation);
                self.now < since + LIMITS.preparation_patience
            }
            Action::MakeShell(id, of) => {
                let function = self.function(of);
                let target = self.targets.get(&(function, Kind::Shell)).copied();
                assert!(self.captured.contains(&function) || target > Some(0));
                self.enter(*id, function, Kind::Shell);
                true
            }
            Action::Reject(ticket, _) => {
                let wish = self.wishes.remove(ticket).is_some();
                assert!(wish || self.waiting.remove(ticket).is_some());
                assert!(self.settled.insert(*ticket));
                false
            }
            Action::Stop(id) => {
                let sandbox = self.sandboxes.get_mut(id).unwrap();
                assert!(sandbox.kind != Kind::Shell && sandbox.events == 0);
                assert_ne!(sandbox.stage, Stage::Stopping);
                sandbox.stage = Stage::Stopping;
                false
            }
            Action::DropShell(id) => {
                let sandbox = self.sandboxes.get_mut(id).unwrap();
                assert_eq!((sandbox.kind, sandbox.stage), (Kind::Shell, Stage::Up));
                sandbox.stage = Stage::Stopping;
                false
            }
        }
    }

    pub(crate) fn count(&self, function: usize, kind: Kind) -> usize {
        let all = self.sandboxes.values();
        all.filter(|one| one.function == function && one.kind == kind)
            .count()
    }

    pub(crate) fn memory_mb(&self) -> u64 {
        let cost = |sandbox: &Sandbox| match sandbox.kind {
            Kind::Shell => LIMITS.shell_mb,
            _ => u64::from(shape(sandbox.function).memory_mb),
        };
        self.sandboxes.values().map(cost).sum()
    }

    pub(crate) fn of_kind(&self, kind: Kind) -> usize {
        self.sandboxes.values().filter(|s| s.kind == kind).count()
    }

    fn check(&self) {
        let [instances, preparations, shells] = Kind::ALL.map(|kind| self.of_kind(kind));
        assert!(instances + preparations <= LIMITS.instances && shells <= LIMITS.shells);
        assert!(preparations <= LIMITS.preparations);
        assert!(self.memory_mb() <= LIMITS.memory_mb);
        assert_eq!(self.decider.memory_mb(), self.memory_mb());
        assert!(self.waiting.len() <= LIMITS.waiting && self.wishes.len() <= LIMITS.waiting);
        let waiting = self.waiting.len() + self.wishes.len();
        assert_eq!(self.decider.waiting(), waiting);
        assert_eq!(self.decider.sandboxes(), self.sandboxes.len());
        for function in 0..FUNCTIONS {
            self.check_function(function);
        }
        self.check_view();
    }

    fn check_function(&self, function: usize) {
        let all = Kind::ALL.map(|kind| self.count(function, kind));
        assert!(all[0] <= LIMITS.instances_per_function && all[1] <= 1);
        let alive: usize = all.into_iter().sum();
        assert_eq!(self.decider.alive(&revision(function)), alive);
        let waiting = self.waiting.values().filter(|f| **f == function).count();
        assert!(waiting <= LIMITS.waiting_per_function);
        let of = self.sandboxes.values().filter(|s| s.function == function);
        let idle = of
            .filter(|s| s.kind == Kind::Instance && s.stage == Stage::Up && s.events == 0)
            .count();
        assert!(idle == 0 || waiting == 0, "no event waits beside a slot");
        if self.unwanted(function) && waiting == 0 {
            assert_eq!(idle, 0, "nothing unwanted is kept");
            if alive == 0 {
                assert!(!self.decider.knows(&revision(function)));
            }
        }
    }

    /// The view tells what the model knows.
    fn check_view(&self) {
        let view = self.decider.view();
        assert_eq!(view.memory_mb, self.memory_mb());
        let mut seen = 0;
        for held in &view.held {
            let function = (0..FUNCTIONS).find(|f| revision(*f) == held.revision);
            let function = function.unwrap();
            let of = |stage| {
                let all = self.sandboxes.values();
                all.filter(move |s| {
                    s.function == function && s.kind == held.kind && s.stage == stage
                })
            };
            let [coming, up, ending] =
                [Stage::ComingUp, Stage::Up, Stage::Stopping].map(|stage| of(stage).count());
            // A shell that is to end while it is made is ending for the decision alone.
            assert_eq!(held.up, up, "{held:?}");
            assert_eq!(held.coming + held.ending, coming + ending, "{held:?}");
            seen += coming + up + ending;
            let events: usize = of(Stage::ComingUp)
                .chain(of(Stage::Up))
                .map(|s| s.events)
                .sum();
            assert_eq!(held.events, events);
            let waiting = match held.kind {
                Kind::Instance => self.waiting.values().filter(|f| **f == function).count(),
                Kind::Preparation => self.wishes.values().filter(|w| w.0 == function).count(),
                Kind::Shell => 0,
            };
            assert_eq!(held.waiting, waiting);
            let target = self.targets.get(&(function, held.kind)).copied();
            match held.kind {
                Kind::Instance => assert_eq!(held.wanted, target.unwrap_or(0)),
                Kind::Preparation => assert_eq!(held.wanted, 0),
                Kind::Shell => assert!(held.wanted >= target.unwrap_or(0)),
            }
            let lacks = waiting > 0 || held.wanted > held.up + held.coming;
            assert!(held.why.is_some() || !lacks, "{held:?}");
            if held.why == Some(Why::FunctionLimit) {
                let all = self.count(function, Kind::Instance);
                assert_eq!(all, LIMITS.instances_per_function);
            }
        }
        assert_eq!(seen, self.sandboxes.len());
    }

    /// Lets one thing that is under way come to its end; false if nothing is.
    pub(crate) fn go_on(&mut self) -> bool {
        let under_way = self.sandboxes.iter().find_map(|(id, one)| {
            let idle = one.stage == Stage::Up && one.events == 0;
            (!idle).then_some((*id, one.kind, one.stage, one.events))
        });
        let Some((id, kind, stage, events)) = under_way else {
            return false;
        };
        match (kind, stage) {
            (_, Stage::Stopping) | (Kind::Preparation, _) => drop(self.gone(id)),
            _ if events > 0 => drop(self.finished(id)),
            _ => drop(self.started(id)),
        }
        true
    }

    /// Lets everything come to its end, and time go on until nothing is due.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            if self.go_on() {
                continue;
            }
            match self.decider.next_deadline() {
                Some(at) => {
                    self.now = self.now.max(at);
                    self.step(Input::Tick);
                }
                None => return,
            }
        }
        panic!("there is no end to it");
    }

    /// Every event and every preparation had its turn or was turned away.
    pub(crate) fn all_settled(&self) {
        assert!(self.waiting.is_empty() && self.wishes.is_empty());
        assert_eq!(self.settled.len() as u64, self.next_ticket);
    }
}
