//! Puts together what a sandbox is told at its start.

use node_runtimes::{Runnable, function_environment};
use proto_node::{FunctionSpec, PlatformDemand, SnapStart};
use proto_sandbox::{
    Access, Initialization, Layer, MAX_RESPONSE_BYTES, MAX_STREAMED_BYTES, Mount, PlatformChoice,
    Program, RUNTIME_API_ADDRESS, RootFs, RuntimeApiSpec, SandboxLimits, StartSpec, Stdio, VERSION,
    WorkloadSpec,
};

/// `sbx_user1051`, as whom functions run on AWS.
const FUNCTION_UID: u32 = 993;
/// Its group.
const FUNCTION_GID: u32 = 990;
/// Processes and threads of a function, and its descriptors (AWS's quotas).
const TASKS: u32 = 1024;
const OPEN_FILES: u32 = 1024;
/// Digits of a host name that tell instances apart: 64 bits.
const HOSTNAME_DIGITS: usize = 16;
const MIB: u64 = 1024 * 1024;

/// A name that no other instance has, from the random part of its log stream, which follows the version.
fn hostname(stream: &str) -> String {
    let id = stream.rsplit(']').next().unwrap_or(stream);
    let some: String = id
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(HOSTNAME_DIGITS)
        .collect();
    format!("rekindle-{some}")
}

/// The platform that a function demands, else the node's.
fn platform_of(function: &FunctionSpec, otherwise: PlatformChoice) -> PlatformChoice {
    match function.platform {
        PlatformDemand::Process => PlatformChoice::Process,
        PlatformDemand::Kvm => PlatformChoice::Kvm,
        PlatformDemand::None => otherwise,
    }
}

/// The start of one instance of `function`, with the log stream `stream`.
pub(crate) fn start_spec(
    function: &FunctionSpec,
    runnable: Runnable,
    stream: &str,
    layers: &[Layer],
    platform: PlatformChoice,
) -> StartSpec {
    let read_only = |source, target: &str| Mount {
        source,
        target: target.to_owned(),
        access: Access::ReadOnly,
    };
    let mut mounts = vec![read_only(runnable.code, "/var/task")];
    mounts.extend(
        runnable
            .runtime_directory
            .map(|directory| read_only(directory, "/var/runtime")),
    );
    let env = function_environment(function, runnable.runtime, stream, RUNTIME_API_ADDRESS);
    StartSpec {
        version: VERSION,
        id: format!("{} {stream}", function.name),
        hostname: hostname(stream),
        program: Program {
            argv: runnable.argv,
            env,
            workdir: "/var/task".to_owned(),
            uid: FUNCTION_UID,
            gid: FUNCTION_GID,
            stdio: Stdio::LogOnly,
        },
        rootfs: RootFs {
            layers: layers.to_vec(),
            mounts,
            writable_bytes: u64::from(function.ephemeral_storage_mb) * MIB,
        },
        limits: SandboxLimits {
            memory_bytes: u64::from(function.memory_mb) * MIB,
            tasks: TASKS,
            open_files: OPEN_FILES,
        },
        workload: WorkloadSpec::Lambda(RuntimeApiSpec {
            listen: RUNTIME_API_ADDRESS.to_owned(),
            max_response_bytes: MAX_RESPONSE_BYTES,
            max_streamed_bytes: MAX_STREAMED_BYTES,
            initialization: match function.snap_start {
                SnapStart::Off => Initialization::OnDemand,
                SnapStart::On => Initialization::SnapStart,
            },
        }),
        strace: false,
        platform: platform_of(function, platform),
    }
}
