//! Sandboxes come up, take events and are done with them.

use std::time::{Duration, Instant};

use proto_node::Revision;

use super::Decider;
use super::messages::{Action, InstanceId, Kind, Rejection};
use super::sandbox::{Sandbox, SandboxStage};
use super::shells::{Demand, LATER};
use super::slots::Slots;

/// When an event beyond its deadline, whose instance is coming, is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Decider {
    /// The sandbox, if it is of this kind and coming up.
    fn coming_up(&self, id: InstanceId, kind: Kind) -> Option<&Sandbox> {
        let sandbox = self.sandboxes.get(&id)?;
        (sandbox.kind == kind && sandbox.stage == SandboxStage::ComingUp).then_some(sandbox)
    }

    pub(super) fn started(&mut self, id: InstanceId, now: Instant, actions: &mut Vec<Action>) {
        let Some(sandbox) = self.sandboxes.get(&id) else {
            return;
        };
        match (sandbox.kind, sandbox.stage) {
            (Kind::Instance | Kind::Shell, SandboxStage::ComingUp) => {
                if sandbox.kind == Kind::Instance {
                    self.failing.succeeded(&sandbox.revision);
                }
                if let Some(function) = self.functions.get_mut(&sandbox.revision) {
                    function.lack(sandbox.kind).succeeded();
                }
                self.change(id, |sandbox| {
                    sandbox.stage = SandboxStage::Up;
                    sandbox.since = now;
                });
            }
            // It was to end while it was made.
            (Kind::Shell, SandboxStage::Stopping) => actions.push(Action::DropShell(id)),
            _ => {}
        }
    }

    pub(super) fn start_failed(&mut self, id: InstanceId, now: Instant, actions: &mut Vec<Action>) {
        if self.coming_up(id, Kind::Shell).is_some() {
            self.failed(id, now);
            self.change(id, |sandbox| sandbox.stage = SandboxStage::Stopping);
        } else if let Some(ticket) = self.event_for(id, now) {
            self.change(id, |sandbox| sandbox.stage = SandboxStage::Stopping);
            actions.push(Action::Assign(ticket, id));
        } else if self.waits_for_event(id) {
            self.stop(id, actions);
        }
    }

    /// An instance that needs an event to initialise in: the longest waiting one of its function.
    pub(super) fn init_again(&mut self, id: InstanceId, now: Instant, actions: &mut Vec<Action>) {
        if let Some(ticket) = self.event_for(id, now) {
            self.change(id, |sandbox| sandbox.slots.take());
            actions.push(Action::Assign(ticket, id));
        } else if self.waits_for_event(id) {
            self.stop(id, actions);
        }
    }

    fn waits_for_event(&self, id: InstanceId) -> bool {
        self.coming_up(id, Kind::Instance)
            .is_some_and(|sandbox| sandbox.slots.taken() == 0)
    }

    /// An instance did not initialise: takes note of it, and takes an event that waits.
    fn event_for(&mut self, id: InstanceId, now: Instant) -> Option<super::TicketId> {
        if !self.waits_for_event(id) {
            return None;
        }
        self.failed(id, now);
        let revision = self.sandboxes.get(&id)?.revision.clone();
        self.events.pop(&revision)
    }

    fn failed(&mut self, id: InstanceId, now: Instant) {
        let sandbox = self.sandboxes.get(&id);
        let Some(sandbox) = sandbox else { return };
        if let Some(function) = self.functions.get_mut(&sandbox.revision) {
            function.failed(sandbox.kind, now);
        }
        if sandbox.kind == Kind::Instance {
            self.failing.failed(&sandbox.revision, now);
        }
    }

    /// An instance starts once more.
    pub(super) fn start_again(&mut self, id: InstanceId, now: Instant, actions: &mut Vec<Action>) {
        let sandbox = self.coming_up(id, Kind::Instance);
        if let Some(revision) = sandbox.map(|sandbox| sandbox.revision.clone())
            && let Some(shell) = self.take_shell(&revision, now)
        {
            actions.push(Action::UseShell(id, shell));
        }
    }

    /// Gives the event that waits longest to an instance that is not there yet. It has a snapshot: so may shells.
    pub(super) fn take_along(&mut self, id: InstanceId, now: Instant, actions: &mut Vec<Action>) {
        let Some(sandbox) = self.coming_up(id, Kind::Instance) else {
            return;
        };
        let revision = sandbox.revision.clone();
        if self.waits_for_event(id)
            && let Some(ticket) = self.events.pop(&revision)
        {
            self.change(id, |sandbox| sandbox.slots.take());
            actions.push(Action::Assign(ticket, id));
        }
        self.captured(&revision, now);
    }

    pub(super) fn give_back(&mut self, id: InstanceId) {
        if self.coming_up(id, Kind::Instance).is_some() {
            self.change(id, |sandbox| sandbox.slots.give_back());
        }
    }

    /// There is a snapshot: a start finds a shell from now on.
    pub(super) fn captured(&mut self, revision: &Revision, now: Instant) {
        if let Some(function) = self.functions.get_mut(revision)
            && function.shelf.demand.is_none()
            && !self.unwanted.contains(revision)
        {
            function.shelf.demand = Some(Demand::first(now));
            function.shelf.lack.succeeded();
            function.shelf.lack.hold(now + LATER);
            self.look_for_lack(revision);
        }
    }

    /// There is none: neither are there shells.
    pub(super) fn without_snapshot(&mut self, id: InstanceId, actions: &mut Vec<Action>) {
        let sandbox = self.sandboxes.get(&id);
        let Some(function) = sandbox.and_then(|one| self.functions.get_mut(&one.revision)) else {
            return;
        };
        function.shelf.demand = None;
        let mut shells: Vec<_> = function.shelf.ready.iter().copied().collect();
        shells.extend_from_slice(&function.shelf.making);
        for id in shells {
            self.stop(id, actions);
        }
    }

    /// An event has its answer. Who answers has come up, if only within the event.
    pub(super) fn answered(&mut self, id: InstanceId) {
        if let Some(sandbox) = self.sandboxes.get(&id) {
            self.failing.succeeded(&sandbox.revision);
        }
        self.change_slots(id, Slots::answered);
    }

    /// Moves the events of an instance that is up on.
    pub(super) fn change_slots(&mut self, id: InstanceId, change: impl FnOnce(&mut Slots)) {
        self.change(id, |sandbox| change(&mut sandbox.slots));
    }

    /// An instance is done with an event; some take no other.
    pub(super) fn finish(&mut self, id: InstanceId, now: Instant, actions: &mut Vec<Action>) {
        let Some(sandbox) = self.sandboxes.get(&id) else {
            return;
        };
        if sandbox.kind != Kind::Instance || sandbox.stage == SandboxStage::Stopping {
            return;
        }
        if sandbox.stage == SandboxStage::ComingUp {
            // It came up with the event that it took along.
            self.started(id, now, actions);
        }
        self.change(id, |sandbox| {
            sandbox.slots.finish();
            sandbox.since = now;
        });
        let over = self
            .sandboxes
            .get(&id)
            .is_some_and(|one| one.slots.is_over());
        if over {
            self.stop(id, actions);
        }
    }

    /// Gives waiting events to instances with free slots, the last used first: the others may expire.
    pub(super) fn assign(&mut self, actions: &mut Vec<Action>) {
        let free = |r: &&Revision| self.functions.get(*r).is_some_and(|f| !f.free.is_empty());
        let ready: Vec<_> = self.events.revisions().filter(free).cloned().collect();
        for revision in ready {
            while let Some(function) = self.functions.get(&revision)
                && let Some(id) = function.free.last().copied()
                && let Some(ticket) = self.events.pop(&revision)
            {
                self.change(id, |sandbox| sandbox.slots.take());
                actions.push(Action::Assign(ticket, id));
            }
        }
    }

    pub(super) fn expire(&mut self, now: Instant, actions: &mut Vec<Action>) {
        while let Some((since, id)) = self.first_spare()
            && since + self.limits.idle <= now
        {
            self.stop(id, actions);
        }
        while let Some((ticket, revision, before)) = self.events.late(now) {
            let coming = self.functions.get(&revision).map_or(0, |f| f.coming);
            if before < coming {
                // An instance is coming for it: its failure or its answer is better than ours.
                self.events.put_off(ticket, now + LOOK_AGAIN);
            } else {
                self.events.remove(ticket);
                self.tidy(&revision);
                actions.push(Action::Reject(ticket, Rejection::QueueTimeout));
            }
        }
    }
}
