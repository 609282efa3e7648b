//! Every file of the three file systems over a kernel on scripted guests.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, Weak};

use base_abi::general::O_RDONLY;
use kernel_core::task::{
    Creds, ExitStatus, Pid, Process, Rlimits, Task, TaskFields, TaskParts, TaskSignals,
};
use kernel_core::{Config, Kernel};
use kernel_fs::{Budget, BudgetLimits, RootAttr, TmpFs};
use kernel_mm::{Mm, MmLimits};
use kernel_vfs::{
    At, Credentials, Errno, FdTable, FileSystem, FileType, FsContext, MountFlags, MountTable,
    OpenHow, Result, Vfs,
};
use parking_lot::RwLock;
use platform_api::Platform;
use platform_script::ScriptPlatform;
use proptest::prelude::*;

use crate::{MemoryUsed, Source, cgroup_fs, proc_fs, sys_fs};

/// Files of one file system that a walk looks at: more than there are.
const MANY: usize = 5000;

/// A kernel that is told about.
struct Told {
    kernel: Kernel,
    mounts: Arc<MountTable>,
    caller: OnceLock<Arc<Task>>,
}

impl Source for Told {
    fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    fn mounts(&self) -> &Arc<MountTable> {
        &self.mounts
    }

    fn caller(&self) -> Option<Arc<Task>> {
        self.caller.get().cloned()
    }

    fn monotonic(&self) -> u64 {
        12_340_000_000
    }

    fn realtime(&self) -> u64 {
        1_700_000_000_000_000_000
    }

    fn release(&self) -> &str {
        "6.12.0-test"
    }

    fn version(&self) -> &str {
        "#1"
    }

    fn memory_used(&self) -> MemoryUsed {
        MemoryUsed {
            all: 5 << 20,
            private: 3 << 20,
            highest: 7 << 20,
        }
    }

    fn terminal_of(&self, _: i32) -> Option<u64> {
        None
    }
}

impl Told {
    /// With process 1, which makes the calls.
    fn new(config: Config) -> Arc<Told> {
        let budget = BudgetLimits {
            bytes: 1 << 20,
            inodes: 100,
        };
        let root = TmpFs::new(Budget::new(budget), RootAttr::default()).unwrap();
        let vfs = Arc::<Vfs>::default();
        let mounts = MountTable::new(vfs, root, "none", MountFlags::empty()).unwrap();
        let told = Arc::new(Told {
            kernel: Kernel::new(config, Arc::new(ScriptPlatform::new()), [7; 32]),
            mounts,
            caller: OnceLock::new(),
        });
        let first = told.process(1, 0, b"first");
        assert!(told.caller.set(first).is_ok());
        told
    }

    /// Another process of one thread.
    fn process(&self, pid: Pid, parent: Pid, name: &[u8]) -> Arc<Task> {
        let platform = ScriptPlatform::new();
        let space = platform.new_address_space().unwrap();
        let mm = Mm::new(space, &platform.features(), MmLimits::default());
        let creds = Arc::new(Creds::new(0, 0));
        let process = Process::new(pid, 0, creds, Rlimits::default(), Arc::default());
        let process = Arc::new(process);
        let task = Arc::new(Task::new(TaskParts {
            tid: pid,
            process: Arc::clone(&process),
            mm: Arc::new(mm),
            files: Arc::new(FdTable::new()),
            fs: Arc::new(RwLock::new(FsContext::new(Arc::clone(&self.mounts)))),
            signals: TaskSignals::default(),
            fields: TaskFields {
                name: name.to_vec(),
                ..TaskFields::default()
            },
            started: 0,
        }));
        let mut tree = self.kernel.tree.lock();
        tree.add_process(process, parent, None);
        tree.add_task(&task);
        task
    }

    fn weak(self: &Arc<Self>) -> Weak<dyn Source> {
        let me: Arc<dyn Source> = self.clone();
        Arc::downgrade(&me)
    }
}

/// A file system as the root of a tree of its own.
struct View {
    fs: FsContext,
    who: Credentials,
}

impl View {
    fn of(fs: Arc<dyn FileSystem>) -> View {
        let table = MountTable::new(Arc::<Vfs>::default(), fs, "none", MountFlags::empty());
        View {
            fs: FsContext::new(table.unwrap()),
            who: Credentials {
                privileged: true,
                ..Credentials::default()
            },
        }
    }

    fn open(&self, path: &str) -> Result<Arc<kernel_vfs::Description>> {
        let how = OpenHow {
            flags: O_RDONLY,
            ..OpenHow::default()
        };
        At::cwd(&self.fs, &self.who).open(path.as_bytes(), how)
    }

    /// The whole text, read in pieces of so many bytes.
    fn read_by(&self, path: &str, piece: usize) -> Result<String> {
        let file = self.open(path)?;
        let (mut text, mut buffer) = (Vec::new(), vec![0; piece]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
                n => text.extend_from_slice(&buffer[..n]),
            }
        }
    }

    fn read(&self, path: &str) -> String {
        self.read_by(path, 4096)
            .unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// The value of a line `name: value` or `name value`.
    fn field(&self, path: &str, name: &str) -> String {
        let text = self.read(path);
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        line.trim_start_matches([':', ' ', '\t']).to_owned()
    }

    fn list(&self, path: &str) -> Vec<(String, FileType)> {
        let directory = self.open(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let mut all = Vec::new();
        let listed = directory.file().read_dir(0, &mut |entry| {
            let name = String::from_utf8_lossy(entry.name).into_owned();
            all.push((name, entry.file_type));
            true
        });
        listed.unwrap_or_else(|e| panic!("{path}: {e}"));
        all.retain(|(name, _)| name != "." && name != "..");
        all
    }

    /// Every regular file, links not followed.
    fn files(&self) -> Vec<String> {
        let (mut left, mut files) = (vec![String::from("/")], Vec::new());
        while let Some(path) = left.pop() {
            for (name, kind) in self.list(&path) {
                let below = format!("{}/{name}", path.trim_end_matches('/'));
                match kind {
                    FileType::Directory => left.push(below),
                    FileType::Regular => files.push(below),
                    _ => {}
                }
            }
            assert!(files.len() + left.len() < MANY, "a circle");
        }
        files
    }
}

fn views(told: &Arc<Told>) -> [View; 3] {
    let all = [
        proc_fs(told.weak()),
        sys_fs(told.weak()),
        cgroup_fs(told.weak()),
    ];
    all.map(View::of)
}

/// What tells another thing each time, or may not be read.
const FRESH: [&str; 3] = ["/uuid", "/mem", "/pagemap"];

#[test]
fn every_file_reads_the_same_whole_and_in_pieces() {
    let told = Told::new(Config::default());
    told.process(2, 1, b"second");
    for view in views(&told) {
        let files = view.files();
        assert!(!files.is_empty());
        for path in files
            .iter()
            .filter(|p| !FRESH.iter().any(|f| p.ends_with(f)))
        {
            // These processes have no program, and no strings of one.
            let whole = match view.read_by(path, 4096) {
                Err(Errno::EFAULT) => continue,
                whole => whole.unwrap_or_else(|e| panic!("{path}: {e}")),
            };
            assert_eq!(view.read_by(path, 7).as_deref(), Ok(&*whole), "{path}");
        }
    }
}

#[test]
fn a_kernel_that_is_gone_is_an_error_and_no_panic() {
    let told = Told::new(Config::default());
    let views = views(&told);
    let files = views.each_ref().map(View::files);
    drop(told);
    for (view, files) in views.iter().zip(files) {
        for path in files {
            let text = view.read_by(&path, 4096);
            let fixed = text.is_ok();
            assert!(
                fixed || matches!(text, Err(Errno::EIO | Errno::ENOENT | Errno::ESRCH)),
                "{path}: {text:?}"
            );
        }
    }
}

#[test]
fn processes_come_and_go() {
    let told = Told::new(Config::default());
    let [view, ..] = views(&told);
    let numbers = || -> BTreeSet<Pid> {
        let all = view.list("/").into_iter();
        all.filter_map(|(name, _)| name.parse().ok()).collect()
    };
    assert_eq!(numbers(), BTreeSet::from([1]));
    let task = told.process(40, 1, b"child");
    assert_eq!(numbers(), BTreeSet::from([1, 40]));
    assert_eq!(view.field("/40/status", "PPid"), "1");
    assert_eq!(view.field("/40/status", "State"), "R (running)");
    assert_eq!(view.read("/40/comm"), "child\n");
    assert_eq!(view.read("/self/comm"), "first\n");
    {
        let mut tree = told.kernel.tree.lock();
        tree.remove_task(40, 40);
        tree.links_mut(40).unwrap().ended = Some(ExitStatus::Code(3));
    }
    drop(task);
    assert_eq!(view.field("/40/status", "State"), "Z (zombie)");
    told.kernel.tree.lock().reap(40);
    assert_eq!(numbers(), BTreeSet::from([1]));
    assert_eq!(view.open("/40/status").err(), Some(Errno::ENOENT));
}

proptest! {
    /// proc_pid_stat(5): the name stands in brackets and may hold any byte; 52 fields in all.
    #[test]
    fn stat_can_be_taken_apart_whatever_the_name(name in proptest::collection::vec(any::<u8>(), 0..15)) {
        let told = Told::new(Config::default());
        told.process(7, 1, &name);
        let [view, ..] = views(&told);
        let stat = view.read("/7/stat");
        let (before, after) = stat.rsplit_once(") ").expect("a closing bracket");
        prop_assert!(before.starts_with("7 ("));
        let fields: Vec<&str> = after.trim_end().split(' ').collect();
        prop_assert_eq!(fields.len(), 50);
        prop_assert!(fields[1..].iter().all(|f| f.parse::<i64>().is_ok() || f.parse::<u64>().is_ok()));
        prop_assert_eq!(fields[1], "1", "its parent");
    }

    /// What programs size themselves by is what the sandbox was given.
    #[test]
    fn sizes_are_those_of_the_sandbox(cpus in 1u32..=64, mebibytes in 1u64..100_000, max_tasks in 2usize..5000) {
        let config = Config { cpus, memory: mebibytes << 20, max_tasks, ..Config::default() };
        let told = Told::new(config);
        let [proc, sys, cgroup] = views(&told);
        let listed = proc.read("/cpuinfo");
        prop_assert_eq!(listed.matches("processor\t:").count(), cpus as usize);
        prop_assert_eq!(proc.field("/meminfo", "MemTotal"), format!("{} kB", mebibytes << 10));
        prop_assert_eq!(cgroup.read("/memory.max"), format!("{}\n", mebibytes << 20));
        prop_assert_eq!(cgroup.read("/cpu.max"), format!("{} 100000\n", u64::from(cpus) * 100_000));
        prop_assert_eq!(cgroup.read("/pids.max"), format!("{max_tasks}\n"));
        let last = cpus - 1;
        let range = if last == 0 { String::from("0\n") } else { format!("0-{last}\n") };
        prop_assert_eq!(sys.read("/devices/system/cpu/online"), range.clone());
        prop_assert_eq!(cgroup.read("/cpuset.cpus.effective"), range);
    }
}
