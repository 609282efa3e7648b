//! What comes from outside: events, preparations, targets, and that something is wanted no more.

use std::time::Instant;

use proto_node::Revision;

use super::Decider;
use super::function::KnownFunction;
use super::messages::{Action, Kind, Rejection, Shape, Target, TicketId};
use super::waiting::Ticket;

impl Decider {
    /// Whether anything may be wanted of a revision.
    fn welcome(&self, revision: &Revision, shape: Shape) -> Result<(), Rejection> {
        if self.draining {
            Err(Rejection::Draining)
        } else if self.forgotten.all.contains(revision) {
            Err(Rejection::Forgotten)
        } else if u64::from(shape.memory_mb) > self.limits.memory_mb {
            Err(Rejection::Concurrency)
        } else {
            Ok(())
        }
    }

    fn function(&mut self, revision: Revision, shape: Shape) -> &mut KnownFunction {
        self.functions
            .entry(revision)
            .or_insert_with(|| KnownFunction::new(shape))
    }

    pub(super) fn arrive(
        &mut self,
        ticket: Ticket,
        revision: Revision,
        shape: Shape,
    ) -> Result<(), Rejection> {
        self.welcome(&revision, shape)?;
        let function = self.functions.get(&revision);
        let waits = function.is_none_or(|function| function.free.is_empty());
        let full = self.events.len() >= self.limits.waiting
            || self.events.waiting(&revision) >= self.limits.waiting_per_function;
        if waits && full {
            return Err(Rejection::Concurrency);
        }
        self.function(revision.clone(), shape);
        self.events.push(ticket, revision);
        Ok(())
    }

    pub(super) fn wish(
        &mut self,
        now: Instant,
        ticket: TicketId,
        revision: Revision,
        shape: Shape,
    ) -> Result<(), Rejection> {
        self.welcome(&revision, shape)?;
        if self.wishes.len() >= self.limits.waiting {
            return Err(Rejection::Concurrency);
        }
        self.function(revision.clone(), shape).wishes += 1;
        self.wishes.push(ticket, revision, now);
        Ok(())
    }

    /// Takes a preparation from those that wait.
    pub(super) fn take_wish(&mut self, ticket: TicketId) -> Option<Revision> {
        let revision = self.wishes.remove(ticket)?;
        if let Some(function) = self.functions.get_mut(&revision) {
            function.wishes -= 1;
        }
        Some(revision)
    }

    pub(super) fn cancel(&mut self, ticket: TicketId) {
        let revision = self.events.remove(ticket);
        if let Some(revision) = revision.or_else(|| self.take_wish(ticket)) {
            self.tidy(&revision);
        }
    }

    pub(super) fn target(&mut self, target: Target, shape: Shape) {
        let Target {
            revision,
            kind,
            count,
        } = target;
        if self.welcome(&revision, shape).is_err() {
            return;
        }
        let function = self.function(revision.clone(), shape);
        match kind {
            Kind::Instance => {
                function.target = count;
                if count > 0 {
                    self.targeted.insert(revision.clone());
                } else {
                    self.targeted.remove(&revision);
                }
            }
            Kind::Shell => function.shelf.target = count,
            Kind::Preparation => {}
        }
        self.look_for_lack(&revision);
        self.tidy(&revision);
    }

    pub(super) fn forget(&mut self, revision: Revision, actions: &mut Vec<Action>) {
        self.let_go(&revision, Rejection::Forgotten, actions);
        self.forgotten.insert(revision);
    }

    pub(super) fn drain(&mut self, actions: &mut Vec<Action>) {
        self.draining = true;
        for revision in self.functions.keys().cloned().collect::<Vec<_>>() {
            self.let_go(&revision, Rejection::Draining, actions);
        }
    }

    /// Nothing of a revision is wanted any more. Events that an instance is coming for are served.
    fn let_go(&mut self, revision: &Revision, why: Rejection, actions: &mut Vec<Action>) {
        let Some(function) = self.functions.get_mut(revision) else {
            return;
        };
        function.want_nothing();
        self.targeted.remove(revision);
        self.unwanted.insert(revision.clone());
        let of = |wish: &&super::waiting::Wish| wish.revision == *revision;
        let wishes: Vec<_> = self.wishes.all().filter(of).map(|w| w.ticket).collect();
        for ticket in wishes {
            self.take_wish(ticket);
            actions.push(Action::Reject(ticket, why));
        }
        self.tidy(revision);
    }

    /// Rejects events of unwanted functions for which no instance is there to come.
    pub(super) fn turn_away(&mut self, actions: &mut Vec<Action>) {
        if self.unwanted.is_empty() {
            return;
        }
        let why = if self.draining {
            Rejection::Draining
        } else {
            Rejection::Forgotten
        };
        let waiting = self.events.revisions();
        let unwanted: Vec<_> = waiting
            .filter(|revision| self.unwanted.contains(*revision))
            .cloned()
            .collect();
        for revision in unwanted {
            while let Some(ticket) = self.uncovered(&revision) {
                self.events.remove(ticket.id);
                actions.push(Action::Reject(ticket.id, why));
            }
            self.tidy(&revision);
        }
    }

    /// Stops sandboxes that nothing will use any more.
    pub(super) fn stop_unwanted(&mut self, actions: &mut Vec<Action>) {
        let mut unwanted = Vec::new();
        for revision in &self.unwanted {
            let Some(function) = self.functions.get(revision) else {
                continue;
            };
            let idle = |id: &&_| self.sandboxes.get(*id).is_some_and(|one| one.is_idle());
            unwanted.extend(function.free.iter().filter(idle));
            if self.events.waiting(revision) == 0 {
                let unused = |id: &&_| {
                    self.sandboxes
                        .get(*id)
                        .is_some_and(|s| s.slots.taken() == 0)
                };
                unwanted.extend(function.starting.iter().filter(unused));
            }
            unwanted.extend_from_slice(&function.preparing);
            unwanted.extend(&function.shelf.ready);
            unwanted.extend_from_slice(&function.shelf.making);
        }
        for id in unwanted {
            self.stop(id, actions);
        }
    }

    /// The longest waiting event that no instance is about to take.
    pub(super) fn uncovered(&self, revision: &Revision) -> Option<Ticket> {
        let function = self.functions.get(revision)?;
        self.events.behind(revision, function.coming)
    }
}
