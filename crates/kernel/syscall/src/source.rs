//! What `/proc` and `/sys` tell of this kernel, and where its own file systems are mounted.

use std::sync::{Arc, Weak};

use base_abi::device;
use kernel_core::Kernel;
use kernel_core::task::Task;
use kernel_proc::{MemoryUsed, SnapshotState, Source};
use kernel_vfs::{
    At, Credentials, Errno, Events, FileSystem, FsContext, LastLink, MountFlags, MountTable,
    PollTable, Result,
};

use crate::{Look, System, current};

/// `major` of pseudo-terminal slaves.
const PTS: u32 = 136;

impl Source for System {
    fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    fn mounts(&self) -> &Arc<MountTable> {
        &self.mounts
    }

    fn caller(&self) -> Option<Arc<Task>> {
        current::task()
    }

    fn monotonic(&self) -> u64 {
        System::monotonic(self)
    }

    fn realtime(&self) -> u64 {
        System::realtime(self)
    }

    fn release(&self) -> &str {
        crate::RELEASE
    }

    fn version(&self) -> &str {
        crate::VERSION
    }

    fn terminal_of(&self, session: i32) -> Option<u64> {
        let terminal = self.objects.jobs.terminal_of(session)?;
        Some(device::make(PTS, terminal.index()?))
    }

    fn memory_used(&self) -> MemoryUsed {
        let used = self.memory_use(Look::Closely);
        MemoryUsed {
            all: used.guest,
            private: used.private,
            highest: self.memory.highest(),
        }
    }

    fn snapshot_state(&self) -> SnapshotState {
        self.snapshot_requests.word()
    }

    fn ask_snapshot(&self) -> Result<()> {
        let caller = current::task().ok_or(Errno::EOPNOTSUPP)?;
        self.snapshot_requests.ask(caller.tid())
    }

    fn poll_snapshot(&self, table: &mut PollTable) -> Events {
        self.snapshot_requests.poll(table)
    }

    fn net_table(&self, name: &str) -> Option<String> {
        self.net.proc_table(name)
    }
}

impl System {
    /// Mounts what tells about the kernel: `/proc`, `/sys`, `/sys/fs/cgroup`, and the terminals at
    /// `/dev/pts`. A place that the root file system does not have is left out.
    ///
    /// # Errors
    /// Those of mount(2).
    pub fn mount_own(self: &Arc<Self>) -> Result<()> {
        let me: Arc<dyn Source> = self.clone();
        let me: Weak<dyn Source> = Arc::downgrade(&me);
        let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        self.mount_at(
            "/proc",
            "proc",
            kernel_proc::proc_fs(Weak::clone(&me)),
            quiet,
        )?;
        let read_only = quiet | MountFlags::RDONLY;
        self.mount_at(
            "/sys",
            "sysfs",
            kernel_proc::sys_fs(Weak::clone(&me)),
            read_only,
        )?;
        self.mount_at(
            "/sys/fs/cgroup",
            "cgroup2",
            kernel_proc::cgroup_fs(me),
            read_only,
        )?;
        let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
        self.mount_at("/dev/pts", "devpts", self.objects.devpts.clone(), terminals)
    }

    fn mount_at(
        &self,
        place: &str,
        source: &str,
        fs: Arc<dyn FileSystem>,
        flags: MountFlags,
    ) -> Result<()> {
        let view = FsContext::new(Arc::clone(&self.mounts));
        let root = Credentials {
            privileged: true,
            ..Credentials::default()
        };
        match At::cwd(&view, &root).find(place.as_bytes(), LastLink::Follow) {
            Ok(at) => self.mounts.mount(fs, source, &at, flags).map(|_| ()),
            Err(Errno::ENOENT) => {
                tracing::debug!(place, "no place to mount on");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
