//! What came of an invocation, with the time each stage took.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::FunctionFault;

/// The function's answer or its failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvokeResult {
    /// The bytes the runtime posted to `…/response`.
    Success(Bytes),
    /// The function failed; the API answers 200 with `X-Amz-Function-Error`.
    Fault(FunctionFault),
}

/// How the instance came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartKind {
    /// An idle instance took the event.
    Warm,
    /// Started from the beginning.
    Cold,
    /// Restored from a snapshot.
    Restored,
}

/// A stage of an invocation, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Waiting for a free instance or for room to start one.
    Queue,
    /// Making the sandbox process and its stub.
    Sandbox,
    /// Putting the root file system together.
    RootFs,
    /// Loading the interpreter or bootstrap, until its first instruction runs.
    Exec,
    /// From the first instruction until the runtime starts loading the function.
    RuntimeInit,
    /// Loading the function, until the runtime asks for its first event.
    FunctionInit,
    /// Finding the snapshot and a shell for it, making one if there is none, and talking to it.
    Shell,
    /// Making anew what no two clones share: random pool, ids, clocks.
    Identity,
    /// The runtime's own hooks, from the end of the restore until it asks for its first event.
    AfterRestore,
    /// From handing the event over until the answer.
    Invoke,
}

impl Stage {
    /// Short name for tables and the `Server-Timing` header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Sandbox => "sandbox",
            Self::RootFs => "root_fs",
            Self::Exec => "exec",
            Self::RuntimeInit => "runtime_init",
            Self::FunctionInit => "function_init",
            Self::Shell => "shell",
            Self::Identity => "identity",
            Self::AfterRestore => "after_restore",
            Self::Invoke => "invoke",
        }
    }
}

/// Time that one stage took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTime {
    /// Which stage.
    pub stage: Stage,
    /// How long, wall clock.
    pub time: Duration,
}

/// The stages that an invocation went through; those it skipped are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings(pub Vec<StageTime>);

impl Timings {
    /// Adds a stage at the end.
    pub fn push(&mut self, stage: Stage, time: Duration) {
        self.0.push(StageTime { stage, time });
    }

    /// Time of `stage`, zero if it was skipped.
    pub fn of(&self, stage: Stage) -> Duration {
        self.0
            .iter()
            .filter(|entry| entry.stage == stage)
            .map(|entry| entry.time)
            .sum()
    }
}

/// What came of an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvokeOutcome {
    /// Answer or failure.
    pub result: InvokeResult,
    /// Version that ran: `$LATEST` or a number.
    pub executed_version: String,
    /// Last bytes of the invocation's log if asked for, START to REPORT; at most 4 KiB.
    pub log_tail: Bytes,
    /// How the instance came to be.
    pub start: StartKind,
    /// From the launch of a restored instance until it asked for this event, its first.
    pub restore: Option<Duration>,
    /// How often guest code was left until the answer, by reason, if the instance came up for this event.
    pub exits: BTreeMap<String, u64>,
    /// Times by stage.
    pub timings: Timings,
}
