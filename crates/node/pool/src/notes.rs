//! What a sandbox tells besides answers.

use std::time::Duration;

use bytes::Bytes;
use proto_node::Stage;
use proto_sandbox::{FromSandbox, RestoreStage, StageName};

use crate::failure::Failure;
use crate::instance::Instance;

impl Instance {
    /// Keeps what a message tells besides answers; the failure it tells, if any.
    pub(crate) fn note(&mut self, head: FromSandbox, payload: &Bytes) -> Option<Failure> {
        match &head {
            FromSandbox::Stage { name, nanoseconds } => {
                if let Some(start) = &mut self.start {
                    start
                        .stages
                        .push(stage(*name), Duration::from_nanos(*nanoseconds));
                }
            }
            FromSandbox::Begun { nanoseconds, .. } => {
                if let Some(start) = &mut self.start {
                    let hooks = Duration::from_nanos(*nanoseconds);
                    start.stages.push(Stage::AfterRestore, hooks);
                }
            }
            FromSandbox::Restored { times } => {
                let inside = times.iter().map(|t| Duration::from_nanos(t.nanoseconds));
                let shell = self.launching.saturating_sub(inside.sum());
                if let Some(start) = &mut self.start {
                    start.stages.push(Stage::Shell, shell);
                    for part in times {
                        let time = Duration::from_nanos(part.nanoseconds);
                        start.stages.push(restore_stage(part.stage), time);
                    }
                }
            }
            FromSandbox::Touched => {
                let launcher = &self.shared.launcher;
                launcher.touched(&self.function, payload.clone());
            }
            FromSandbox::Log { stream, dropped } => self.log.guest(*stream, payload, *dropped),
            FromSandbox::Usage { max_memory_bytes }
            | FromSandbox::Exited {
                max_memory_bytes, ..
            } => {
                self.max_memory_bytes = self.max_memory_bytes.max(*max_memory_bytes);
            }
            _ => {}
        }
        Failure::told_by(&head, payload)
    }
}

fn restore_stage(name: RestoreStage) -> Stage {
    match name {
        RestoreStage::Identity => Stage::Identity,
    }
}

fn stage(name: StageName) -> Stage {
    match name {
        StageName::Sandbox => Stage::Sandbox,
        StageName::RootFs => Stage::RootFs,
        StageName::Exec => Stage::Exec,
        StageName::RuntimeInit => Stage::RuntimeInit,
        StageName::FunctionInit => Stage::FunctionInit,
        StageName::AfterRestore => Stage::AfterRestore,
    }
}
