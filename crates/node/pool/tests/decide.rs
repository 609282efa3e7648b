//! The decision simulated by seed: whatever happens in whatever order, to sandboxes of all kinds, its promises hold.

mod world;

use std::time::Duration;

use node_pool::decide::{Action, Input, InstanceId, Kind, Rejection, TicketId, Why};
use proptest::prelude::*;
use world::{FUNCTIONS, LIMITS, Sandbox, Stage, World, revision, shape};

impl World {
    /// One random thing that can happen now.
    fn happen(&mut self, what: u8, pick: usize) {
        let any = |world: &World, holds: &dyn Fn(&Sandbox) -> bool| {
            let all = world.sandboxes.iter().filter(|(_, one)| holds(one));
            let ids: Vec<_> = all.map(|(id, _)| *id).collect();
            (!ids.is_empty()).then(|| ids[pick % ids.len()])
        };
        let instance = |stage| move |s: &Sandbox| s.kind == Kind::Instance && s.stage == stage;
        let fresh = |s: &Sandbox| instance(Stage::ComingUp)(s) && s.events == 0;
        let making = |s: &Sandbox| s.kind == Kind::Shell && s.stage == Stage::ComingUp;
        let busy = |s: &Sandbox| s.kind == Kind::Instance && s.events > 0;
        let function = pick % FUNCTIONS;
        match what {
            0..=5 => drop(self.arrive(function, (pick % 50) as u64)),
            6..=8 => drop(any(self, &fresh).map(|id| self.started(id))),
            9 => drop(any(self, &fresh).map(|id| self.start_failed(id))),
            10 => drop(any(self, &fresh).map(|id| self.step(Input::InitAgain(id)))),
            11..=13 => drop(any(self, &busy).map(|id| self.finished(id))),
            14 => {
                let answering = |s: &Sandbox| busy(s) && s.answered < s.events;
                if let Some(id) = any(self, &answering) {
                    self.sandboxes.get_mut(&id).unwrap().answered += 1;
                    self.step(Input::Answered(id));
                }
            }
            15 => {
                if let Some(id) = any(self, &|s| s.answered > 0) {
                    self.sandboxes.get_mut(&id).unwrap().answered -= 1;
                    self.step(Input::Late(id));
                }
            }
            16..=18 => drop(any(self, &fresh).map(|id| self.take(id))),
            19 => {
                let early = |s: &Sandbox| instance(Stage::ComingUp)(s) && s.events == 1;
                if let Some(id) = any(self, &early) {
                    self.give_back(id);
                }
            }
            20 | 21 => {
                let ended = any(self, &|s| s.stage == Stage::Stopping);
                let broken = ended.or_else(|| any(self, &|s| s.kind == Kind::Instance));
                drop(broken.map(|id| self.gone(id)));
            }
            22 => {
                let waiting = self.waiting.keys().chain(self.wishes.keys());
                let tickets: Vec<_> = waiting.copied().collect();
                if let Some(ticket) = tickets.get(pick % tickets.len().max(1)).copied() {
                    self.cancel(ticket);
                }
            }
            23 | 24 => {
                self.now += Duration::from_secs((pick % 40) as u64);
                self.step(Input::Tick);
            }
            25 | 26 => drop(self.prepare(function)),
            27 | 28 => {
                if let Some(id) = any(self, &|s| s.kind == Kind::Preparation) {
                    if pick.is_multiple_of(2) {
                        self.captured(self.sandboxes[&id].function);
                    }
                    self.gone(id);
                }
            }
            29 | 30 => drop(any(self, &making).map(|id| self.started(id))),
            31 => {
                if let Some(id) = any(self, &making) {
                    self.start_failed(id);
                    self.gone(id);
                }
            }
            32 => {
                let id = any(self, &|s| instance(Stage::ComingUp)(s));
                drop(id.map(|id| self.step(Input::WithoutSnapshot(id))));
            }
            33 | 34 => {
                let kind = Kind::ALL[pick / 2 % 3];
                drop(self.target(function, kind, pick / 7 % 3));
            }
            35 | 36 => drop(any(self, &fresh).map(|id| self.step(Input::StartAgain(id)))),
            _ if pick.is_multiple_of(40) => drop(self.drain()),
            _ if pick % 8 == 1 => drop(self.forget(pick / 8 % FUNCTIONS)),
            _ => {}
        }
    }

    /// Targets are met, or there is no room.
    fn targets_are_met(&self) {
        for ((function, kind), count) in &self.targets {
            let there = self.count(*function, *kind);
            let (need, full) = match kind {
                Kind::Instance => (
                    u64::from(shape(*function).memory_mb),
                    self.of_kind(Kind::Instance) == LIMITS.instances
                        || there == LIMITS.instances_per_function,
                ),
                Kind::Shell => (LIMITS.shell_mb, self.of_kind(Kind::Shell) == LIMITS.shells),
                Kind::Preparation => continue,
            };
            let room = !full && self.memory_mb() + need <= LIMITS.memory_mb;
            assert!(there >= *count || !room, "{function} {kind:?}: {there}");
        }
    }

    /// Lets everything end well: nothing may be left over.
    fn run_out(&mut self) {
        self.settle();
        self.all_settled();
        self.targets_are_met();
        for (function, kind) in self.targets.keys().copied().collect::<Vec<_>>() {
            self.target(function, kind, 0);
        }
        self.settle();
        assert_eq!(self.of_kind(Kind::Instance), 0, "none is idle for ever");
        self.drain();
        self.settle();
        assert_eq!(self.decider.sandboxes(), 0);
        for function in 0..FUNCTIONS {
            assert!(!self.decider.knows(&revision(function)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn promises_hold_in_every_order(script in prop::collection::vec((0u8..39, 0usize..1000), 0..250)) {
        let mut world = World::new();
        for (what, pick) in script {
            world.happen(what, pick);
        }
        world.run_out();
    }

    /// Events never cease, of functions that fill the machine: what is to be prepared has its turn, and so have they.
    #[test]
    fn preparations_wait_and_have_their_turn(script in prop::collection::vec(0usize..1000, 100..200)) {
        let mut world = World::new();
        let mut wished = None;
        for (nth, pick) in script.into_iter().enumerate() {
            while world.waiting.len() < 5 {
                if !world.arrive(pick % 3, 1000).iter().any(|a| matches!(a, Action::Reject(..))) {
                    continue;
                }
                break;
            }
            if nth == 20 {
                world.prepare(2);
                wished = Some(world.now);
            }
            let stages = [Stage::Stopping, Stage::ComingUp];
            let next = stages.iter().find_map(|stage| {
                world.sandboxes.iter().find(|(_, s)| s.stage == *stage && s.kind == Kind::Instance)
            });
            let up = || world.sandboxes.iter().filter(|(_, s)| s.events > 0).nth(pick % 3);
            let next = next.or_else(up).map(|(id, s)| (*id, s.stage));
            match next {
                Some((id, Stage::Stopping)) => drop(world.gone(id)),
                Some((id, Stage::ComingUp)) => drop(world.started(id)),
                Some((id, Stage::Up)) => drop(world.finished(id)),
                None => {}
            }
            world.now += Duration::from_secs(1);
            world.step(Input::Tick);
        }
        prop_assert!(wished.is_some() && world.wishes.is_empty(), "it never had its turn");
        world.run_out();
    }
}

const FIRST: InstanceId = InstanceId(0);
const SECOND: InstanceId = InstanceId(1);

fn start(id: InstanceId, function: usize) -> Action {
    Action::Start(id, revision(function), None)
}

#[test]
fn an_idle_instance_is_used_again_and_the_last_used_first() {
    let mut world = World::new();
    world.arrive(0, 10);
    world.arrive(0, 10);
    for id in [FIRST, SECOND] {
        world.started(id);
    }
    for id in [FIRST, SECOND] {
        world.finished(id);
    }
    assert_eq!(world.arrive(0, 10), [Action::Assign(TicketId(2), SECOND)]);
}

#[test]
fn an_instance_takes_as_many_events_at_once_as_it_has_slots() {
    let mut world = World::new();
    for _ in 0..3 {
        world.arrive(4, 10);
    }
    assert_eq!(world.sandboxes.len(), 1, "it will take them all");
    let assigned = [0, 1, 2].map(|ticket| Action::Assign(TicketId(ticket), FIRST));
    assert_eq!(world.started(FIRST), assigned);
    assert_eq!(world.arrive(4, 10), [start(SECOND, 4)]);
    world.started(SECOND);
    world.finished(FIRST);
    // It is idle when all are over.
    world.now += LIMITS.idle;
    assert_eq!(world.step(Input::Tick), []);
    world.finished(SECOND);
    world.now += LIMITS.idle;
    assert_eq!(world.step(Input::Tick), [Action::Stop(SECOND)]);
}

#[test]
fn an_instance_whose_events_are_kept_apart_ends_after_the_first() {
    let mut world = World::new();
    world.arrive(3, 10);
    world.started(FIRST);
    world.arrive(3, 10);
    assert_eq!(world.finished(FIRST), [Action::Stop(FIRST)]);
    // One that has not been used yet is as good as new.
    let assigned = [Action::Assign(TicketId(1), SECOND)];
    assert_eq!(world.started(SECOND), assigned);
}

#[test]
fn an_event_waits_for_an_instance_that_is_about_to_be_free() {
    let mut world = World::new();
    world.arrive(0, 10);
    world.started(FIRST);
    world.step(Input::Answered(FIRST));
    assert_eq!(world.arrive(0, 10), [], "it will be free in a moment");
    assert_eq!(
        world.arrive(0, 10),
        [start(SECOND, 0)],
        "it takes one event"
    );
    let third = [start(InstanceId(2), 0)];
    assert_eq!(world.step(Input::Late(FIRST)), third, "it is not");
}

#[test]
fn an_event_waits_for_an_instance_that_took_its_first_along_too() {
    let mut world = World::new();
    world.arrive(0, 10);
    world.take(FIRST);
    world.step(Input::Answered(FIRST));
    assert_eq!(world.arrive(0, 10), [], "it will be free in a moment");
    let assigned = [Action::Assign(TicketId(1), FIRST)];
    assert_eq!(world.finished(FIRST), assigned);
}

#[test]
fn an_event_that_was_taken_along_can_come_back() {
    let mut world = World::new();
    world.arrive(0, 10);
    assert_eq!(world.take(FIRST), [Action::Assign(TicketId(0), FIRST)]);
    assert_eq!(world.take(FIRST), []);
    world.give_back(FIRST);
    assert_eq!(world.sandboxes.len(), 1, "the instance is starting for it");
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
    let rejected = [Action::Reject(TicketId(3), Rejection::QueueTimeout)];
    assert_eq!(world.step(Input::Tick), rejected);
}

#[test]
fn room_is_made_by_stopping_whoever_idles_longest() {
    let mut world = World::new();
    world.arrive(1, 10);
    world.started(FIRST);
    world.finished(FIRST);
    world.arrive(0, 10);
    assert_eq!(world.arrive(2, 10), [Action::Stop(FIRST)]);
    assert_eq!(world.gone(FIRST), [start(InstanceId(2), 2)]);
}

#[test]
fn a_failed_start_fails_the_event_that_waits_longest() {
    let mut world = World::new();
    world.arrive(0, 10);
    let actions = world.start_failed(FIRST);
    assert_eq!(actions, [Action::Assign(TicketId(0), FIRST)]);
}

#[test]
fn a_forgotten_revision_stays_forgotten() {
    let mut world = World::new();
    world.forget(0);
    let rejected = |ticket| [Action::Reject(TicketId(ticket), Rejection::Forgotten)];
    assert_eq!(world.arrive(0, 10), rejected(0));
    assert_eq!(world.prepare(0), rejected(1));
    assert_eq!(world.target(0, Kind::Instance, 1), []);
}

/// A function whose first start found a snapshot, a moment later.
fn restored() -> World {
    let mut world = World::new();
    world.arrive(0, 10);
    world.take(FIRST);
    world.now += Duration::from_millis(5);
    world
}

#[test]
fn the_next_start_finds_a_shell_and_another_is_made_behind_it() {
    let mut world = restored();
    let made = [Action::MakeShell(SECOND, revision(0))];
    assert_eq!(world.step(Input::Tick), made);
    world.started(SECOND);
    let third = InstanceId(2);
    let started = [Action::Start(third, revision(0), Some(SECOND))];
    assert_eq!(world.arrive(0, 10), started);
    assert_eq!(world.memory_mb(), 256, "the shell is the instance now");
    // The event has the processor to itself for a while.
    world.now += Duration::from_millis(5);
    let made = [Action::MakeShell(InstanceId(3), revision(0))];
    assert_eq!(world.step(Input::Tick), made, "one at a time");
    let more = [Action::MakeShell(InstanceId(4), revision(0))];
    assert_eq!(world.started(InstanceId(3)), more, "starts come closely");
    assert_eq!(world.started(InstanceId(4)), []);
    // One that starts once more takes one too.
    let again = world.step(Input::StartAgain(third));
    assert_eq!(again, [Action::UseShell(third, InstanceId(3))]);
    // Without a snapshot there are no shells.
    let dropped = [Action::DropShell(InstanceId(4))];
    assert_eq!(world.step(Input::WithoutSnapshot(third)), dropped);
}

#[test]
fn a_shell_that_cannot_be_made_is_tried_again_later_and_not_for_ever() {
    let mut world = restored();
    world.step(Input::Tick);
    for (nth, pause) in [(1, 1), (2, 2)] {
        world.start_failed(InstanceId(nth));
        world.gone(InstanceId(nth));
        let shells = |world: &World| {
            let held = world.decider.view().held;
            held.into_iter().find(|held| held.kind == Kind::Shell)
        };
        assert_eq!(shells(&world).unwrap().why, Some(Why::Failed));
        world.now += Duration::from_secs(pause);
        let made = [Action::MakeShell(InstanceId(nth + 1), revision(0))];
        assert_eq!(world.step(Input::Tick), made);
    }
    world.start_failed(InstanceId(3));
    world.gone(InstanceId(3));
    world.now += Duration::from_secs(3600);
    assert_eq!(world.step(Input::Tick), []);
}

#[test]
fn shells_go_to_the_functions_that_started_last() {
    let mut world = World::new();
    for function in [0, 1, 2, 3] {
        world.target(function, Kind::Instance, 0);
        world.prepare(function);
        let id = *world.sandboxes.keys().next_back().unwrap();
        world.captured(function);
        world.gone(id);
        world.now += Duration::from_secs(20);
        let made = world.step(Input::Tick);
        match (function, &made[..]) {
            (3, [Action::DropShell(oldest)]) => {
                assert_eq!(world.sandboxes[oldest].function, 0);
                let (oldest, made) = (*oldest, InstanceId(7));
                let instead = [Action::MakeShell(made, revision(3))];
                assert_eq!(world.gone(oldest), instead);
            }
            (_, [Action::MakeShell(id, _)]) => drop(world.started(*id)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_instance_that_a_target_asks_for_is_there_before_its_event_and_stays() {
    let mut world = World::new();
    assert_eq!(world.target(0, Kind::Instance, 2), [start(FIRST, 0)]);
    assert_eq!(world.started(FIRST), [start(SECOND, 0)], "one at a time");
    world.started(SECOND);
    world.now += LIMITS.idle * 2;
    assert_eq!(world.step(Input::Tick), []);
    assert_eq!(world.decider.next_deadline(), None);
    // An event that needs the room goes first, and the target is met again when there is room.
    let assigned = world.arrive(2, 100);
    assert_eq!(assigned, [start(InstanceId(2), 2)]);
    assert_eq!(world.arrive(4, 100), [Action::Stop(FIRST)]);
    assert_eq!(world.gone(FIRST), [start(InstanceId(3), 4)]);
    world.target(0, Kind::Instance, 0);
    assert_eq!(world.step(Input::Tick), [Action::Stop(SECOND)]);
}

#[test]
fn what_cannot_initialise_is_not_started_for_its_target_over_and_over() {
    let mut world = World::new();
    world.target(0, Kind::Instance, 1);
    for nth in 0..4 {
        let id = InstanceId(nth);
        assert_eq!(world.step(Input::InitAgain(id)), [Action::Stop(id)]);
        assert_eq!(world.gone(id), []);
        let at = world.decider.next_deadline().unwrap();
        assert_eq!(at - world.now, Duration::from_secs(1 << nth));
        world.now = at;
        let next = InstanceId(nth + 1);
        assert_eq!(world.step(Input::Tick), [start(next, 0)]);
    }
}

#[test]
fn a_function_is_prepared_once_at_a_time_and_never_before_an_event_that_waits() {
    let mut world = World::new();
    world.arrive(2, 100);
    world.arrive(1, 100);
    assert_eq!(world.prepare(1), [], "no room is left");
    assert_eq!(world.decider.view().held[0].why, Some(Why::Coming));
    world.started(FIRST);
    world.started(SECOND);
    world.finished(SECOND);
    // The room of what is idle is good enough for it.
    assert_eq!(world.step(Input::Tick), []);
    let prepared = world.gone(SECOND);
    assert_eq!(prepared, [Action::Prepare(TicketId(2), InstanceId(2))]);
    assert_eq!(world.prepare(1), []);
    let rejected = Action::Reject(TicketId(3), Rejection::Draining);
    let stopped = Action::Stop(InstanceId(2));
    assert_eq!(world.drain(), [rejected, stopped]);
}
