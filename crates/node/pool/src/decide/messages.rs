//! What the decision is told and what it answers.

use std::num::NonZeroU32;
use std::time::Instant;

use proto_node::{Isolation, Revision};

/// Names a sandbox of any kind; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u64);

/// Names an event on its way to an instance, or a preparation that waits for its turn; never used twice, later ones
/// are larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId(pub u64);

/// What a sandbox is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It takes events.
    Instance,
    /// It initialises once, so that a snapshot of it is made, and ends.
    Preparation,
    /// It waits to become an instance: a snapshot is loaded, and nothing of its guest has run.
    Shell,
}

impl Kind {
    /// All there are.
    pub const ALL: [Kind; 3] = [Kind::Instance, Kind::Preparation, Kind::Shell];
}

/// What must be known of a function to decide about its sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Memory limit of one instance, in MiB.
    pub memory_mb: u32,
    /// Events that one instance has at once.
    pub slots: NonZeroU32,
    /// Whether one instance may take several events, one after the other. If not it has one slot, whatever `slots` says.
    pub isolation: Isolation,
}

/// How many sandboxes of a kind a function is to have, whether events come or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Of which function.
    pub revision: Revision,
    /// Of which kind. Preparations come by [`Input::Prepare`]: a target of theirs has no effect.
    pub kind: Kind,
    /// At least so many; 0 leaves it to the events.
    pub count: usize,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// An event came.
    Arrive {
        /// Its name.
        ticket: TicketId,
        /// What is to run.
        revision: Revision,
        /// How its instances are.
        shape: Shape,
        /// When it no longer makes sense to wait.
        deadline: Instant,
    },
    /// A function is to be prepared.
    Prepare {
        /// The name of this wish.
        ticket: TicketId,
        /// What is to be prepared.
        revision: Revision,
        /// How its instances are.
        shape: Shape,
    },
    /// Nobody waits for this event or preparation any more.
    Cancel(TicketId),
    /// So many are to be there from now on; takes the place of what was wanted of that kind before.
    Target(Target, Shape),
    /// The instance has initialised; the shell waits.
    Started(InstanceId),
    /// The instance could not initialise and is ending; the shell could not be made.
    StartFailed(InstanceId),
    /// The instance failed or took too long to initialise; it may try again as part of an event.
    InitAgain(InstanceId),
    /// The sandbox of the instance came to its end on the way, and the instance starts once more: in a shell, if one
    /// waits.
    StartAgain(InstanceId),
    /// The instance is about to come up from its snapshot, and would take the event that waits for it along.
    Take(InstanceId),
    /// It did not come up with the event that it took.
    Return(InstanceId),
    /// The instance comes up from the beginning: its function has no snapshot that is any good.
    WithoutSnapshot(InstanceId),
    /// There is a snapshot of the revision now.
    Captured(Revision),
    /// An event of the instance is answered, and the instance will be done with it in a moment.
    Answered(InstanceId),
    /// It was not.
    Late(InstanceId),
    /// The instance is done with one of its events.
    Finished(InstanceId),
    /// The sandbox exists no more.
    Gone(InstanceId),
    /// The revision was replaced or deleted.
    Forget(Revision),
    /// No event is taken any more.
    Drain,
    /// Time passed; see [`Decider::next_deadline`](super::Decider::next_deadline).
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start an instance of a revision, in this shell if one is named: it is no shell any more.
    Start(InstanceId, Revision, Option<InstanceId>),
    /// Start the instance once more in this shell, which is none any more.
    UseShell(InstanceId, InstanceId),
    /// Hand the event to the instance. An instance that could not initialise hands its
    /// failure to the event instead.
    Assign(TicketId, InstanceId),
    /// The turn of a preparation has come: it is this sandbox.
    Prepare(TicketId, InstanceId),
    /// Make a shell for instances of a revision.
    MakeShell(InstanceId, Revision),
    /// Turn the event or the preparation away.
    Reject(TicketId, Rejection),
    /// End the instance or the preparation.
    Stop(InstanceId),
    /// End a shell that waits.
    DropShell(InstanceId),
}

/// Why an event or a preparation is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// All instances are busy and the queue is full, or there can never be room for one.
    #[error("there is no room for it")]
    Concurrency,
    /// It waited until its deadline.
    #[error("it waited for too long")]
    QueueTimeout,
    /// Its revision was replaced or deleted.
    #[error("its function was replaced or deleted")]
    Forgotten,
    /// The node is going down.
    #[error("the node is going down")]
    Draining,
}
