//! Makes the sandbox processes of a node.

use std::ffi::OsString;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use host_sys::cgroup::{self, CpuWeight, GroupState, Tree};
use proto_sandbox::StartSpec;

use crate::favour::{FAVOURED, Favour};
use crate::limits;
use crate::process::SandboxProcess;
use crate::spawner::Spawner;

/// How the control groups of instances are called.
const GROUPS: &str = "rekindle";

/// How long the end waits for the last control groups to be removed.
const GROUPS_GONE_WITHIN: Duration = Duration::from_millis(500);

/// How long groups of a node that was killed are looked after.
const SWEPT_WITHIN: Duration = Duration::from_secs(5);

/// Who starts sandbox processes. Those that it started are killed when their own handles are dropped.
#[derive(Debug)]
pub struct Sandboxes {
    spawner: Spawner,
    /// Beneath it are the groups of sandboxes, and this process's own.
    tree: Tree,
    /// What functions weigh beside the host's programs, in per cent of what their memory gives them.
    weight_percent: u32,
    /// How many control groups were made, for their names.
    groups: AtomicU64,
}

impl Sandboxes {
    /// `command` is the program that sandboxes are, and its first arguments. Removes the control groups that a node which
    /// was killed has left, and moves this process into a group of its own, which is favoured by the processors, where the
    /// host permits it. `weight_percent` is what the smallest function weighs, in per cent of a process of the host. Must
    /// be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the thread that starts them cannot be made.
    pub fn new(command: Vec<OsString>, weight_percent: u32) -> io::Result<Sandboxes> {
        cgroup::sweep(GROUPS);
        // Not waited for: processes of a node that was killed just now are on their way out.
        let settling = std::thread::Builder::new().name("groups".into());
        if let Err(error) = settling.spawn(|| cgroup::settle(SWEPT_WITHIN)) {
            tracing::warn!(%error, "control groups that were left behind are not waited for");
        }
        // Before the zygote is made, which is in the same group.
        let tree = Tree::with_server(&format!("{GROUPS}-{}-server", std::process::id()), FAVOURED);
        Ok(Sandboxes {
            spawner: Spawner::start(command)?,
            tree,
            weight_percent,
            groups: AtomicU64::new(0),
        })
    }

    /// A process that has been told nothing yet, in a control group with the limits of `spec`.
    ///
    /// # Errors
    /// When the host refuses the process.
    pub async fn spawn(&self, spec: &StartSpec) -> io::Result<SandboxProcess> {
        let number = self.groups.fetch_add(1, Ordering::Relaxed);
        let name = format!("{GROUPS}-{}-{number}", std::process::id());
        let mut limits = limits::of(spec);
        let usual = limits
            .cpu_weight
            .map(|weight| weight.times(self.weight_percent));
        limits.cpu_weight = Some(FAVOURED);
        let group = self.tree.group(&name, &limits);
        let favour = Favour::of(group, usual.unwrap_or(CpuWeight::percent(100)));
        SandboxProcess::spawn(&self.spawner, favour).await
    }

    /// What control groups of sandboxes have in force here: one is made and removed.
    #[must_use]
    pub fn control_groups(&self) -> GroupState {
        self.tree
            .trial(&format!("{GROUPS}-{}-trial", std::process::id()))
    }

    /// Waits, not for long, until the control groups of processes that have ended are removed.
    pub fn settle(&self) {
        cgroup::settle(GROUPS_GONE_WITHIN);
    }
}
