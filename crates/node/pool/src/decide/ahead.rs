//! Starts what nobody waits for: instances and shells that targets and the demand for shells ask for.

use std::time::Instant;

use proto_node::Revision;

use super::Decider;
use super::lines::{Line, Place};
use super::messages::{Action, Kind};
use super::sandbox::For;

/// What can be started though nobody waits for it.
pub(super) const AHEAD: [Kind; 2] = [Kind::Instance, Kind::Shell];

/// What became of a wish for one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Started,
    /// Something is ending to make room.
    Waits,
    /// There is none.
    NoRoom,
    /// It is not wanted any more.
    GivenUp,
}

impl Decider {
    /// Lets those queue up whose time has come.
    pub(super) fn look_at_later(&mut self, now: Instant) {
        for kind in AHEAD {
            while let Some(revision) = self.line(kind).due(now) {
                self.queue_up(revision, kind, Place::Later);
            }
        }
    }

    /// Lets those queue up for which there was no room.
    pub(super) fn look_at_room(&mut self) {
        for kind in AHEAD {
            for revision in self.line(kind).without_room() {
                self.queue_up(revision, kind, Place::Room);
            }
        }
    }

    /// Has a function queue up for what it lacks.
    pub(super) fn look_for_lack(&mut self, revision: &Revision) {
        for kind in AHEAD {
            let function = self.functions.get(revision);
            if function.is_some_and(|function| function.lacks(kind, &self.limits)) {
                self.queue_up(revision.clone(), kind, Place::None);
            }
        }
    }

    fn line(&mut self, kind: Kind) -> &mut Line {
        match kind {
            Kind::Instance | Kind::Preparation => &mut self.instance_line,
            Kind::Shell => &mut self.shell_line,
        }
    }

    fn queue_up(&mut self, revision: Revision, kind: Kind, from: Place) {
        self.put(revision, kind, from, Place::Queue);
    }

    /// Moves a function to another place if it is where it is believed to be.
    fn put(&mut self, revision: Revision, kind: Kind, from: Place, to: Place) {
        let line = match kind {
            Kind::Instance | Kind::Preparation => &mut self.instance_line,
            Kind::Shell => &mut self.shell_line,
        };
        if let Some(function) = self.functions.get_mut(&revision) {
            let lack = function.lack(kind);
            if lack.place == from {
                line.put(revision, lack, to);
            }
        }
    }

    /// Starts what functions lack for later, one after the other, as long as there are processors for it.
    pub(super) fn start_ahead(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for kind in AHEAD {
            self.start_of_kind(kind, now, actions);
        }
    }

    fn start_of_kind(&mut self, kind: Kind, now: Instant, actions: &mut Vec<Action>) {
        while let Some(revision) = self.line(kind).first() {
            let limits = self.limits;
            let Some(function) = self.functions.get_mut(&revision) else {
                continue;
            };
            let lacks = function.lacks(kind, &limits);
            let lack = function.lack(kind);
            if lack.place != Place::Queue {
                // It was forgotten for a while, and queued up again.
                continue;
            }
            let to = if !lacks {
                Place::None
            } else if lack.not_before.is_some_and(|at| at > now) {
                Place::Later
            } else if !self.budget.processor_ahead(kind) {
                return self.line(kind).again(revision);
            } else {
                match self.start_one(kind, &revision, now, actions) {
                    Outcome::Started => Place::Queue,
                    Outcome::Waits => return self.line(kind).again(revision),
                    Outcome::NoRoom => Place::Room,
                    Outcome::GivenUp => Place::None,
                }
            };
            self.put(revision.clone(), kind, Place::Queue, to);
            if to == Place::None {
                self.tidy(&revision);
            }
        }
    }

    fn start_one(
        &mut self,
        kind: Kind,
        revision: &Revision,
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> Outcome {
        if kind == Kind::Shell {
            return self.make_shell(revision, now, actions);
        }
        let need = self.functions.get(revision).map(|f| f.memory_mb());
        match need {
            Some(need) if self.budget.fits(Kind::Instance, need, 0) => {
                let id = self.begin(Kind::Instance, revision, For::Later, now);
                actions.push(Action::Start(id, revision.clone(), None));
                Outcome::Started
            }
            Some(_) => Outcome::NoRoom,
            None => Outcome::GivenUp,
        }
    }

    fn make_shell(
        &mut self,
        revision: &Revision,
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> Outcome {
        let cost = self.limits.shell_mb;
        if self.budget.fits(Kind::Shell, cost, 0) {
            let id = self.begin(Kind::Shell, revision, For::Later, now);
            actions.push(Action::MakeShell(id, revision.clone()));
            return Outcome::Started;
        }
        if self.budget.shells() < self.limits.shells {
            return Outcome::NoRoom;
        }
        if self.budget.will_fit(Kind::Shell, cost) {
            return Outcome::Waits;
        }
        let Some(function) = self.functions.get_mut(revision) else {
            return Outcome::GivenUp;
        };
        let targeted = function.shelf.have() < function.shelf.target;
        let start = function.shelf.demand.map(|demand| demand.last());
        let start = if targeted { None } else { start };
        if let Some(id) = self.spare_shell(start) {
            self.drop_shell(id, actions);
            return Outcome::Waits;
        }
        if targeted {
            return Outcome::NoRoom;
        }
        // All others started later.
        if let Some(function) = self.functions.get_mut(revision) {
            function.shelf.be_content();
        }
        Outcome::GivenUp
    }
}
