//! Decides, without acting, which sandboxes there are and which instance serves which event.
//!
//! This is the one owner of what the machine has to give: instances, preparations and shells are counted in one
//! budget of memory and processors. What is there follows from the events that come, from what is to be
//! prepared, and from [`Target`]s. The [`PoolView`] tells what is there, and why something is not.
//!
//! An event is a *ticket* from its arrival until an instance takes it; so is a preparation until its turn comes. An
//! instance has one or more *slots*, each for one event at a time ([`slots`]):
//!
//! ```text
//!              Started          Assign × slots           Gone
//! ComingUp ──────────────▶ Up ◀───────────────▶ full    Stopping ──▶ ∅
//!    │ ▲                   │      Finished                ▲
//!    │ ╰─ Take, Return     ╰─ nothing left to do ─────────┤ (from any stage)
//!    ╰─ StartFailed ──────────────────────────────────────╯
//! ```
//!
//! Events that instances will take in a moment have no other instance started for them: those that start have all
//! their slots to give, and others the slots whose event is answered while it is not over (`Answered`, `Late`).
//!
//! An instance of a function whose events are kept apart ([`Isolation::PerEvent`](proto_node::Isolation)) takes one
//! event and stops after it; until that comes it may be idle like any other.
//!
//! Who goes first: events and among them preparations that have waited for long, in order of arrival; then other
//! preparations; then what targets and the demand for shells ask for. Who is first has room made for it, and nobody
//! behind it takes that room. Room is made ([`room`]) of idle instances and shells, and for
//! who has waited for long also of busy instances, which end with their events: others may have events without end.
//!
//! Invariants (simulated in `tests/decide.rs`): limits on sandboxes, memory and waiting tickets hold in any mix
//! of kinds; every ticket is assigned or rejected exactly once; no ticket waits while an instance of its function has
//! a slot; an instance has at most as many events as slots, and one whose events are kept apart is assigned
//! one; nothing waits for ever when room can be made; targets are reached when there is room; after `Drain`
//! everything ends; a tick at `next_deadline` moves that, and none is needed before.

mod ahead;
mod arrive;
mod backoff;
mod budget;
mod function;
mod ledger;
mod limits;
mod lines;
mod messages;
mod room;
mod sandbox;
mod serve;
mod shells;
mod slots;
mod start;
mod view;
mod waiting;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Instant;

use proto_node::Revision;

pub use limits::Limits;
pub use messages::{Action, Input, InstanceId, Kind, Rejection, Shape, Target, TicketId};
pub use view::{Held, PoolView, Why};

use backoff::Backoff;
use budget::Budget;
use function::KnownFunction;
use lines::Line;
use sandbox::Sandbox;
use waiting::{Events, Ticket, Wishes};

/// The whole state of the decision.
#[derive(Debug, Clone)]
pub struct Decider {
    limits: Limits,
    budget: Budget,
    draining: bool,
    next_instance: u64,
    functions: HashMap<Revision, KnownFunction>,
    sandboxes: HashMap<InstanceId, Sandbox>,
    events: Events,
    wishes: Wishes,
    /// When the event that is first to have room made for it loses patience.
    patient_until: Option<Instant>,
    /// Functions whose instances do not come up.
    failing: Backoff,
    /// When the first event may have an instance started that waits because those before it did not come up.
    held_until: Option<Instant>,
    /// Functions whose events wait for that, or for a later time.
    held: BTreeSet<Revision>,
    /// Idle instances by the time since when they are.
    idle: BTreeSet<(Instant, InstanceId)>,
    /// Functions with instances that are to be there, events or not.
    targeted: BTreeSet<Revision>,
    /// Functions with shells that wait.
    stocked: BTreeSet<Revision>,
    /// Functions that are to have more instances or shells than they have.
    instance_line: Line,
    shell_line: Line,
    forgotten: Forgotten,
    /// Forgotten revisions of which something is alive or waits.
    unwanted: BTreeSet<Revision>,
}

/// Forgotten revisions that are remembered, so that late events do not revive them.
#[derive(Debug, Clone, Default)]
struct Forgotten {
    order: VecDeque<Revision>,
    all: HashSet<Revision>,
}

impl Forgotten {
    /// How many; the first is forgotten for good then.
    const MOST: usize = 4096;

    fn insert(&mut self, revision: Revision) {
        if self.order.len() >= Self::MOST
            && let Some(first) = self.order.pop_front()
        {
            self.all.remove(&first);
        }
        if self.all.insert(revision.clone()) {
            self.order.push_back(revision);
        }
    }
}

impl Decider {
    /// Nothing runs, nothing waits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            budget: Budget::new(limits),
            draining: false,
            next_instance: 0,
            functions: HashMap::new(),
            sandboxes: HashMap::new(),
            events: Events::default(),
            wishes: Wishes::new(limits.preparation_patience),
            patient_until: None,
            failing: Backoff::default(),
            held_until: None,
            held: BTreeSet::new(),
            idle: BTreeSet::new(),
            targeted: BTreeSet::new(),
            stocked: BTreeSet::new(),
            instance_line: Line::default(),
            shell_line: Line::default(),
            forgotten: Forgotten::default(),
            unwanted: BTreeSet::new(),
        }
    }

    /// Takes note of what happened and says what to do, in order.
    pub fn step(&mut self, now: Instant, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        self.note(now, input, &mut actions);
        self.wishes.look(now);
        self.look_at_later(now);
        self.assign(&mut actions);
        self.turn_away(&mut actions);
        self.stop_unwanted(&mut actions);
        if self.start(now, &mut actions) == start::Started::All {
            self.start_ahead(now, &mut actions);
        }
        actions
    }

    fn note(&mut self, now: Instant, input: Input, actions: &mut Vec<Action>) {
        match input {
            Input::Arrive {
                ticket,
                revision,
                shape,
                deadline,
            } => {
                let event = Ticket {
                    id: ticket,
                    since: now,
                    deadline,
                };
                if let Err(why) = self.arrive(event, revision, shape) {
                    actions.push(Action::Reject(ticket, why));
                }
            }
            Input::Prepare {
                ticket,
                revision,
                shape,
            } => {
                if let Err(why) = self.wish(now, ticket, revision, shape) {
                    actions.push(Action::Reject(ticket, why));
                }
            }
            Input::Cancel(ticket) => self.cancel(ticket),
            Input::Target(target, shape) => self.target(target, shape),
            Input::Started(id) => self.started(id, now, actions),
            Input::StartFailed(id) => self.start_failed(id, now, actions),
            Input::InitAgain(id) => self.init_again(id, now, actions),
            Input::StartAgain(id) => self.start_again(id, now, actions),
            Input::Take(id) => self.take_along(id, now, actions),
            Input::Return(id) => self.give_back(id),
            Input::WithoutSnapshot(id) => self.without_snapshot(id, actions),
            Input::Captured(revision) => self.captured(&revision, now),
            Input::Answered(id) => self.answered(id),
            Input::Late(id) => self.change_slots(id, slots::Slots::late),
            Input::Finished(id) => self.finish(id, now, actions),
            Input::Gone(id) => self.remove(id),
            Input::Forget(revision) => self.forget(revision, actions),
            Input::Drain => self.drain(actions),
            Input::Tick => self.expire(now, actions),
        }
    }

    /// When [`Input::Tick`] will change something.
    pub fn next_deadline(&self) -> Option<Instant> {
        let idle = self.first_spare().map(|(since, _)| since);
        [
            idle.map(|since| since + self.limits.idle),
            self.events.deadline(),
            self.wishes.deadline(),
            self.patient_until,
            self.held_until,
            self.instance_line.deadline(),
            self.shell_line.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Sandboxes of `revision`, of all kinds, that are not gone.
    pub fn alive(&self, revision: &Revision) -> usize {
        self.functions
            .get(revision)
            .map_or(0, |function| function.alive)
    }

    /// Whether anything of `revision` is alive, waits or is wanted.
    pub fn knows(&self, revision: &Revision) -> bool {
        self.functions.contains_key(revision)
    }

    /// Sandboxes of a kind that are not gone.
    pub fn of_kind(&self, kind: Kind) -> usize {
        self.budget.of_kind(kind)
    }

    /// Sandboxes of all kinds that are not gone.
    pub fn sandboxes(&self) -> usize {
        self.sandboxes.len()
    }

    /// What all sandboxes that are not gone take of the memory, in MiB.
    pub fn memory_mb(&self) -> u64 {
        self.budget.memory_mb()
    }

    /// Events that wait for an instance, and preparations that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.events.len() + self.wishes.len()
    }
}
