//! What all sandboxes take of the machine, of every kind.

use super::limits::Limits;
use super::messages::Kind;
use super::sandbox::{For, Sandbox, SandboxStage};

/// A sum over sandboxes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    /// Of instances and preparations.
    running: usize,
    shells: usize,
    memory_mb: u64,
}

impl Sum {
    fn of(sandbox: &Sandbox) -> Sum {
        let shell = sandbox.kind == Kind::Shell;
        Sum {
            running: usize::from(!shell),
            shells: usize::from(shell),
            memory_mb: sandbox.cost_mb,
        }
    }

    fn add(&mut self, other: Sum) {
        self.running += other.running;
        self.shells += other.shells;
        self.memory_mb += other.memory_mb;
    }

    fn subtract(&mut self, other: Sum) {
        self.running = self.running.saturating_sub(other.running);
        self.shells = self.shells.saturating_sub(other.shells);
        self.memory_mb = self.memory_mb.saturating_sub(other.memory_mb);
    }

    fn less(mut self, other: Sum) -> Sum {
        self.subtract(other);
        self
    }
}

/// What there is, and what of it will soon be no more.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    limits: Limits,
    all: Sum,
    stopping: Sum,
    /// Instances that end with their last event.
    retiring: Sum,
    /// Coming up: each has the use of a processor.
    coming_up: usize,
    /// Of them, instances for nobody in particular, and shells.
    ahead: usize,
    making: usize,
    /// Preparations that are not gone.
    preparations: usize,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            all: Sum::default(),
            stopping: Sum::default(),
            retiring: Sum::default(),
            coming_up: 0,
            ahead: 0,
            making: 0,
            preparations: 0,
        }
    }

    pub(super) fn enter(&mut self, sandbox: &Sandbox) {
        let sum = Sum::of(sandbox);
        self.all.add(sum);
        self.preparations += usize::from(sandbox.kind == Kind::Preparation);
        match sandbox.stage {
            SandboxStage::Stopping => return self.stopping.add(sum),
            SandboxStage::ComingUp => {
                self.coming_up += 1;
                *self.ahead(sandbox.kind) += usize::from(sandbox.whose == For::Later);
            }
            SandboxStage::Up => {}
        }
        if sandbox.slots.retires() {
            self.retiring.add(sum);
        }
    }

    pub(super) fn leave(&mut self, sandbox: &Sandbox) {
        let sum = Sum::of(sandbox);
        self.all.subtract(sum);
        self.preparations -= usize::from(sandbox.kind == Kind::Preparation);
        match sandbox.stage {
            SandboxStage::Stopping => return self.stopping.subtract(sum),
            SandboxStage::ComingUp => {
                self.coming_up -= 1;
                *self.ahead(sandbox.kind) -= usize::from(sandbox.whose == For::Later);
            }
            SandboxStage::Up => {}
        }
        if sandbox.slots.retires() {
            self.retiring.subtract(sum);
        }
    }

    fn ahead(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Instance | Kind::Preparation => &mut self.ahead,
            Kind::Shell => &mut self.making,
        }
    }

    /// Memory of what is not gone, in MiB.
    pub(super) fn memory_mb(&self) -> u64 {
        self.all.memory_mb
    }

    pub(super) fn of_kind(&self, kind: Kind) -> usize {
        match kind {
            Kind::Instance => self.all.running - self.preparations,
            Kind::Preparation => self.preparations,
            Kind::Shell => self.all.shells,
        }
    }

    /// Sandboxes that are coming up.
    pub(super) fn coming_up(&self) -> usize {
        self.coming_up
    }

    pub(super) fn shells(&self) -> usize {
        self.all.shells
    }

    fn takes(&self, there: Sum, kind: Kind, need_mb: u64) -> bool {
        there.memory_mb + need_mb <= self.limits.memory_mb
            && match kind {
                Kind::Instance | Kind::Preparation => there.running < self.limits.instances,
                Kind::Shell => there.shells < self.limits.shells,
            }
    }

    /// Whether one more fits that needs so much, when a shell of so much has become it.
    pub(super) fn fits(&self, kind: Kind, need_mb: u64, shell_mb: u64) -> bool {
        let shell = Sum {
            memory_mb: shell_mb,
            ..Sum::default()
        };
        self.takes(self.all.less(shell), kind, need_mb)
    }

    /// Whether one more will fit when what is stopping is gone.
    pub(super) fn will_fit(&self, kind: Kind, need_mb: u64) -> bool {
        self.takes(self.all.less(self.stopping), kind, need_mb)
    }

    /// The same when instances that retire are gone too.
    pub(super) fn will_fit_at_last(&self, kind: Kind, need_mb: u64) -> bool {
        let there = self.all.less(self.stopping).less(self.retiring);
        self.takes(there, kind, need_mb)
    }

    /// MiB that are missing for one that needs so much, when what is stopping is gone.
    pub(super) fn missing_mb(&self, need_mb: u64) -> u64 {
        let there = self.all.less(self.stopping).memory_mb;
        (there + need_mb).saturating_sub(self.limits.memory_mb)
    }

    /// Whether one more of a kind may come up for nobody in particular: one always may, more while they leave a
    /// processor to events.
    pub(super) fn processor_ahead(&self, kind: Kind) -> bool {
        let there = match kind {
            Kind::Instance | Kind::Preparation => self.ahead,
            Kind::Shell => self.making,
        };
        there == 0 || self.coming_up + 1 < self.limits.processors
    }

    /// Whether one more function may be prepared now: one always may, more of them while there are processors.
    pub(super) fn processor_to_prepare(&self) -> bool {
        self.preparations == 0
            || (self.preparations < self.limits.preparations
                && self.coming_up < self.limits.processors)
    }
}
