//! What the control group of a sandbox may use: the second line behind the sandbox's own counting.

use host_sys::cgroup;
use proto_sandbox::StartSpec;

/// Room for the kernel process beyond the guest's memory and files.
const KERNEL_ROOM: u64 = 256 << 20;

/// Host threads of a sandbox that serve no guest thread in particular.
const KERNEL_TASKS: u32 = 64;

/// The limits of the group around a sandbox that starts so.
pub(crate) fn of(spec: &StartSpec) -> cgroup::Limits {
    cgroup::Limits {
        // Files of the writable layer are memory of the host too.
        memory_bytes: spec
            .limits
            .memory_bytes
            .saturating_add(spec.rootfs.writable_bytes)
            .saturating_add(KERNEL_ROOM),
        // A host thread of the kernel process for each guest thread.
        tasks: spec
            .limits
            .tasks
            .saturating_mul(2)
            .saturating_add(KERNEL_TASKS),
        milli_cpus: None,
    }
}
