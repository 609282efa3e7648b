//! Keeps all sums and sets true while sandboxes come, change and go.

use proto_node::Revision;

use super::Decider;
use super::messages::{Action, InstanceId, Kind};
use super::sandbox::{Sandbox, SandboxStage};

impl Decider {
    /// A name for the next sandbox.
    pub(super) fn name(&mut self) -> InstanceId {
        let id = InstanceId(self.next_instance);
        self.next_instance += 1;
        id
    }

    /// Takes account of a sandbox, whose function is known.
    pub(super) fn insert(&mut self, sandbox: Sandbox) {
        self.budget.enter(&sandbox);
        if sandbox.is_idle() {
            self.idle.insert((sandbox.since, sandbox.id));
        }
        if let Some(function) = self.functions.get_mut(&sandbox.revision) {
            function.enter(&sandbox);
            if sandbox.kind == Kind::Shell && sandbox.stage == SandboxStage::Up {
                self.stocked.insert(sandbox.revision.clone());
            }
        }
        self.look_for_lack(&sandbox.revision);
        self.sandboxes.insert(sandbox.id, sandbox);
    }

    /// The opposite.
    fn take_out(&mut self, id: InstanceId) -> Option<Sandbox> {
        let sandbox = self.sandboxes.remove(&id)?;
        self.budget.leave(&sandbox);
        if sandbox.is_idle() {
            self.idle.remove(&(sandbox.since, id));
        }
        if let Some(function) = self.functions.get_mut(&sandbox.revision) {
            function.leave(&sandbox);
            if sandbox.kind == Kind::Shell && function.shelf.ready.is_empty() {
                self.stocked.remove(&sandbox.revision);
            }
        }
        Some(sandbox)
    }

    /// Changes a sandbox. One that is stopping stays so.
    pub(super) fn change(&mut self, id: InstanceId, change: impl FnOnce(&mut Sandbox)) {
        if let Some(mut sandbox) = self.take_out(id) {
            let stopping = sandbox.stage == SandboxStage::Stopping;
            change(&mut sandbox);
            if stopping {
                sandbox.stage = SandboxStage::Stopping;
            }
            self.insert(sandbox);
        }
    }

    /// A sandbox is no more: there is room for others.
    pub(super) fn remove(&mut self, id: InstanceId) {
        if let Some(sandbox) = self.take_out(id) {
            self.look_for_lack(&sandbox.revision);
            self.tidy(&sandbox.revision);
            self.look_at_room();
        }
    }

    /// Has a sandbox end. A shell that is being made ends when it is made.
    pub(super) fn stop(&mut self, id: InstanceId, actions: &mut Vec<Action>) {
        let Some(sandbox) = self.sandboxes.get(&id) else {
            return;
        };
        match (sandbox.kind, sandbox.stage) {
            (_, SandboxStage::Stopping) => return,
            (Kind::Shell, SandboxStage::ComingUp) => {}
            (Kind::Shell, SandboxStage::Up) => actions.push(Action::DropShell(id)),
            (Kind::Instance | Kind::Preparation, _) => actions.push(Action::Stop(id)),
        }
        self.change(id, |sandbox| sandbox.stage = SandboxStage::Stopping);
    }

    /// Forgets what is not needed of a function that lost something.
    pub(super) fn tidy(&mut self, revision: &Revision) {
        let empty = self
            .functions
            .get(revision)
            .is_some_and(|function| function.is_empty() && self.events.waiting(revision) == 0);
        if empty {
            self.functions.remove(revision);
            self.unwanted.remove(revision);
            self.targeted.remove(revision);
        }
    }
}
