//! Who waits: events, in order of arrival and by their deadlines, and functions that are to be prepared.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use proto_node::Revision;

use super::messages::TicketId;

/// An event that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    pub(super) id: TicketId,
    /// When it came.
    pub(super) since: Instant,
    /// When it no longer makes sense to wait.
    pub(super) deadline: Instant,
}

/// Events that no instance has.
#[derive(Debug, Clone, Default)]
pub(super) struct Events {
    of: BTreeMap<Revision, VecDeque<Ticket>>,
    revisions: HashMap<TicketId, Revision>,
    deadlines: BTreeSet<(Instant, TicketId)>,
}

impl Events {
    pub(super) fn len(&self) -> usize {
        self.revisions.len()
    }

    /// Events that wait for instances of this revision.
    pub(super) fn waiting(&self, revision: &Revision) -> usize {
        self.of.get(revision).map_or(0, VecDeque::len)
    }

    /// Revisions for which events wait.
    pub(super) fn revisions(&self) -> impl Iterator<Item = &Revision> {
        self.of.keys()
    }

    pub(super) fn push(&mut self, ticket: Ticket, revision: Revision) {
        self.revisions.insert(ticket.id, revision.clone());
        self.deadlines.insert((ticket.deadline, ticket.id));
        self.of.entry(revision).or_default().push_back(ticket);
    }

    /// The one behind so many others.
    pub(super) fn behind(&self, revision: &Revision, others: usize) -> Option<Ticket> {
        self.of.get(revision)?.get(others).copied()
    }

    /// Takes the one that waits longest.
    pub(super) fn pop(&mut self, revision: &Revision) -> Option<TicketId> {
        let id = self.behind(revision, 0)?.id;
        self.remove(id);
        Some(id)
    }

    /// Takes this one, wherever it stands; the revision for which it waited.
    pub(super) fn remove(&mut self, id: TicketId) -> Option<Revision> {
        let revision = self.revisions.remove(&id)?;
        if let Some(waiting) = self.of.get_mut(&revision) {
            let place = waiting.iter().position(|ticket| ticket.id == id);
            if let Some(ticket) = place.and_then(|place| waiting.remove(place)) {
                self.deadlines.remove(&(ticket.deadline, id));
            }
            if waiting.is_empty() {
                self.of.remove(&revision);
            }
        }
        Some(revision)
    }

    /// The deadline that comes first.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// One whose deadline has come, for which revision, and how many of that are before it.
    pub(super) fn late(&self, now: Instant) -> Option<(TicketId, Revision, usize)> {
        let (_, id) = self.deadlines.first().filter(|(at, _)| *at <= now)?;
        let revision = self.revisions.get(id)?;
        let place = self.of.get(revision)?.iter().position(|t| t.id == *id)?;
        Some((*id, revision.clone(), place))
    }

    /// Moves a deadline.
    pub(super) fn put_off(&mut self, id: TicketId, until: Instant) {
        let waiting = self.revisions.get(&id).and_then(|r| self.of.get_mut(r));
        let ticket = waiting.and_then(|waiting| waiting.iter_mut().find(|t| t.id == id));
        if let Some(ticket) = ticket {
            self.deadlines.remove(&(ticket.deadline, id));
            ticket.deadline = until;
            self.deadlines.insert((until, id));
        }
    }
}

/// A function that is to be prepared.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) ticket: TicketId,
    pub(super) revision: Revision,
    /// When it came.
    pub(super) since: Instant,
}

/// Functions that are to be prepared, in order of arrival: at first they let events go before, then they do not.
#[derive(Debug, Clone)]
pub(super) struct Wishes {
    patience: Duration,
    patient: VecDeque<Wish>,
    impatient: VecDeque<Wish>,
}

impl Wishes {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            patient: VecDeque::new(),
            impatient: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.patient.len() + self.impatient.len()
    }

    pub(super) fn push(&mut self, ticket: TicketId, revision: Revision, since: Instant) {
        self.patient.push_back(Wish {
            ticket,
            revision,
            since,
        });
    }

    /// Loses patience where it is time.
    pub(super) fn look(&mut self, now: Instant) {
        while let Some(wish) = self.patient.pop_front() {
            if wish.since + self.patience > now {
                return self.patient.push_front(wish);
            }
            self.impatient.push_back(wish);
        }
    }

    /// When the next loses patience.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.patient.front().map(|wish| wish.since + self.patience)
    }

    /// Those that wait for their turn as events do, the longest first.
    pub(super) fn impatient(&self) -> impl Iterator<Item = &Wish> {
        self.impatient.iter()
    }

    /// All, the longest waiting first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Wish> {
        self.impatient.iter().chain(&self.patient)
    }

    /// Takes this one; the revision that is to be prepared.
    pub(super) fn remove(&mut self, ticket: TicketId) -> Option<Revision> {
        for queue in [&mut self.impatient, &mut self.patient] {
            if let Some(place) = queue.iter().position(|wish| wish.ticket == ticket) {
                return queue.remove(place).map(|wish| wish.revision);
            }
        }
        None
    }
}
