//! Makes sandbox processes, each in its control group.

use std::ffi::OsString;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use host_sys::cgroup::{self, Group};
use proto_sandbox::StartSpec;

use crate::process::SandboxProcess;
use crate::spawner::Spawner;

/// How the control groups of instances are called.
pub(crate) const GROUPS: &str = "rekindle";

/// Room for the kernel process beyond the guest's memory and files, in the control group.
const KERNEL_ROOM: u64 = 256 << 20;

/// Who starts sandbox processes.
pub(crate) struct Sandboxes {
    spawner: Spawner,
    /// How many control groups were made, for their names.
    groups: AtomicU64,
}

impl Sandboxes {
    pub(crate) fn new(command: Vec<OsString>) -> io::Result<Sandboxes> {
        Ok(Sandboxes {
            spawner: Spawner::start(command)?,
            groups: AtomicU64::new(0),
        })
    }

    /// A process that has been told nothing yet.
    pub(crate) async fn spawn(&self, spec: &StartSpec) -> io::Result<SandboxProcess> {
        SandboxProcess::spawn(&self.spawner, self.group(spec)).await
    }

    /// The second line behind the sandbox's own counting.
    fn group(&self, spec: &StartSpec) -> Group {
        let number = self.groups.fetch_add(1, Ordering::Relaxed);
        Group::create(
            &format!("{GROUPS}-{}-{number}", std::process::id()),
            &cgroup::Limits {
                // Files of the writable layer are memory of the host too.
                memory_bytes: spec
                    .limits
                    .memory_bytes
                    .saturating_add(spec.rootfs.writable_bytes)
                    .saturating_add(KERNEL_ROOM),
                // A host thread of the kernel process for each guest thread.
                tasks: spec.limits.tasks.saturating_mul(2).saturating_add(64),
                milli_cpus: None,
            },
        )
    }
}
