//! What a node holds, as gauges.

use base_telemetry::{Gauge, Metric, label};
use proto_node::{CapacityGroup, CapacityKind, CapacityView};

/// What [`note`] has said.
pub static HELD: &[&dyn Metric] = &[&SANDBOXES, &WAITING, &MEMORY];

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

/// Has the gauges say what a node holds.
pub fn note(view: &CapacityView) {
    for (kind, label) in [
        (CapacityKind::Instance, Kind::Instance),
        (CapacityKind::Shell, Kind::Shell),
        (CapacityKind::Preparation, Kind::Preparation),
        (CapacityKind::Template, Kind::Template),
    ] {
        let groups = || view.groups.iter().filter(|group| group.kind == kind);
        let sum = |of: fn(&CapacityGroup) -> u32| groups().map(of).map(u64::from).sum();
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
    use base_telemetry::exposition;

    use super::*;

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
        let text = exposition(HELD);
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
