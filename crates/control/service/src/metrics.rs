//! What the service counts.

use std::time::Duration;

use base_telemetry::{Counter, Histogram, LabelValue, Metric, exposition, label};
use proto_node::{FaultKind, InvokeEnd, InvokeOutcome, InvokeResult, Stage, StartKind, Timings};

use crate::{InvokeError, Service, held};

/// What this crate counts; what the node holds is beside it.
pub static METRICS: &[&dyn Metric] = &[&INVOCATIONS, &REFUSALS, &STAGES, &RESTORES, &UNREAD];

static INVOCATIONS: Counter<(Start, Outcome), 12> = Counter::new(
    "rekindle_invocations",
    "Events that functions were given and that ended, by how the instance came up and how it ended.",
);

static REFUSALS: Counter<Refused, 4> = Counter::new(
    "rekindle_invocations_not_run",
    "Events that were not run, or not to their end, for a reason that is not the function's.",
);

static STAGES: Histogram<StageLabel, 10> = Histogram::new(
    "rekindle_stage_seconds",
    "Time that events spent in each stage on their way; stages that an event skips are not counted.",
);

static RESTORES: Histogram<(), 1> = Histogram::new(
    "rekindle_restore_seconds",
    "From the launch of an instance that comes from a snapshot until it asks for its first event.",
);

static UNREAD: Counter<(), 1> = Counter::new(
    "rekindle_streams_unread",
    "Streamed answers that nobody read to their end: the client left, or the answer was longer than the API allows.",
);

label!(
    Start,
    "start",
    [Warm = "warm", Cold = "cold", Restored = "restored"]
);
label!(
    Outcome,
    "outcome",
    [
        Success = "success",
        Error = "error",
        Exited = "exited",
        TimedOut = "timed_out",
    ]
);
label!(
    Refused,
    "reason",
    [
        Throttled = "throttled",
        Unavailable = "unavailable",
        Failed = "failed",
        Gone = "gone",
    ]
);
/// A stage of an invocation.
#[derive(Clone, Copy, Debug)]
struct StageLabel(Stage);

/// In the order in which they happen.
#[cfg(test)]
const ALL_STAGES: [Stage; 10] = [
    Stage::Queue,
    Stage::Sandbox,
    Stage::RootFs,
    Stage::Exec,
    Stage::RuntimeInit,
    Stage::FunctionInit,
    Stage::Shell,
    Stage::Identity,
    Stage::AfterRestore,
    Stage::Invoke,
];

impl LabelValue for StageLabel {
    const NAME: &'static str = "stage";
    const VALUES: &'static [&'static str] = &[
        "queue",
        "sandbox",
        "root_fs",
        "exec",
        "runtime_init",
        "function_init",
        "shell",
        "identity",
        "after_restore",
        "invoke",
    ];

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Counts an event that ended, or that was not run.
pub(crate) fn count(result: &Result<InvokeOutcome, InvokeError>) {
    match result {
        Ok(outcome) => count_outcome(outcome),
        Err(error) => count_refusal(error),
    }
}

/// Counts an event that was not run, or not to its end.
pub(crate) fn count_refusal(error: &InvokeError) {
    REFUSALS.add(refused(error), 1);
}

/// Counts a streamed answer that was dropped before its end.
pub(crate) fn count_unread() {
    UNREAD.add((), 1);
}

/// Counts an event whose answer was handed on in pieces, to its end.
pub(crate) fn count_reply(start: StartKind, end: &InvokeEnd) {
    let fault = end.fault.as_ref().map(|fault| &fault.kind);
    count_end(start, fault, end.restore, &end.timings);
}

fn count_outcome(outcome: &InvokeOutcome) {
    let fault = match &outcome.result {
        InvokeResult::Success(_) => None,
        InvokeResult::Fault(fault) => Some(&fault.kind),
    };
    count_end(outcome.start, fault, outcome.restore, &outcome.timings);
}

/// Counts an event that ended so.
fn count_end(
    start: StartKind,
    fault: Option<&FaultKind>,
    restore: Option<Duration>,
    timings: &Timings,
) {
    let start = match start {
        StartKind::Warm => Start::Warm,
        StartKind::Cold => Start::Cold,
        StartKind::Restored => Start::Restored,
    };
    let how = match fault {
        None => Outcome::Success,
        Some(FaultKind::Exit | FaultKind::OutOfMemory) => Outcome::Exited,
        Some(FaultKind::Timeout) => Outcome::TimedOut,
        Some(_) => Outcome::Error,
    };
    INVOCATIONS.add((start, how), 1);
    for entry in &timings.0 {
        STAGES.observe(StageLabel(entry.stage), entry.time);
    }
    if let Some(restore) = restore {
        RESTORES.observe((), restore);
    }
}

fn refused(error: &InvokeError) -> Refused {
    use proto_node::InvokeError as Node;
    match error {
        InvokeError::Gone(_) => Refused::Gone,
        InvokeError::Node(Node::Throttled(_)) => Refused::Throttled,
        InvokeError::Node(
            Node::RuntimeUnavailable { .. } | Node::PlatformUnavailable { .. } | Node::ShuttingDown,
        ) => Refused::Unavailable,
        InvokeError::Node(
            Node::Sandbox(_) | Node::CodeMissing | Node::Event(_) | Node::NodeLost { .. },
        )
        | InvokeError::Interrupted(_) => Refused::Failed,
    }
}

impl Service {
    /// What was counted, with what the node holds now, for Prometheus; `others` are metrics of other parts of this process.
    pub async fn exposition(&self, others: &[&dyn Metric]) -> String {
        held::note(&self.node.view().await);
        exposition(&[METRICS, held::HELD, others].concat())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn stages_are_named_as_the_node_names_them() {
        for (at, stage) in ALL_STAGES.into_iter().enumerate() {
            assert_eq!(StageLabel(stage).index(), at);
            assert_eq!(StageLabel::VALUES[at], stage.name());
        }
    }

    #[test]
    fn an_event_is_counted_by_start_outcome_and_stage() {
        let before = INVOCATIONS.get((Start::Restored, Outcome::Success));
        let mut timings = Timings::default();
        timings.push(Stage::Invoke, Duration::from_millis(2));
        count(&Ok(InvokeOutcome {
            result: InvokeResult::Success(Bytes::new()),
            executed_version: "1".into(),
            log_tail: Bytes::new(),
            start: StartKind::Restored,
            restore: Some(Duration::from_millis(3)),
            exits: Default::default(),
            timings,
        }));
        let after = INVOCATIONS.get((Start::Restored, Outcome::Success));
        assert_eq!(after, before + 1);
        let text = exposition(METRICS);
        assert!(text.contains("rekindle_stage_seconds_bucket{stage=\"invoke\",le=\"0.0025\"} 1\n"));
        assert!(text.contains("rekindle_restore_seconds_count 1\n"));
    }
}
