//! What the control group of a sandbox may use: the second line behind the sandbox's own counting.

use host_sys::cgroup::{self, CpuWeight};
use proto_sandbox::{StartSpec, WorkloadSpec};

/// Room for the kernel process beyond the guest's memory and files.
const KERNEL_ROOM: u64 = 256 << 20;

/// Host threads of a sandbox that serve no guest thread in particular.
const KERNEL_TASKS: u32 = 64;

/// What a guest process takes of the host: the stub's first thread, the one that changes its mappings, the one that runs the guest's
/// code, and the thread of the kernel process that owns it. Every further thread of the guest takes two.
const TASKS_OF_A_PROCESS: u32 = 4;

/// The least memory that a function can have: AWS's, 128 MB.
const LEAST_MEMORY: u64 = 128 << 20;

/// AWS gives functions processor time in proportion to their memory, one processor for 1,769 MB. Here it is a weight, which
/// tells only while processors are short. The smallest function weighs as much as a process of the host, so that none has
/// less than it would have without a group.
pub(crate) fn cpu_weight(memory_bytes: u64) -> CpuWeight {
    let percent = memory_bytes.saturating_mul(100) / LEAST_MEMORY;
    CpuWeight::percent(u32::try_from(percent).unwrap_or(u32::MAX).max(100))
}

/// The limits of the group around a sandbox that starts so.
pub(crate) fn of(spec: &StartSpec) -> cgroup::Limits {
    cgroup::Limits {
        // Files of the writable layer are memory of the host too.
        memory_bytes: spec
            .limits
            .memory_bytes
            .saturating_add(spec.rootfs.writable_bytes)
            .saturating_add(KERNEL_ROOM),
        tasks: spec
            .limits
            .tasks
            .saturating_mul(TASKS_OF_A_PROCESS)
            .saturating_add(KERNEL_TASKS),
        cpu_weight: match spec.workload {
            WorkloadSpec::Lambda(_) => Some(cpu_weight(spec.limits.memory_bytes)),
            WorkloadSpec::Program => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_shared_in_proportion_to_memory() {
        let percent = |mib: u64| cpu_weight(mib << 20);
        assert_eq!(percent(0), CpuWeight::percent(100));
        assert_eq!(percent(128), CpuWeight::percent(100));
        assert_eq!(percent(1769), CpuWeight::percent(1382));
        assert_eq!(percent(10_240), CpuWeight::percent(8000));
    }
}
