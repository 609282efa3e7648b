//! What the service counts, and what it asks the node for when somebody looks.

use std::time::Duration;

use base_telemetry::{Counter, Gauge, Histogram, LabelValue, Metric, exposition, label};
use proto_node::{
    CapacityKind, CapacityView, FaultKind, InvokeEnd, InvokeOutcome, InvokeResult, Stage,
    StartKind, Timings,
};

use crate::{InvokeError, Service};

/// What this crate counts.
pub static METRICS: &[&dyn Metric] = &[
    &INVOCATIONS,
    &REFUSALS,
    &STAGES,
    &RESTORES,
    &SANDBOXES,
    &WAITING,
    &MEMORY,
];

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

static SANDBOXES: Gauge<(Kind, State), 16> = Gauge::new(
    "rekindle_sandboxes",
    "Sandboxes on the node, by what they are for and what they do.",
);

static WAITING: Gauge<(), 1> = Gauge::new(
    "rekindle_events_waiting",
    "Events that wait for an instance.",
);

static MEMORY: Gauge<Memory, 2> = Gauge::new(
    "rekindle_memory_bytes",
    "Memory of the node: what sandboxes may use in all, and what is in use or promised.",
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
label!(
    Kind,
    "kind",
    [
        Instance = "instance",
        Shell = "shell",
        Preparation = "preparation",
        Template = "template",
    ]
);
label!(
    State,
    "state",
    [
        Starting = "starting",
        Idle = "idle",
        Busy = "busy",
        Ending = "ending"
    ]
);
label!(Memory, "part", [Limit = "limit", Used = "used"]);

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
        note(&self.node.view().await);
        exposition(&[METRICS, others].concat())
    }
}

/// Has the gauges say what the node holds.
fn note(view: &CapacityView) {
    for (kind, label) in [
        (CapacityKind::Instance, Kind::Instance),
        (CapacityKind::Shell, Kind::Shell),
        (CapacityKind::Preparation, Kind::Preparation),
        (CapacityKind::Template, Kind::Template),
    ] {
        let groups = || view.groups.iter().filter(|group| group.kind == kind);
        let sum = |of: fn(&proto_node::CapacityGroup) -> u32| groups().map(of).map(u64::from).sum();
        SANDBOXES.set((label, State::Starting), sum(|group| group.starting));
        SANDBOXES.set((label, State::Idle), sum(|group| group.idle));
        SANDBOXES.set((label, State::Busy), sum(|group| group.busy));
        SANDBOXES.set((label, State::Ending), sum(|group| group.ending));
    }
    WAITING.set((), view.waiting.into());
    MEMORY.set(Memory::Limit, view.memory_mb << 20);
    MEMORY.set(Memory::Used, view.memory_used_mb << 20);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proto_node::CapacityGroup;

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

    #[test]
    fn sandboxes_are_summed_over_functions() {
        let group = |kind, idle, busy| CapacityGroup {
            revision: None,
            kind,
            wanted: 0,
            starting: 1,
            idle,
            busy,
            ending: 0,
            events: 0,
            waiting: 0,
            memory_mb: 0,
            absence: None,
        };
        note(&CapacityView {
            waiting: 7,
            groups: vec![
                group(CapacityKind::Instance, 2, 3),
                group(CapacityKind::Instance, 4, 5),
                group(CapacityKind::Shell, 6, 0),
            ],
            ..CapacityView::default()
        });
        let text = exposition(METRICS);
        for line in [
            "rekindle_sandboxes{kind=\"instance\",state=\"starting\"} 2\n",
            "rekindle_sandboxes{kind=\"instance\",state=\"idle\"} 6\n",
            "rekindle_sandboxes{kind=\"instance\",state=\"busy\"} 8\n",
            "rekindle_sandboxes{kind=\"shell\",state=\"idle\"} 6\n",
            "rekindle_events_waiting 7\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
