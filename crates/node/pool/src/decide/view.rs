//! What is there of each function and kind, and why something is not.

use proto_node::Revision;

use super::Decider;
use super::function::KnownFunction;
use super::lines::Place;
use super::messages::{InstanceId, Kind};
use super::sandbox::SandboxStage;

/// All that the decision knows, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolView {
    /// What all sandboxes that are not gone take of the memory, in MiB.
    pub memory_mb: u64,
    /// What they may take, in MiB.
    pub memory_limit_mb: u64,
    /// Sandboxes that come up, each with the use of a processor.
    pub coming_up: usize,
    /// Processors that there are.
    pub processors: usize,
    /// Instances and preparations that are not gone, and how many there may be.
    pub running: usize,
    /// See [`PoolView::running`].
    pub running_limit: usize,
    /// Events that wait.
    pub waiting: usize,
    /// Whether it takes no new events.
    pub draining: bool,
    /// By revision, then by kind; what has nothing and wants nothing is left out.
    pub held: Vec<Held>,
}

/// Sandboxes of one function and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The function.
    pub revision: Revision,
    /// The kind.
    pub kind: Kind,
    /// Those that are up.
    pub up: usize,
    /// Instances that have events.
    pub busy: usize,
    /// Events that they have. Shells and preparations have none.
    pub events: usize,
    /// What they take of the memory, in MiB.
    pub memory_mb: u64,
    /// Those that come up.
    pub coming: usize,
    /// Those that end.
    pub ending: usize,
    /// How many there should be at least, events or not: by a target, or for shells by how starts follow each other.
    pub wanted: usize,
    /// Events, or preparations, that wait for one.
    pub waiting: usize,
    /// Why there are not more; none if nothing is missing.
    pub why: Option<Why>,
}

/// Why something is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is coming.
    Coming,
    /// The function has as many instances as it may have.
    FunctionLimit,
    /// There is no room.
    Room,
    /// The processors have enough to do.
    Processors,
    /// A moment later: who started just now has the processor.
    Later,
    /// The last starts failed; another follows.
    Failed,
    /// The revision is forgotten, or the node goes down.
    Unwanted,
}

impl Decider {
    /// What is there, and why something is not.
    pub fn view(&self) -> PoolView {
        let mut held: Vec<_> = self
            .functions
            .iter()
            .flat_map(|(revision, function)| self.held_of(revision, function))
            .collect();
        held.sort_by(|a, b| (&a.revision, a.kind).cmp(&(&b.revision, b.kind)));
        for sandbox in self.sandboxes.values() {
            let place = held.binary_search_by(|one| {
                (&one.revision, one.kind).cmp(&(&sandbox.revision, sandbox.kind))
            });
            if let Ok(place) = place {
                let held = &mut held[place];
                match sandbox.stage {
                    SandboxStage::ComingUp => held.coming += 1,
                    SandboxStage::Up => held.up += 1,
                    SandboxStage::Stopping => held.ending += 1,
                }
                held.memory_mb += sandbox.cost_mb;
                if sandbox.kind == Kind::Instance && sandbox.stage != SandboxStage::Stopping {
                    held.events += sandbox.slots.taken();
                    let up = sandbox.stage == SandboxStage::Up;
                    held.busy += usize::from(up && sandbox.slots.taken() > 0);
                }
            }
        }
        held.retain(|one| one.up + one.coming + one.ending + one.wanted + one.waiting > 0);
        PoolView {
            memory_mb: self.budget.memory_mb(),
            memory_limit_mb: self.limits.memory_mb,
            coming_up: self.budget.coming_up(),
            processors: self.limits.processors,
            running: self.of_kind(Kind::Instance) + self.of_kind(Kind::Preparation),
            running_limit: self.limits.instances,
            waiting: self.events.len(),
            draining: self.draining,
            held,
        }
    }

    fn held_of(&self, revision: &Revision, function: &KnownFunction) -> [Held; 3] {
        Kind::ALL.map(|kind| {
            let (wanted, waiting) = match kind {
                Kind::Instance => (function.target, self.events.waiting(revision)),
                Kind::Preparation => (0, function.wishes),
                Kind::Shell => (function.shelf.wanted(), 0),
            };
            Held {
                revision: revision.clone(),
                kind,
                up: 0,
                busy: 0,
                events: 0,
                memory_mb: 0,
                coming: 0,
                ending: 0,
                wanted,
                waiting,
                why: self.why(revision, function, kind),
            }
        })
    }

    fn why(&self, revision: &Revision, function: &KnownFunction, kind: Kind) -> Option<Why> {
        let lacks = match kind {
            Kind::Instance => {
                self.events.waiting(revision) > 0 || function.staying < function.target
            }
            Kind::Preparation => function.wishes > 0,
            Kind::Shell => function.lacks(kind, &self.limits),
        };
        if !lacks {
            return None;
        }
        if self.unwanted.contains(revision) {
            return Some(Why::Unwanted);
        }
        let full = function.instances >= self.limits.instances_per_function;
        Some(match kind {
            Kind::Instance if self.events.waiting(revision) > 0 => {
                if self.uncovered(revision).is_none() {
                    Why::Coming
                } else if full {
                    Why::FunctionLimit
                } else if self.held.contains(revision) {
                    Why::Failed
                } else {
                    Why::Room
                }
            }
            Kind::Instance if full => Why::FunctionLimit,
            Kind::Preparation if !self.may_prepare(revision) => Why::Coming,
            Kind::Preparation if !self.budget.processor_to_prepare() => Why::Processors,
            Kind::Preparation => Why::Room,
            Kind::Instance => of_lack(&function.lack),
            Kind::Shell => of_lack(&function.shelf.lack),
        })
    }

    /// The kind of a sandbox that is not gone.
    pub fn kind(&self, id: InstanceId) -> Option<Kind> {
        self.sandboxes.get(&id).map(|sandbox| sandbox.kind)
    }
}

fn of_lack(lack: &super::lines::Lack) -> Why {
    match lack.place {
        Place::Room => Why::Room,
        Place::Later if lack.failures > 0 => Why::Failed,
        Place::Later => Why::Later,
        Place::None | Place::Queue => Why::Processors,
    }
}
