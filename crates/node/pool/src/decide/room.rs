//! Makes room for whoever is first, of what is needed least.

use std::time::Instant;

use super::Decider;
use super::messages::{Action, InstanceId, Kind};
use super::sandbox::SandboxStage;

/// What may end to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Idle instances that no target asks for.
    Spare,
    /// Those, then shells, then instances that are idle because a target asks for them.
    Idle,
    /// Those, and busy instances, which end with their events.
    Busy,
}

impl Decider {
    /// The instance that is idle for longest and that no target asks for, and since when it is idle.
    pub(super) fn first_spare(&self) -> Option<(Instant, InstanceId)> {
        if self.targeted.is_empty() {
            return self.idle.first().copied();
        }
        let spare = |(_, id): &&(Instant, InstanceId)| {
            let sandbox = self.sandboxes.get(id);
            let function = sandbox.and_then(|one| self.functions.get(&one.revision));
            function.is_some_and(|function| function.can_spare())
        };
        self.idle.iter().find(spare).copied()
    }

    /// Has sandboxes end until, once they are gone, one more that needs so much will fit; or as many as there are.
    pub(super) fn make_room(
        &mut self,
        kind: Kind,
        need_mb: u64,
        reach: Reach,
        actions: &mut Vec<Action>,
    ) {
        while !self.budget.will_fit(kind, need_mb)
            && let Some((_, id)) = self.first_spare()
        {
            self.stop(id, actions);
        }
        if reach == Reach::Spare {
            return;
        }
        self.drop_shells(kind, need_mb, actions);
        while !self.budget.will_fit(kind, need_mb)
            && let Some((_, id)) = self.idle.first().copied()
        {
            self.stop(id, actions);
        }
        // What was not enough before may be with these.
        self.drop_shells(kind, need_mb, actions);
        while reach == Reach::Busy
            && !self.budget.will_fit_at_last(kind, need_mb)
            && let Some(id) = self.first_busy()
        {
            self.change(id, |sandbox| sandbox.slots.retire());
        }
    }

    /// Ends shells of those that started longest ago, if that is enough.
    fn drop_shells(&mut self, kind: Kind, need_mb: u64, actions: &mut Vec<Action>) {
        let ready: usize = self
            .stocked
            .iter()
            .filter_map(|revision| self.functions.get(revision))
            .map(|function| function.shelf.ready.len())
            .sum();
        let all_mb = self.limits.shell_mb * ready as u64;
        if self.budget.missing_mb(need_mb) > all_mb {
            return;
        }
        while !self.budget.will_fit(kind, need_mb)
            && self.budget.missing_mb(need_mb) > 0
            && let Some(id) = self.oldest_shell()
        {
            self.drop_shell(id, actions);
        }
    }

    /// A shell of the function whose last start is longest ago, whatever targets say.
    fn oldest_shell(&self) -> Option<InstanceId> {
        let stocked = self.stocked.iter().filter_map(|r| self.functions.get(r));
        let oldest = stocked.min_by_key(|f| f.shelf.demand.map(|demand| demand.last()))?;
        oldest.shelf.ready.front().copied()
    }

    /// The same, if it may go for one of a function that started at `start`.
    pub(super) fn spare_shell(&self, start: Option<Instant>) -> Option<InstanceId> {
        let stocked = self.stocked.iter().filter_map(|r| self.functions.get(r));
        let spare = stocked.filter_map(|function| {
            let since = function.shelf.spare_since()?;
            Some((since, function.shelf.ready.front().copied()?))
        });
        let (since, id) = spare.min()?;
        (start.is_none() || since < start).then_some(id)
    }

    /// Ends a shell; its function will not ask for another in its place.
    pub(super) fn drop_shell(&mut self, id: InstanceId, actions: &mut Vec<Action>) {
        let Some(revision) = self.sandboxes.get(&id).map(|one| one.revision.clone()) else {
            return;
        };
        // Before it stops, so that it is not missed.
        if let Some(function) = self.functions.get_mut(&revision) {
            function.shelf.expect_one_less();
        }
        self.stop(id, actions);
    }

    fn first_busy(&self) -> Option<InstanceId> {
        let busy = self.sandboxes.values().filter(|sandbox| {
            sandbox.kind == Kind::Instance
                && sandbox.stage == SandboxStage::Up
                && !sandbox.slots.retires()
                && sandbox.slots.taken() > 0
        });
        busy.map(|sandbox| sandbox.id).min()
    }
}
