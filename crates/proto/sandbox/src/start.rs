//! What a sandbox is told at its start: the program, its files, its limits.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything a sandbox needs to know; nothing is asked for later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartSpec {
    /// [`crate::VERSION`] of the sender.
    pub version: u32,
    /// Name of this sandbox in logs and errors; no meaning to the guest.
    pub id: String,
    /// What `uname -n` says in the guest, at most 64 bytes.
    pub hostname: String,
    /// The first process.
    pub program: Program,
    /// Its root file system.
    pub rootfs: RootFs,
    /// What it may use.
    pub limits: SandboxLimits,
    /// What it is for.
    pub workload: WorkloadSpec,
    /// Report every guest system call on the child's stderr (`--strace`).
    #[serde(default)]
    pub strace: bool,
    /// What runs the guest's instructions.
    #[serde(default)]
    pub platform: PlatformChoice,
}

/// What runs a guest's instructions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformChoice {
    /// Processes of the host that are traced; everywhere.
    #[default]
    Process,
    /// Ring 3 of a virtual machine; where the host has KVM.
    Kvm,
}

/// The first guest process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Path in the guest (searched in `PATH` when it has no slash), then arguments; never empty.
    pub argv: Vec<String>,
    /// The whole environment, in order; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Working directory in the guest.
    pub workdir: String,
    /// User and group of the process.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
    /// Where descriptors 0, 1 and 2 lead.
    pub stdio: Stdio,
}

/// Where the guest's standard descriptors lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdio {
    /// 0 is fed by `ToSandbox::Stdin`, 1 and 2 come back as `FromSandbox::Log`.
    Messages,
    /// As `Messages`, but 0 is `/dev/null`; this is what functions get.
    LogOnly,
    /// To the sandbox process' own 0, 1 and 2, without a message for each piece; what
    /// `rekindle run` wants.
    Inherit,
}

/// Files of the guest: read-only layers below one bounded writable layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootFs {
    /// Read-only layers, the lowest first. Empty means an empty root.
    pub layers: Vec<Layer>,
    /// Directories put over the layers, in order.
    pub mounts: Vec<Mount>,
    /// Most bytes that the writable root layer and `/tmp` may hold together.
    pub writable_bytes: u64,
}

/// One read-only layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The machine's own `/usr /bin /lib* /opt` and the harmless part of `/etc`.
    Host,
    /// A directory of the host.
    Directory(PathBuf),
}

/// A directory of the host seen at a path of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path in the guest; made when missing.
    pub target: String,
    /// What the guest may do there.
    pub access: Access,
}

/// What the guest may do with a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Read only: writes fail with EROFS.
    ReadOnly,
    /// Reads come from the host, writes go to the bounded writable layer.
    CopyOnWrite,
}

/// What one sandbox may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxLimits {
    /// Guest pages and kernel heap together, in bytes. Above it the guest is
    /// killed with [`crate::ExitReason::OutOfMemory`].
    pub memory_bytes: u64,
    /// Processes and threads of the guest.
    pub tasks: u32,
    /// `RLIMIT_NOFILE` of the guest.
    pub open_files: u32,
}

/// What a sandbox is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadSpec {
    /// A program with its streams: there are no events.
    Program,
    /// A Lambda function: the Runtime API is served in the sandbox.
    Lambda(RuntimeApiSpec),
}

/// Where the Lambda Runtime API listens, and what it accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeApiSpec {
    /// `address:port` on the guest's own loopback, normally [`crate::RUNTIME_API_ADDRESS`].
    pub listen: String,
    /// Largest response body in bytes, normally [`crate::MAX_RESPONSE_BYTES`].
    pub max_response_bytes: u64,
    /// The same for one that is streamed, normally [`crate::MAX_STREAMED_BYTES`].
    pub max_streamed_bytes: u64,
    /// Whether the runtime is offered `restore/next`.
    #[serde(default)]
    pub initialization: Initialization,
}

/// `AWS_LAMBDA_INITIALIZATION_TYPE`, as far as the Runtime API depends on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initialization {
    /// `on-demand`: the runtime goes straight to its first event.
    #[default]
    OnDemand,
    /// `snap-start`: it may ask `restore/next` first.
    SnapStart,
    /// No function is there yet: it asks `template/next` for one, and goes on as with [`Self::SnapStart`].
    Template,
}
