//! How much a node holds, of what, and how much it is to hold.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{BoxFuture, FunctionSpec, Revision};

/// What takes a node's memory and processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapacityKind {
    /// An instance that takes events.
    Instance,
    /// A sandbox made ahead, restored up to its first instruction.
    Shell,
    /// A start without an event, for the snapshot that is made on the way.
    Preparation,
    /// A snapshot of a runtime that is being made.
    Template,
}

/// Why something that is wanted or waited for is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absence {
    /// It is coming.
    Coming,
    /// The function has as many instances as it may have.
    FunctionLimit,
    /// There is no room: memory, or the number of sandboxes.
    Room,
    /// The processors have enough to do.
    Processors,
    /// It comes in a moment: what started just now goes first.
    Later,
    /// The last starts failed; another follows after a pause.
    Failed,
    /// The revision is forgotten, or the node goes down.
    Unwanted,
}

/// How many there are of one kind and revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityGroup {
    /// Of which revision; none for what belongs to no function.
    pub revision: Option<Revision>,
    /// Of which kind.
    pub kind: CapacityKind,
    /// How many are to be there at least: by a target, or for shells by how starts follow each other.
    pub wanted: u32,
    /// How many come up.
    pub starting: u32,
    /// How many wait for an event.
    pub idle: u32,
    /// How many are at work.
    pub busy: u32,
    /// How many end.
    pub ending: u32,
    /// Events that they have.
    pub events: u32,
    /// Events, or preparations, that wait for one.
    pub waiting: u32,
    /// Memory of all of them in MiB, as the node counts it.
    pub memory_mb: u64,
    /// Why there are not more; none if nothing is missing.
    pub absence: Option<Absence>,
}

/// What a node holds at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityView {
    /// Memory that it may use in MiB.
    pub memory_mb: u64,
    /// Memory in use or promised in MiB.
    pub memory_used_mb: u64,
    /// Instances and preparations that may be alive at once.
    pub instances: u32,
    /// Those that are alive.
    pub instances_used: u32,
    /// Processors that there are.
    pub processors: u32,
    /// Sandboxes that come up, each with the use of a processor.
    pub processors_used: u32,
    /// Events that wait for an instance.
    pub waiting: u32,
    /// Whether it takes no new events because it is going down.
    pub draining: bool,
    /// What there is, in order of revision and kind.
    pub groups: Vec<CapacityGroup>,
}

/// Why a target cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum TargetError {
    /// Nobody can ask for this kind.
    #[error("{0:?} cannot be asked for")]
    Kind(CapacityKind),
    /// So many never fit.
    #[error("at most {0} fit")]
    TooMany(u32),
    /// The node does not answer.
    #[error("no node could be reached: {0}")]
    NoNode(String),
}

/// How much a node holds.
pub trait Capacity: Send + Sync + 'static {
    /// What there is now, and how much there may be.
    fn view(&self) -> BoxFuture<'_, CapacityView>;

    /// From now on `count` of `kind` are to be there for `function`, with or without events; 0 takes that back.
    fn target(
        &self,
        function: Arc<FunctionSpec>,
        kind: CapacityKind,
        count: u32,
    ) -> BoxFuture<'_, Result<(), TargetError>>;

    /// Takes no new events, lets running ones finish for as long as `within`, then stops everything.
    fn drain(&self, within: Duration) -> BoxFuture<'_, ()>;
}
