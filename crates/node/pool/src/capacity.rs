//! What is there and what is to be there, in the words of whoever steers the node.

use std::sync::Arc;

use proto_node::{Absence, CapacityGroup, CapacityKind, CapacityView, FunctionSpec, TargetError};

use crate::decide::{Held, Kind, PoolView, Why};
use crate::drive::Pool;

impl Pool {
    /// What is there, and why something is not.
    pub fn capacity(&self) -> CapacityView {
        told(self.shared().view())
    }

    /// From now on so many of a kind are to be there for `function`, whether events come or not.
    pub fn target(
        &self,
        function: Arc<FunctionSpec>,
        kind: CapacityKind,
        count: u32,
    ) -> Result<(), TargetError> {
        let limits = self.shared().limits;
        let (asked, most) = match kind {
            CapacityKind::Instance => {
                let fit = limits.memory_mb / u64::from(function.memory_mb.max(1));
                let fit = usize::try_from(fit).unwrap_or(usize::MAX);
                let most = limits.instances.min(limits.instances_per_function);
                (Kind::Instance, most.min(fit))
            }
            CapacityKind::Shell => (Kind::Shell, limits.shells),
            CapacityKind::Preparation | CapacityKind::Template => {
                return Err(TargetError::Kind(kind));
            }
        };
        match usize::try_from(count) {
            Ok(count) if count <= most => {
                self.shared().aim(function, asked, count);
                Ok(())
            }
            _ => Err(TargetError::TooMany(number(most))),
        }
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn told(view: PoolView) -> CapacityView {
    CapacityView {
        memory_mb: view.memory_limit_mb,
        memory_used_mb: view.memory_mb,
        instances: number(view.running_limit),
        instances_used: number(view.running),
        processors: number(view.processors),
        processors_used: number(view.coming_up),
        waiting: number(view.waiting),
        draining: view.draining,
        groups: view.held.into_iter().map(group).collect(),
    }
}

fn group(held: Held) -> CapacityGroup {
    CapacityGroup {
        revision: Some(held.revision),
        kind: match held.kind {
            Kind::Instance => CapacityKind::Instance,
            Kind::Preparation => CapacityKind::Preparation,
            Kind::Shell => CapacityKind::Shell,
        },
        wanted: number(held.wanted),
        starting: number(held.coming),
        idle: number(held.up.saturating_sub(held.busy)),
        busy: number(held.busy),
        ending: number(held.ending),
        events: number(held.events),
        waiting: number(held.waiting),
        memory_mb: held.memory_mb,
        absence: held.why.map(|why| match why {
            Why::Coming => Absence::Coming,
            Why::FunctionLimit => Absence::FunctionLimit,
            Why::Room => Absence::Room,
            Why::Processors => Absence::Processors,
            Why::Later => Absence::Later,
            Why::Failed => Absence::Failed,
            Why::Unwanted => Absence::Unwanted,
        }),
    }
}
