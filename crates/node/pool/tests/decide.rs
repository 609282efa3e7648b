//! The decision simulated by seed: whatever happens in whatever order, its promises hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use node_pool::decide::{Action, Decider, Input, InstanceId, Limits, Rejection, TicketId};
use proptest::prelude::*;
use proto_node::{Isolation, Revision};

const LIMITS: Limits = Limits {
    instances: 4,
    memory_mb: 1000,
    instances_per_function: 3,
    waiting: 6,
    waiting_per_function: 4,
    idle: Duration::from_secs(60),
};

/// Memory of one instance of each function, and whether it takes several events.
const MEMORY: [u32; 4] = [128, 300, 700, 200];
const ISOLATION: [Isolation; 4] = [
    Isolation::PerInstance,
    Isolation::PerInstance,
    Isolation::PerInstance,
    Isolation::PerEvent,
];

fn revision(function: usize) -> Revision {
    Revision(format!("f{function}"))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Life {
    Starting,
    Idle,
    Busy,
    /// Answered, and not over.
    Closing,
    Stopping,
}

/// What the outside world looks like, as it follows from the actions.
struct World {
    decider: Decider,
    now: Instant,
    next_ticket: u64,
    waiting: BTreeMap<TicketId, usize>,
    instances: BTreeMap<InstanceId, (usize, Life)>,
    settled: BTreeSet<TicketId>,
    /// Instances that were assigned an event.
    used: BTreeSet<InstanceId>,
    /// Those among them that have not come up with it.
    early: BTreeSet<InstanceId>,
    forgotten: BTreeSet<usize>,
    draining: bool,
}

impl World {
    fn new() -> Self {
        Self {
            decider: Decider::new(LIMITS),
            now: Instant::now(),
            next_ticket: 0,
            waiting: BTreeMap::new(),
            instances: BTreeMap::new(),
            settled: BTreeSet::new(),
            used: BTreeSet::new(),
            early: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            draining: false,
        }
    }

    fn arrive(&mut self, function: usize, patience: u64) -> Vec<Action> {
        let ticket = TicketId(self.next_ticket);
        self.next_ticket += 1;
        self.waiting.insert(ticket, function);
        self.step(Input::Arrive {
            ticket,
            revision: revision(function),
            memory_mb: MEMORY[function],
            isolation: ISOLATION[function],
            deadline: self.now + Duration::from_secs(patience),
        })
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        let actions = self.decider.step(self.now, input);
        for action in &actions {
            match action {
                Action::Start(id, of) => {
                    let function = (0..MEMORY.len()).find(|f| revision(*f) == *of).unwrap();
                    assert!(!self.forgotten.contains(&function) && !self.draining);
                    assert!(
                        self.instances
                            .insert(*id, (function, Life::Starting))
                            .is_none()
                    );
                }
                Action::Assign(ticket, id) => {
                    let function = self.waiting.remove(ticket).expect("assigned once");
                    let (of, life) = self.instances.get_mut(id).unwrap();
                    assert_eq!(*of, function, "an event goes to its own function");
                    let busy = matches!(*life, Life::Busy | Life::Closing);
                    assert!(!busy, "one event at a time");
                    let unused = self.used.insert(*id);
                    assert!(unused || ISOLATION[function] == Isolation::PerInstance);
                    if *life == Life::Idle {
                        *life = Life::Busy;
                    }
                    assert!(self.settled.insert(*ticket));
                }
                Action::Reject(ticket, _) => {
                    assert!(self.waiting.remove(ticket).is_some(), "rejected once");
                    assert!(self.settled.insert(*ticket));
                }
                Action::Stop(id) => {
                    let (_, life) = self.instances.get_mut(id).unwrap();
                    assert!(matches!(*life, Life::Idle | Life::Starting), "{life:?}");
                    *life = Life::Stopping;
                }
            }
        }
        self.check();
        actions
    }

    fn check(&self) {
        let alive = |function| {
            self.instances
                .values()
                .filter(|(f, _)| *f == function)
                .count()
        };
        let memory: u64 = self
            .instances
            .values()
            .map(|(f, _)| u64::from(MEMORY[*f]))
            .sum();
        assert!(self.instances.len() <= LIMITS.instances && memory <= LIMITS.memory_mb);
        assert_eq!(self.decider.memory_mb(), memory);
        assert!(self.waiting.len() <= LIMITS.waiting);
        assert_eq!(self.decider.waiting(), self.waiting.len());
        for function in 0..MEMORY.len() {
            assert!(alive(function) <= LIMITS.instances_per_function);
            assert_eq!(self.decider.alive(&revision(function)), alive(function));
            let waiting = self.waiting.values().filter(|f| **f == function).count();
            assert!(waiting <= LIMITS.waiting_per_function);
            let idle = self
                .instances
                .values()
                .any(|i| *i == (function, Life::Idle));
            assert!(
                !(idle && waiting > 0),
                "no event waits beside an idle instance"
            );
            if (self.forgotten.contains(&function) || self.draining) && waiting == 0 {
                assert!(!idle, "nothing unwanted is kept");
            }
            if waiting == 0 && alive(function) == 0 {
                assert!(!self.decider.knows(&revision(function)));
            }
        }
    }

    /// One random thing that can happen now.
    fn happen(&mut self, kind: u8, pick: usize) {
        let ids: Vec<_> = self.instances.keys().copied().collect();
        let of = |life| {
            let ids: Vec<_> = ids
                .iter()
                .filter(|id| self.instances[id].1 == life)
                .copied()
                .collect();
            (!ids.is_empty()).then(|| ids[pick % ids.len()])
        };
        match kind {
            0..=5 => drop(self.arrive(pick % 4, (pick % 50) as u64)),
            6..=8 => {
                if let Some(id) = of(Life::Starting) {
                    self.instances.get_mut(&id).unwrap().1 = Life::Idle;
                    self.step(Input::Started(id));
                }
            }
            9 => {
                if let Some(id) = of(Life::Starting) {
                    self.instances.get_mut(&id).unwrap().1 = Life::Stopping;
                    let before = self.decider.step(self.now, Input::StartFailed(id));
                    self.apply_failed(before, id);
                }
            }
            10 => {
                if let Some(id) = of(Life::Starting) {
                    let actions = self.decider.step(self.now, Input::InitAgain(id));
                    let mine = actions
                        .iter()
                        .any(|a| matches!(a, Action::Assign(_, to) if *to == id));
                    self.instances.get_mut(&id).unwrap().1 =
                        if mine { Life::Idle } else { Life::Starting };
                    self.apply(actions);
                }
            }
            11..=13 => {
                if let Some(id) = of(Life::Closing).or_else(|| of(Life::Busy)) {
                    self.early.remove(&id);
                    self.instances.get_mut(&id).unwrap().1 = Life::Idle;
                    self.step(Input::Finished(id));
                }
            }
            20..=22 => {
                if let Some(id) = of(Life::Busy) {
                    self.early.remove(&id);
                    let (function, life) = self.instances.get_mut(&id).unwrap();
                    if ISOLATION[*function] == Isolation::PerInstance {
                        *life = Life::Closing;
                    }
                    self.step(Input::Answered(id));
                }
            }
            23 => {
                if let Some(id) = of(Life::Closing) {
                    self.instances.get_mut(&id).unwrap().1 = Life::Busy;
                    self.step(Input::Late(id));
                }
            }
            24..=26 => {
                if let Some(id) = of(Life::Starting) {
                    let actions = self.decider.step(self.now, Input::Take(id));
                    let mine = actions
                        .iter()
                        .any(|a| matches!(a, Action::Assign(_, to) if *to == id));
                    if mine {
                        self.instances.get_mut(&id).unwrap().1 = Life::Idle;
                        self.early.insert(id);
                    }
                    self.apply(actions);
                }
            }
            27 => {
                let id = self.early.pop_first();
                if let Some(id) = id.filter(|id| self.instances.contains_key(id)) {
                    let (function, life) = self.instances.get_mut(&id).unwrap();
                    let function = *function;
                    *life = Life::Starting;
                    self.used.remove(&id);
                    self.step(Input::Return(id));
                    self.arrive(function, 10);
                }
            }
            14..=15 => {
                if let Some(id) = of(Life::Stopping)
                    .or_else(|| of(Life::Closing))
                    .or_else(|| of(Life::Busy))
                    .or_else(|| of(Life::Starting))
                {
                    self.instances.remove(&id);
                    self.step(Input::Gone(id));
                }
            }
            16 => {
                let tickets: Vec<_> = self.waiting.keys().copied().collect();
                if let Some(ticket) = tickets.get(pick % tickets.len().max(1)).copied() {
                    self.waiting.remove(&ticket);
                    self.settled.insert(ticket);
                    self.step(Input::Cancel(ticket));
                }
            }
            17..=18 => {
                self.now += Duration::from_secs((pick % 40) as u64);
                self.step(Input::Tick);
            }
            _ if pick.is_multiple_of(40) => {
                self.draining = true;
                self.step(Input::Drain);
            }
            _ if pick % 8 == 1 => {
                let function = pick / 8 % 4;
                self.forgotten.insert(function);
                self.step(Input::Forget(revision(function)));
            }
            _ => {}
        }
    }

    fn apply_failed(&mut self, actions: Vec<Action>, id: InstanceId) {
        // A failed instance without an event to fail is stopped once more.
        let actions = actions
            .into_iter()
            .filter(|a| *a != Action::Stop(id))
            .collect();
        self.apply(actions);
    }

    fn apply(&mut self, actions: Vec<Action>) {
        let mut prepared = Some(actions);
        // Runs the actions of a step that was already taken through the same checks.
        let actions = prepared.take().unwrap();
        for action in &actions {
            match action {
                Action::Assign(ticket, id) => {
                    let function = self.waiting.remove(ticket).expect("assigned once");
                    let unused = self.used.insert(*id);
                    assert!(unused || ISOLATION[function] == Isolation::PerInstance);
                    assert!(self.settled.insert(*ticket));
                    let life = &mut self.instances.get_mut(id).unwrap().1;
                    if *life == Life::Idle {
                        *life = Life::Busy;
                    }
                }
                Action::Reject(ticket, _) => {
                    assert!(self.waiting.remove(ticket).is_some());
                    assert!(self.settled.insert(*ticket));
                }
                Action::Start(id, of) => {
                    let function = (0..MEMORY.len()).find(|f| revision(*f) == *of).unwrap();
                    self.instances.insert(*id, (function, Life::Starting));
                }
                Action::Stop(id) => self.instances.get_mut(id).unwrap().1 = Life::Stopping,
            }
        }
        self.check();
    }

    /// Lets everything end well: no event may be left over.
    fn run_out(&mut self) {
        for _ in 0..10_000 {
            let next = self
                .instances
                .iter()
                .find(|(_, (_, life))| *life != Life::Idle);
            match next.map(|(id, (_, life))| (*id, *life)) {
                Some((id, Life::Starting)) => {
                    self.instances.get_mut(&id).unwrap().1 = Life::Idle;
                    self.step(Input::Started(id));
                }
                Some((id, Life::Busy | Life::Closing)) => {
                    self.instances.get_mut(&id).unwrap().1 = Life::Idle;
                    self.step(Input::Finished(id));
                }
                Some((id, _)) => {
                    self.instances.remove(&id);
                    self.step(Input::Gone(id));
                }
                None if self.waiting.is_empty() => break,
                None => panic!("events wait and nothing is under way"),
            }
        }
        assert_eq!(
            self.settled.len() as u64,
            self.next_ticket,
            "every event was settled"
        );
        while let Some(at) = self.decider.next_deadline() {
            self.now = at;
            self.step(Input::Tick);
            let stopping: Vec<_> = self
                .instances
                .keys()
                .copied()
                .filter(|id| self.instances[id].1 == Life::Stopping)
                .collect();
            assert!(!stopping.is_empty(), "a deadline means something");
            for id in stopping {
                self.instances.remove(&id);
                self.step(Input::Gone(id));
            }
        }
        assert!(
            self.instances.is_empty(),
            "idle instances do not stay for ever"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn promises_hold_in_every_order(script in prop::collection::vec((0u8..28, 0usize..1000), 0..200)) {
        let mut world = World::new();
        for (kind, pick) in script {
            world.happen(kind, pick);
        }
        world.run_out();
    }
}

#[test]
fn an_idle_instance_is_used_again_and_the_last_used_first() {
    let mut world = World::new();
    world.arrive(0, 10);
    world.arrive(0, 10);
    for id in [InstanceId(0), InstanceId(1)] {
        world.instances.get_mut(&id).unwrap().1 = Life::Idle;
        world.step(Input::Started(id));
    }
    for id in [InstanceId(0), InstanceId(1)] {
        world.instances.get_mut(&id).unwrap().1 = Life::Idle;
        world.step(Input::Finished(id));
    }
    assert_eq!(
        world.arrive(0, 10),
        [Action::Assign(TicketId(2), InstanceId(1))]
    );
}

#[test]
fn an_instance_whose_events_are_kept_apart_ends_after_the_first() {
    let mut world = World::new();
    world.arrive(3, 10);
    world.instances.get_mut(&InstanceId(0)).unwrap().1 = Life::Idle;
    world.step(Input::Started(InstanceId(0)));
    world.arrive(3, 10);
    world.instances.get_mut(&InstanceId(0)).unwrap().1 = Life::Idle;
    assert_eq!(
        world.step(Input::Finished(InstanceId(0))),
        [Action::Stop(InstanceId(0))]
    );
    // One that has not been used yet is as good as new.
    world.instances.get_mut(&InstanceId(1)).unwrap().1 = Life::Idle;
    assert_eq!(
        world.step(Input::Started(InstanceId(1))),
        [Action::Assign(TicketId(1), InstanceId(1))]
    );
}

#[test]
fn an_event_waits_for_an_instance_that_is_about_to_be_free() {
    let mut world = World::new();
    world.arrive(0, 10);
    let id = InstanceId(0);
    world.instances.get_mut(&id).unwrap().1 = Life::Idle;
    world.step(Input::Started(id));
    world.instances.get_mut(&id).unwrap().1 = Life::Closing;
    world.step(Input::Answered(id));
    assert_eq!(world.arrive(0, 10), [], "it will be free in a moment");
    let second = [Action::Start(InstanceId(1), revision(0))];
    assert_eq!(world.arrive(0, 10), second, "it takes one event");
    world.instances.get_mut(&id).unwrap().1 = Life::Busy;
    let third = [Action::Start(InstanceId(2), revision(0))];
    assert_eq!(world.step(Input::Late(id)), third, "it is not");
}

#[test]
fn an_event_that_was_taken_along_can_come_back() {
    let mut world = World::new();
    world.arrive(0, 10);
    let id = InstanceId(0);
    let taken = world.decider.step(world.now, Input::Take(id));
    assert_eq!(taken, [Action::Assign(TicketId(0), id)]);
    assert_eq!(world.decider.step(world.now, Input::Take(id)), []);
    assert_eq!(world.decider.step(world.now, Input::Return(id)), []);
    world.waiting.clear();
    assert_eq!(world.arrive(0, 10), [], "the instance is starting for it");
}

#[test]
fn a_full_queue_rejects_and_patience_ends() {
    let mut world = World::new();
    for _ in 0..3 {
        assert_eq!(world.arrive(0, 5).len(), 1);
    }
    assert_eq!(world.arrive(0, 5), []);
    let rejected = [Action::Reject(TicketId(4), Rejection::Concurrency)];
    assert_eq!(world.arrive(0, 5), rejected);
    world.now += Duration::from_secs(6);
    // The first three have an instance starting for them and are not given up.
    assert_eq!(
        world.step(Input::Tick),
        [Action::Reject(TicketId(3), Rejection::QueueTimeout)]
    );
}

#[test]
fn room_is_made_by_stopping_whoever_idles_longest() {
    let mut world = World::new();
    world.arrive(1, 10);
    world.instances.get_mut(&InstanceId(0)).unwrap().1 = Life::Idle;
    world.step(Input::Started(InstanceId(0)));
    world.instances.get_mut(&InstanceId(0)).unwrap().1 = Life::Idle;
    world.step(Input::Finished(InstanceId(0)));
    world.arrive(0, 10);
    assert_eq!(world.arrive(2, 10), [Action::Stop(InstanceId(0))]);
    world.instances.remove(&InstanceId(0));
    let started = world.step(Input::Gone(InstanceId(0)));
    assert_eq!(started, [Action::Start(InstanceId(2), revision(2))]);
}

#[test]
fn a_failed_start_fails_the_event_that_waits_longest() {
    let mut world = World::new();
    world.arrive(0, 10);
    let actions = world
        .decider
        .step(world.now, Input::StartFailed(InstanceId(0)));
    assert_eq!(actions, [Action::Assign(TicketId(0), InstanceId(0))]);
}

#[test]
fn a_forgotten_revision_stays_forgotten() {
    let mut world = World::new();
    world.forgotten.insert(0);
    world.step(Input::Forget(revision(0)));
    assert_eq!(
        world.arrive(0, 10),
        [Action::Reject(TicketId(0), Rejection::Forgotten)]
    );
}
