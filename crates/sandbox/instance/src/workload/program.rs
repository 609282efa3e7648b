//! A program with its streams, as `rekindle run` starts it: no events, and nothing to save but the guest.

use std::time::Instant;

use kernel_vfs::save::Unsavable;
use proto_sandbox::EventHead;
use sandbox_snapshot::CapturedAt;

use crate::machine::Machine;
use crate::notices::RuntimeNotice;
use crate::workload::{GoOn, Workload};

/// Nothing is known of it.
pub(crate) struct PlainProgram;

impl Workload for PlainProgram {
    fn loaded(&mut self, _at: Instant) {}

    fn notice(&mut self, _sandbox: &Machine, _notice: RuntimeNotice) {}

    fn deliver(&mut self, _sandbox: &Machine, head: EventHead, _payload: Vec<u8>) {
        let request = head.request_id;
        tracing::warn!(request, "an event for what is no function was ignored");
    }

    fn credit(&mut self, _request_id: &str, _bytes: u64) {}

    fn resume(&mut self, machine: &Machine, _environment: &[(String, String)]) {
        machine.thaw();
    }

    fn stands_at(&self) -> CapturedAt {
        CapturedAt::Asked
    }

    fn save(&self) -> Result<Vec<u8>, Unsavable> {
        Ok(Vec::new())
    }

    fn go_on(&mut self, machine: &Machine, _how: GoOn) {
        machine.thaw();
    }
}
