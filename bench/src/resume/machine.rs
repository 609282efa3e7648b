//! A kernel with one program in it, in this very process and without a jail: what is frozen and thawed is at hand.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_cli::PlatformArg;
use kernel_core::task::{Protection, Rlimits};
use kernel_core::{Config, Kernel};
use kernel_files::console::{HostSide, StandardFiles, Stream};
use kernel_fs::{Budget, BudgetLimits, HostTree, TmpFs};
use kernel_mm::{MemorySaver, Mm, SaveError, SavedMemory, SnapshotWriter};
use kernel_syscall::snapshot::{SavedKernel, capture, load_space};
use kernel_syscall::{Init, System, SystemConfig, start_init};
use kernel_vfs::{
    AccessMode, Description, FdFlags, FdTable, FileSystem, MountFlags, MountTable, StatusFlags, Vfs,
};
use platform_api::Platform;
use platform_kvm::KvmPlatform;
use platform_process::ProcessPlatform;

use super::Order;

/// Longest wait for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
const IMAGE_LIMIT: u64 = 1 << 30;
const BUDGET: BudgetLimits = BudgetLimits {
    bytes: 16 << 20,
    inodes: 1000,
};

/// A kernel, its memory and its guest's standard streams.
pub(crate) struct Machine {
    pub(crate) system: Arc<System>,
    pub(crate) console: HostSide,
    standard: StandardFiles,
}

/// A machine that was written down.
pub(crate) struct Taken {
    state: Vec<u8>,
    memory: Vec<u8>,
    image: Arc<File>,
}

/// Any error as one of I/O, with what was attempted.
pub(crate) fn wrong<E: std::fmt::Debug>(what: &'static str) -> impl FnOnce(E) -> io::Error {
    move |error| io::Error::other(format!("{what}: {error:?}"))
}

impl Machine {
    /// One whose root is this directory; its monotonic clock has come so far.
    pub(crate) fn boot(
        root: &Path,
        platform: PlatformArg,
        monotonic: Duration,
    ) -> io::Result<Machine> {
        let platform: Arc<dyn Platform> = match platform {
            PlatformArg::Kvm => Arc::new(KvmPlatform::new().map_err(io::Error::other)?),
            _ => Arc::new(ProcessPlatform::new().map_err(io::Error::other)?),
        };
        let layer = HostTree::whole(root).map_err(wrong("open the root"))?;
        let root = TmpFs::over(&[layer.root()], Budget::new(BUDGET)).map_err(wrong("root"))?;
        let vfs = Arc::new(Vfs::default());
        let mounts = MountTable::new(vfs, root, "rootfs", MountFlags::empty());
        let mounts = mounts.map_err(wrong("mount the root"))?;
        // Nothing here is secret.
        let kernel = Kernel::new(Config::default(), platform, [7; 32]);
        let config = SystemConfig {
            monotonic,
            ..SystemConfig::default()
        };
        let (console, standard) = HostSide::streams(4096, [1, 2, 3], [0; 2]);
        Ok(Machine {
            system: Arc::new(System::new(kernel, mounts, config)),
            console,
            standard,
        })
    }

    /// Starts its program.
    pub(crate) fn start(&self, argv: &[&str]) -> io::Result<()> {
        let files = Arc::new(FdTable::new());
        let accesses = [AccessMode::Read, AccessMode::Write, AccessMode::Write];
        for (file, access) in self.standard.clone().into_iter().zip(accesses) {
            let description = Description::anonymous(file, access, StatusFlags::empty());
            let put = files.insert(description, FdFlags::empty(), 16);
            put.map_err(wrong("open the standard streams"))?;
        }
        let init = Init {
            program: argv.first().copied().unwrap_or_default().into(),
            argv: argv.iter().map(|word| word.as_bytes().to_vec()).collect(),
            envp: Vec::new(),
            cwd: b"/".to_vec(),
            uid: 0,
            gid: 0,
            limits: Rlimits::default(),
            protection: Protection::None,
        };
        start_init(&self.system, init, files).map_err(wrong("start the guest"))
    }

    /// The memory of its program.
    pub(crate) fn memory(&self) -> io::Result<Arc<Mm>> {
        let tree = self.system.kernel.tree.lock();
        let task = tree.tasks().next();
        task.map(|task| task.mm())
            .ok_or_else(|| io::Error::other("the guest has ended"))
    }

    /// Writes it down; it stays frozen if it was.
    pub(crate) fn take(&self) -> io::Result<Taken> {
        let image = Arc::new(tempfile::tempfile()?);
        let mut memory = Vec::new();
        let captured = capture(&self.system, LIMIT, &mut |mms, saver| {
            let mut writer = SnapshotWriter::new(&image, 0, IMAGE_LIMIT);
            let mut spaces = MemorySaver::new(&mut writer);
            for mm in mms {
                spaces.add(mm, saver).map_err(unsavable)?;
            }
            memory = spaces.finish().map_err(unsavable)?;
            writer.finish().map_err(|error| unsavable(error.into()))?;
            Ok(())
        });
        Ok(Taken {
            state: captured.map_err(wrong("capture the guest"))?.state,
            memory,
            image,
        })
    }

    /// Another machine with what was taken in it, frozen, as a shell is that waits for its event; time stands still in it.
    pub(crate) fn enter(
        root: &Path,
        platform: PlatformArg,
        taken: &Taken,
    ) -> io::Result<(Machine, Duration)> {
        let saved = SavedKernel::parse(&taken.state).map_err(wrong("read the state"))?;
        let mut spaces = SavedMemory::parse(&taken.memory).map_err(wrong("read the state"))?;
        let monotonic = saved.monotonic();
        let next = Machine::boot(root, platform, monotonic)?;
        let system = &next.system;
        system.kernel.platform.prepare(&saved.contexts());
        system.hold_time();
        let images = std::slice::from_ref(&taken.image);
        saved
            .load(system, &next.standard, &mut |id, loader| {
                load_space(system, &mut spaces, images, id, loader)
            })
            .map_err(wrong("load the guest"))?;
        Ok((next, monotonic))
    }

    /// Lets it run; comes back at once or, in turn, when every thread has run.
    pub(crate) fn thaw(&self, order: Order) {
        match order {
            Order::Parallel => self.system.kernel.thaw(),
            Order::Sequential => self.system.kernel.thaw_in_turn(),
        }
    }
}

fn unsavable(error: SaveError) -> kernel_vfs::save::Unsavable {
    match error {
        SaveError::Unsavable(what) => what,
        other => kernel_vfs::save::Unsavable::new(other.to_string()),
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.console.set_closed(Stream::Input);
        self.system.kernel.kill_all();
        self.system.kernel.thaw();
        // Whatever does not end in time ends with this process.
        let _ = self.system.kernel.wait_ended(Some(Instant::now() + LIMIT));
    }
}
