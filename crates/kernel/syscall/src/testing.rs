//! A kernel on scripted guests whose calls a test makes itself.

use std::sync::Arc;

use base_abi::Errno;
use base_abi::general::{MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE};
use kernel_core::task::{
    Creds, Pid, Process, Restart, Rlimits, Task, TaskFields, TaskParts, TaskSignals,
};
use kernel_core::{Config, Kernel};
use kernel_fs::{Budget, BudgetLimits, RootAttr, TmpFs};
use kernel_mm::{CommitBudget, MapRequest, Mm, MmLimits, Source, UNLIMITED};
use kernel_vfs::{FdTable, FsContext, MountFlags, MountTable, Vfs};
use parking_lot::RwLock;
use platform_api::{Context, CpuState, Platform};
use platform_script::{Script, ScriptPlatform};

use crate::call::{Args, StartTask, Stop, Sys};
use crate::{System, SystemConfig, run, table};

/// Where [`MEMORY_BYTES`] of memory are that can be written.
pub(crate) const MEMORY: u64 = 0x1000_0000;
/// Bytes there.
pub(crate) const MEMORY_BYTES: u64 = 64 << 10;

/// A kernel with one process of one thread, which runs nothing: the test makes its calls.
pub(crate) struct Machine {
    pub(crate) system: Arc<System>,
    pub(crate) platform: ScriptPlatform,
    pub(crate) task: Arc<Task>,
    cpu: Box<dyn Context>,
    /// How the calls start tasks.
    pub(crate) start_task: StartTask,
}

/// A host that has no thread left.
pub(crate) fn refuse_threads(
    _: Arc<System>,
    _: Arc<Task>,
    _: Box<dyn Context>,
) -> std::io::Result<()> {
    Err(std::io::ErrorKind::WouldBlock.into())
}

impl Machine {
    /// Process 1 with memory at [`MEMORY`] and no descriptors.
    pub(crate) fn new() -> Machine {
        let platform = ScriptPlatform::new();
        let budget = BudgetLimits {
            bytes: 1 << 20,
            inodes: 1000,
        };
        let root = TmpFs::new(Budget::new(budget), RootAttr::default()).unwrap();
        let mounts = MountTable::new(Arc::<Vfs>::default(), root, "none", MountFlags::empty());
        let mounts = mounts.unwrap();
        let kernel = Kernel::new(Config::default(), Arc::new(platform.clone()), [7; 32]);
        let system = Arc::new(System::new(
            kernel,
            Arc::clone(&mounts),
            SystemConfig::default(),
        ));
        let space = platform.new_address_space().unwrap();
        let cpu = space.new_context(CpuState::default()).unwrap();
        let limits = MmLimits {
            address_space: UNLIMITED,
            data: UNLIMITED,
            stack: UNLIMITED,
            memlock: UNLIMITED,
            max_map_count: 1000,
            budget: Arc::new(CommitBudget::new(UNLIMITED)),
            shared: Arc::default(),
            aslr_seed: 7,
        };
        let mm = Mm::new(space, &platform.features(), limits);
        mm.map(MapRequest {
            addr: MEMORY,
            len: MEMORY_BYTES,
            prot: PROT_READ | PROT_WRITE,
            flags: MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
            source: Source::Anonymous,
        })
        .unwrap();
        let creds = Arc::new(Creds::new(0, 0));
        let process = Arc::new(Process::new(
            1,
            0,
            creds,
            Rlimits::default(),
            Arc::default(),
        ));
        let task = Arc::new(Task::new(TaskParts {
            tid: 1,
            process: Arc::clone(&process),
            mm: Arc::new(mm),
            files: Arc::new(FdTable::new()),
            fs: Arc::new(RwLock::new(FsContext::new(mounts))),
            signals: TaskSignals::default(),
            fields: TaskFields::default(),
            started: 0,
        }));
        {
            let mut tree = system.kernel.tree.lock();
            tree.allocate(usize::MAX);
            tree.add_process(process, 0, None);
            tree.add_task(&task);
        }
        Machine {
            system,
            platform,
            task,
            cpu,
            start_task: run::spawn,
        }
    }

    /// Makes a call that does not sleep.
    pub(crate) fn call(&mut self, nr: u64, args: [u64; 6]) -> Result<u64, Errno> {
        match self.run_handler(nr, args, &mut Restart::default()) {
            Ok(value) => Ok(value),
            Err(Stop::Errno(errno)) => Err(errno),
            Err(stop) => panic!("{stop:?}"),
        }
    }

    /// Runs the handler of a call once.
    pub(crate) fn run_handler(
        &mut self,
        nr: u64,
        args: [u64; 6],
        restart: &mut Restart,
    ) -> Result<u64, Stop> {
        let mut sys = Sys {
            system: &self.system,
            task: &self.task,
            cpu: &mut self.cpu,
            restart,
            nr,
            start_task: self.start_task,
        };
        (table::lookup(nr).unwrap().handler)(&mut sys, Args(args))
    }

    /// Writes words into its memory.
    pub(crate) fn write(&self, addr: u64, words: &[u64]) {
        self.task.mm().write_slice(addr, words).unwrap();
    }

    /// Makes another thread of the process, which runs this.
    pub(crate) fn thread(&mut self, script: Script) -> Pid {
        use base_abi::general::{CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_THREAD, CLONE_VM};
        self.platform.next_guest(script);
        let flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
        let made = self
            .call(56, [u64::from(flags), MEMORY, 0, 0, 0, 0])
            .unwrap();
        Pid::try_from(made).unwrap()
    }
}
