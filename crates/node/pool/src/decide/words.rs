//! What the decision is told, what it answers, and within which limits.

use std::time::{Duration, Instant};

use proto_node::{Isolation, Revision};

/// How much may be alive and how much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Instances on this machine.
    pub instances: usize,
    /// Sum of the memory limits of all instances, in MiB.
    pub memory_mb: u64,
    /// Instances of one function revision.
    pub instances_per_function: usize,
    /// Events that wait, over all functions.
    pub waiting: usize,
    /// Events of one function revision that wait.
    pub waiting_per_function: usize,
    /// How long an instance without events is kept.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            instances: 1000,
            memory_mb: 64 * 1024,
            instances_per_function: 1000,
            waiting: 4096,
            waiting_per_function: 1024,
            idle: Duration::from_secs(60),
        }
    }
}

/// Names an instance; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u64);

/// Names an event on its way to an instance; never used twice, later ones are larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId(pub u64);

/// What happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// An event came.
    Arrive {
        /// Its name.
        ticket: TicketId,
        /// What is to run.
        revision: Revision,
        /// Memory limit of one instance of it, in MiB.
        memory_mb: u32,
        /// Whether one instance may take several of them.
        isolation: Isolation,
        /// When it no longer makes sense to wait.
        deadline: Instant,
    },
    /// Nobody waits for this event any more.
    Cancel(TicketId),
    /// The instance has initialised.
    Started(InstanceId),
    /// The instance could not initialise and is ending.
    StartFailed(InstanceId),
    /// The instance failed or took too long to initialise; it may try again as part of an event.
    InitAgain(InstanceId),
    /// The instance is about to come up, and would take the event that waits for it along.
    Take(InstanceId),
    /// It did not come up with the event that it took.
    Return(InstanceId),
    /// The event of the instance is answered, and the instance will be done with it in a moment.
    Answered(InstanceId),
    /// It was not.
    Late(InstanceId),
    /// The instance is done with its event.
    Finished(InstanceId),
    /// The instance exists no more.
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
    /// Start an instance of a revision.
    Start(InstanceId, Revision),
    /// Hand the event to the instance. An instance that could not initialise hands its
    /// failure to the event instead.
    Assign(TicketId, InstanceId),
    /// Turn the event away.
    Reject(TicketId, Rejection),
    /// End the instance.
    Stop(InstanceId),
}

/// Why an event is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// All instances are busy and the queue is full.
    Concurrency,
    /// It waited until its deadline.
    QueueTimeout,
    /// Its revision was replaced or deleted.
    Forgotten,
    /// The node is going down.
    Draining,
}
