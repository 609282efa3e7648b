//! File systems that tell about the kernel: `/proc` (proc(5)), `/sys` (sysfs(5)) and the control
//! group of the sandbox (cgroups(7), version 2).
//!
//! Every file is made by a closure when it is opened; nothing is stored. What they tell comes from
//! a [`Source`], which is held weakly: the kernel holds the mounts, not the other way round.
#![forbid(unsafe_code)]

mod cgroup;
mod machine;
mod net;
mod process;
mod snapshot;
mod synthetic;
mod sysctl;
mod sysfs;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};

use kernel_core::Kernel;
use kernel_core::task::Task;
use kernel_vfs::{Errno, Events, FileSystem, MountTable, PollTable, Result};

pub use snapshot::SnapshotState;
use synthetic::{Node, SyntheticFs};

/// The kernel that is told about.
pub trait Source: Send + Sync {
    /// Tasks and configuration.
    fn kernel(&self) -> &Kernel;

    /// The file tree.
    fn mounts(&self) -> &Arc<MountTable>;

    /// The task that makes the current call.
    fn caller(&self) -> Option<Arc<Task>>;

    /// `CLOCK_MONOTONIC` in nanoseconds.
    fn monotonic(&self) -> u64;

    /// `CLOCK_REALTIME` in nanoseconds.
    fn realtime(&self) -> u64;

    /// uname(2)'s release.
    fn release(&self) -> &str;

    /// uname(2)'s version.
    fn version(&self) -> &str;

    /// Device number of a session's controlling terminal.
    fn terminal_of(&self, session: i32) -> Option<u64>;

    /// Memory of all guests.
    fn memory_used(&self) -> MemoryUsed;

    /// What the sandbox is with regard to snapshots.
    fn snapshot_state(&self) -> SnapshotState {
        SnapshotState::None
    }

    /// The caller asks to be captured where it is, or looks for the answer.
    ///
    /// # Errors
    /// `EAGAIN` until there is an answer, which [`poll_snapshot`](Source::poll_snapshot) announces;
    /// `EOPNOTSUPP` where nobody takes snapshots or none was taken; `EBUSY` while another asks.
    fn ask_snapshot(&self) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Registers for the answer; whether somebody can ask now.
    fn poll_snapshot(&self, table: &mut PollTable) -> Events {
        let _ = table;
        Events::READABLE | Events::WRITABLE
    }

    /// A table of `/proc/net` by its name, for those the network knows.
    fn net_table(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }
}

/// Memory of all guests, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsed {
    /// What counts against the limit.
    pub all: u64,
    /// Of that, private memory.
    pub private: u64,
    /// The most that there was of all when somebody looked.
    pub highest: u64,
}

/// A weak hold on the source.
#[derive(Clone)]
pub(crate) struct View(Weak<dyn Source>);

impl View {
    /// # Errors
    /// `EIO` once the kernel is gone.
    pub(crate) fn source(&self) -> Result<Arc<dyn Source>> {
        self.0.upgrade().ok_or(Errno::EIO)
    }
}

/// Sixteen random bytes as a version 4 UUID.
pub(crate) fn uuid(kernel: &Kernel) -> String {
    let mut bytes = [0; 16];
    kernel.rng.fill(&mut bytes);
    let number = u128::from_be_bytes(bytes);
    let number = number & !(0xf << 76) | 4 << 76;
    let number = number & !(3 << 62) | 2 << 62;
    let hex = format!("{number:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    let parts = [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ];
    parts.join("-")
}

const PROC_MAGIC: u64 = 0x9fa0;
const SYSFS_MAGIC: u64 = 0x6265_6572;
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// What to mount at `/proc`.
#[must_use]
pub fn proc_fs(source: Weak<dyn Source>) -> Arc<dyn FileSystem> {
    let view = View(source);
    let boot_id = view.source().map(|s| uuid(s.kernel())).unwrap_or_default();
    SyntheticFs::new("proc", PROC_MAGIC, process::root(&view, boot_id))
}

/// What to mount at `/sys`.
#[must_use]
pub fn sys_fs(source: Weak<dyn Source>) -> Arc<dyn FileSystem> {
    SyntheticFs::new("sysfs", SYSFS_MAGIC, sysfs::root(&View(source)))
}

/// What to mount at `/sys/fs/cgroup`.
#[must_use]
pub fn cgroup_fs(source: Weak<dyn Source>) -> Arc<dyn FileSystem> {
    let root: Node = cgroup::root(&View(source));
    SyntheticFs::new("cgroup2", CGROUP2_MAGIC, root)
}
