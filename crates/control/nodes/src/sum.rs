//! What several nodes hold, together.

use proto_node::{CapacityGroup, CapacityView};

/// Adds what one holds to what others do.
pub(crate) fn add(all: &mut CapacityView, one: CapacityView) {
    all.memory_mb = all.memory_mb.saturating_add(one.memory_mb);
    all.memory_used_mb = all.memory_used_mb.saturating_add(one.memory_used_mb);
    all.instances = all.instances.saturating_add(one.instances);
    all.instances_used = all.instances_used.saturating_add(one.instances_used);
    all.waiting = all.waiting.saturating_add(one.waiting);
    all.processors = all.processors.saturating_add(one.processors);
    all.processors_used = all.processors_used.saturating_add(one.processors_used);
    for group in one.groups {
        let same = |other: &&mut CapacityGroup| {
            other.revision == group.revision && other.kind == group.kind
        };
        match all.groups.iter_mut().find(same) {
            None => all.groups.push(group),
            Some(sum) => {
                sum.wanted = sum.wanted.saturating_add(group.wanted);
                sum.starting = sum.starting.saturating_add(group.starting);
                sum.idle = sum.idle.saturating_add(group.idle);
                sum.busy = sum.busy.saturating_add(group.busy);
                sum.ending = sum.ending.saturating_add(group.ending);
                sum.events = sum.events.saturating_add(group.events);
                sum.waiting = sum.waiting.saturating_add(group.waiting);
                sum.memory_mb = sum.memory_mb.saturating_add(group.memory_mb);
                sum.absence = sum.absence.or(group.absence);
            }
        }
    }
    all.groups
        .sort_by(|a, b| (&a.revision, a.kind).cmp(&(&b.revision, b.kind)));
}
