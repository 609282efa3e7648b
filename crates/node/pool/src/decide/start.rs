//! Starts what somebody waits for: instances for events, and preparations.

use std::collections::BTreeSet;
use std::time::Instant;

use proto_node::Revision;

use super::Decider;
use super::messages::{Action, InstanceId, Kind, TicketId};
use super::room::Reach;
use super::sandbox::{For, Sandbox, SandboxStage};
use super::shells::LATER;
use super::slots::Slots;
use super::waiting::Wish;

/// How far the starts of a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Started {
    /// Whoever could be was started.
    All,
    /// Somebody waits for room, which nobody else may take.
    Some,
}

/// Who waits for a sandbox, in order of arrival.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    ticket: TicketId,
    revision: Revision,
    kind: Kind,
    since: Instant,
}

impl Decider {
    /// Starts instances for waiting events that none is coming for, and what is to be prepared, in order of arrival.
    pub(super) fn start(&mut self, now: Instant, actions: &mut Vec<Action>) -> Started {
        self.patient_until = None;
        self.held_until = None;
        self.held.clear();
        // Who waits for room may be many; only the first of each function is looked at.
        let waiting: Vec<Claim> = {
            let waiting = self.events.revisions();
            waiting.filter_map(|r| self.event_claim(r)).collect()
        };
        let mut claims = BTreeSet::new();
        for claim in waiting {
            match self.failing.until(&claim.revision, now) {
                Some(until) => self.hold_until(claim.revision, until),
                None => drop(claims.insert(claim)),
            }
        }
        claims.extend(self.impatient_claim());
        while let Some(claim) = claims.pop_first() {
            let next = if claim.kind == Kind::Preparation {
                // What was started meanwhile may have taken the processor.
                if !self.budget.processor_to_prepare() {
                    continue;
                }
                if !self.prepare(claim.ticket, &claim.revision, Reach::Busy, now, actions) {
                    return Started::Some;
                }
                self.impatient_claim()
            } else {
                let function = self.functions.get(&claim.revision);
                let most = self.limits.instances_per_function;
                if function.is_none_or(|function| function.instances >= most) {
                    continue;
                }
                if !self.start_for_event(&claim, now, actions) {
                    return Started::Some;
                }
                self.event_claim(&claim.revision)
            };
            claims.extend(next);
        }
        self.prepare_patient(now, actions)
    }

    fn hold_until(&mut self, revision: Revision, until: Instant) {
        self.held.insert(revision);
        let first = self.held_until.map_or(until, |other| other.min(until));
        self.held_until = Some(first);
    }

    fn event_claim(&self, revision: &Revision) -> Option<Claim> {
        let ticket = self.uncovered(revision)?;
        Some(Claim {
            ticket: ticket.id,
            revision: revision.clone(),
            kind: Kind::Instance,
            since: ticket.since,
        })
    }

    fn impatient_claim(&self) -> Option<Claim> {
        if !self.budget.processor_to_prepare() {
            return None;
        }
        let mut wishes = self.wishes.impatient();
        let wish = wishes.find(|wish| self.may_prepare(&wish.revision))?;
        Some(Claim {
            ticket: wish.ticket,
            revision: wish.revision.clone(),
            kind: Kind::Preparation,
            since: wish.since,
        })
    }

    /// Whether nothing of the function is being prepared already.
    pub(super) fn may_prepare(&self, revision: &Revision) -> bool {
        let function = self.functions.get(revision);
        function.is_some_and(|function| function.preparing.is_empty())
    }

    /// Prepares those whose turn has not come, where it costs nobody more than the end of an idle instance.
    fn prepare_patient(&mut self, now: Instant, actions: &mut Vec<Action>) -> Started {
        while self.budget.processor_to_prepare() {
            let mut wishes = self.wishes.all();
            let wish = wishes
                .find(|wish| self.may_prepare(&wish.revision))
                .cloned();
            drop(wishes);
            let Some(Wish {
                ticket, revision, ..
            }) = wish
            else {
                break;
            };
            if !self.prepare(ticket, &revision, Reach::Spare, now, actions) {
                return Started::Some;
            }
        }
        Started::All
    }

    /// Starts an instance for an event, in a shell if there is one; whether there was room.
    fn start_for_event(&mut self, claim: &Claim, now: Instant, actions: &mut Vec<Action>) -> bool {
        let revision = &claim.revision;
        let Some(function) = self.functions.get(revision) else {
            return true;
        };
        let (need, shell) = (function.memory_mb(), function.shelf.ready.front());
        let shell_mb = shell.map_or(0, |_| self.limits.shell_mb);
        if !self.budget.fits(Kind::Instance, need, shell_mb) {
            let until = claim.since + self.limits.patience;
            let reach = if until <= now {
                Reach::Busy
            } else {
                self.patient_until = Some(until);
                Reach::Idle
            };
            self.make_room(Kind::Instance, need, reach, actions);
            return false;
        }
        let shell = self.take_shell(revision, now);
        let id = self.begin(Kind::Instance, revision, For::Somebody, now);
        actions.push(Action::Start(id, revision.clone(), shell));
        true
    }

    /// A start of a function takes its shell, if one waits, and has another made behind it.
    pub(super) fn take_shell(&mut self, revision: &Revision, now: Instant) -> Option<InstanceId> {
        let most = self.limits.shells_per_function;
        let function = self.functions.get_mut(revision)?;
        if let Some(demand) = function.shelf.demand {
            function.shelf.demand = Some(demand.another(now, most));
            function.shelf.lack.hold(now + LATER);
        }
        let shell = function.shelf.ready.front().copied()?;
        self.remove(shell);
        Some(shell)
    }

    /// Lets the turn of a preparation come; whether there was room.
    fn prepare(
        &mut self,
        ticket: TicketId,
        revision: &Revision,
        reach: Reach,
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> bool {
        let function = self.functions.get(revision);
        let need = function.map_or(0, |function| function.memory_mb());
        if !self.budget.fits(Kind::Preparation, need, 0) {
            self.make_room(Kind::Preparation, need, reach, actions);
            return false;
        }
        let id = self.begin(Kind::Preparation, revision, For::Somebody, now);
        self.take_wish(ticket);
        actions.push(Action::Prepare(ticket, id));
        true
    }

    /// Takes account of a sandbox that is to be started.
    pub(super) fn begin(
        &mut self,
        kind: Kind,
        revision: &Revision,
        whose: For,
        now: Instant,
    ) -> InstanceId {
        let id = self.name();
        if let Some(function) = self.functions.get(revision) {
            let cost_mb = match kind {
                Kind::Instance | Kind::Preparation => function.memory_mb(),
                Kind::Shell => self.limits.shell_mb,
            };
            self.insert(Sandbox {
                id,
                revision: revision.clone(),
                kind,
                stage: SandboxStage::ComingUp,
                whose,
                cost_mb,
                slots: Slots::of(function.shape),
                since: now,
            });
        }
        id
    }
}
