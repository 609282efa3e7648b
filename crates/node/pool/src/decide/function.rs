//! One function revision of which something is there, waits or is wanted.

use std::time::Instant;

use super::limits::Limits;
use super::lines::Lack;
use super::messages::{InstanceId, Kind, Shape};
use super::sandbox::{Sandbox, SandboxStage};
use super::shells::Shelf;

/// Shells that failed one after the other before starts alone have no more made.
const FAILURES: u32 = 3;

/// See the head of this file.
#[derive(Debug, Clone)]
pub(super) struct KnownFunction {
    pub(super) shape: Shape,
    /// Sandboxes of all kinds that are not gone.
    pub(super) alive: usize,
    /// Instances that are not gone.
    pub(super) instances: usize,
    /// Instances that end neither now nor with their last event.
    pub(super) staying: usize,
    pub(super) starting: Vec<InstanceId>,
    /// Events that instances will take in a moment.
    pub(super) coming: usize,
    /// Instances with a free place, the last used last.
    pub(super) free: Vec<InstanceId>,
    /// Instances that are to be there; see [`Target`](super::Target).
    pub(super) target: usize,
    pub(super) preparing: Vec<InstanceId>,
    /// Preparations that wait.
    pub(super) wishes: usize,
    pub(super) shelf: Shelf,
    /// Of instances that are to be there.
    pub(super) lack: Lack,
}

impl KnownFunction {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            shape,
            alive: 0,
            instances: 0,
            staying: 0,
            starting: Vec::new(),
            coming: 0,
            free: Vec::new(),
            target: 0,
            preparing: Vec::new(),
            wishes: 0,
            shelf: Shelf::default(),
            lack: Lack::default(),
        }
    }

    pub(super) fn memory_mb(&self) -> u64 {
        u64::from(self.shape.memory_mb)
    }

    /// Whether nothing is there and nothing is wanted; events may wait for it all the same.
    pub(super) fn is_empty(&self) -> bool {
        let wanted = self.target + self.shelf.wanted();
        self.alive == 0 && self.wishes == 0 && wanted == 0
    }

    /// Takes account of one of its sandboxes.
    pub(super) fn enter(&mut self, sandbox: &Sandbox) {
        let id = sandbox.id;
        self.alive += 1;
        self.coming += sandbox.coming();
        match (sandbox.kind, sandbox.stage) {
            (Kind::Instance, stage) => {
                self.instances += 1;
                self.staying += usize::from(sandbox.stays());
                match stage {
                    SandboxStage::ComingUp => self.starting.push(id),
                    SandboxStage::Up if sandbox.slots.free() > 0 => self.free.push(id),
                    SandboxStage::Up | SandboxStage::Stopping => {}
                }
            }
            (Kind::Preparation, SandboxStage::Stopping) | (Kind::Shell, SandboxStage::Stopping) => {
            }
            (Kind::Preparation, _) => self.preparing.push(id),
            (Kind::Shell, SandboxStage::ComingUp) => self.shelf.making.push(id),
            (Kind::Shell, SandboxStage::Up) => self.shelf.ready.push_back(id),
        }
    }

    /// The opposite of [`Self::enter`].
    pub(super) fn leave(&mut self, sandbox: &Sandbox) {
        let id = sandbox.id;
        self.alive -= 1;
        self.coming -= sandbox.coming();
        match (sandbox.kind, sandbox.stage) {
            (Kind::Instance, stage) => {
                self.instances -= 1;
                self.staying -= usize::from(sandbox.stays());
                match stage {
                    SandboxStage::ComingUp => self.starting.retain(|one| *one != id),
                    SandboxStage::Up => self.free.retain(|one| *one != id),
                    SandboxStage::Stopping => {}
                }
            }
            (Kind::Preparation, _) => self.preparing.retain(|one| *one != id),
            (Kind::Shell, SandboxStage::ComingUp) => self.shelf.making.retain(|one| *one != id),
            (Kind::Shell, _) => self.shelf.ready.retain(|one| *one != id),
        }
    }

    /// Whether fewer of a kind are there than are to be, events or not.
    pub(super) fn lacks(&self, kind: Kind, limits: &Limits) -> bool {
        match kind {
            Kind::Instance => {
                self.staying < self.target && self.instances < limits.instances_per_function
            }
            Kind::Shell => self.shelf.have() < self.shelf.wanted(),
            Kind::Preparation => false,
        }
    }

    /// Where it stands with a kind.
    pub(super) fn lack(&mut self, kind: Kind) -> &mut Lack {
        match kind {
            Kind::Instance | Kind::Preparation => &mut self.lack,
            Kind::Shell => &mut self.shelf.lack,
        }
    }

    /// Whether an idle instance may end.
    pub(super) fn can_spare(&self) -> bool {
        self.staying > self.target
    }

    /// A start failed.
    pub(super) fn failed(&mut self, kind: Kind, now: Instant) {
        self.lack(kind).failed(now);
        if self.shelf.lack.failures >= FAILURES {
            self.shelf.demand = None;
        }
    }

    /// Nothing of it is wanted any more.
    pub(super) fn want_nothing(&mut self) {
        self.target = 0;
        self.shelf.target = 0;
        self.shelf.demand = None;
    }
}
