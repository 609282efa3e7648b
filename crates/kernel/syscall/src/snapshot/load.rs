//! A kernel from what was written down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kernel_core::signal::Actions;
use kernel_core::task::saved::{ProcessState, TaskState};
use kernel_core::task::{CalledFiles, Restart, Task, TaskParts, VforkDone};
use kernel_files::console::StandardFiles;
use kernel_mm::Mm;
use kernel_vfs::save::{LoadError, Loader, MAX_OBJECTS, decode};
use kernel_vfs::{Description, FdFlags, FdTable, FsContext};
use parking_lot::{Mutex, RwLock};
use platform_api::{Context, Expected, Syscall};

use super::files::Maker;
use super::{FdState, LoadMemory, MAX_STATE, MountState, State, VERSION, ViewState, malformed};
use crate::{System, run};

/// Saved state that was parsed; numbers in it are not checked before [`load`](SavedKernel::load).
#[derive(Debug)]
pub struct SavedKernel(State);

type Ready = (Arc<Task>, Box<dyn Context>, Option<(Syscall, Restart)>);

impl SavedKernel {
    /// Parses untrusted bytes.
    ///
    /// # Errors
    /// [`LoadError::Malformed`]; [`LoadError::Differs`] for another version.
    pub fn parse(bytes: &[u8]) -> Result<SavedKernel, LoadError> {
        if bytes.len() > MAX_STATE {
            return malformed("size");
        }
        let Some((version, rest)) = bytes.split_first_chunk::<4>() else {
            return malformed("size");
        };
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(LoadError::Differs(format!("state of version {version}")));
        }
        let state: State = decode(rest, "kernel state")?;
        let lists = [
            state.mounts.len(),
            state.actions.len(),
            state.views.len(),
            state.tables.len(),
            state.processes.len(),
            state.tasks.len(),
            state.timers.len(),
            state.locks.len(),
        ];
        if lists.iter().any(|len| *len > MAX_OBJECTS) {
            return malformed("number of objects");
        }
        Ok(SavedKernel(state))
    }

    /// How far the monotonic clock had come: for [`SystemConfig`](crate::SystemConfig).
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.monotonic)
    }

    /// Address spaces that `memory` will be asked for.
    #[must_use]
    pub fn address_spaces(&self) -> u32 {
        self.0.mms
    }

    /// What threads each address space has, for [`Platform::prepare`](platform_api::Platform::prepare).
    #[must_use]
    pub fn contexts(&self) -> Vec<Expected> {
        let spaces = usize::try_from(self.0.mms).unwrap_or(usize::MAX);
        let mut expected = vec![Expected::default(); spaces.min(self.0.tasks.len())];
        for task in &self.0.tasks {
            let space = usize::try_from(task.mm).unwrap_or(usize::MAX);
            if let Some(space) = expected.get_mut(space) {
                space.contexts += 1;
                space.running += usize::from(task.at.call.is_none());
            }
        }
        expected
    }

    /// Fills a new kernel whose file systems are mounted as they were, and starts its tasks. They
    /// run from the moment the kernel is thawed, which is left to the caller. `memory` builds an
    /// address space; the files it maps are found in the [`Loader`].
    ///
    /// # Errors
    /// What does not fit. The kernel is of no use then; none of its tasks has run.
    pub fn load(
        self,
        system: &Arc<System>,
        standard: &StandardFiles,
        memory: &mut LoadMemory<'_>,
    ) -> Result<(), LoadError> {
        let state = self.0;
        let kernel = &system.kernel;
        if state.tasks.is_empty() || state.tasks.len() > kernel.config.max_tasks {
            return malformed("number of tasks");
        }
        let frozen = kernel.freeze(Duration::ZERO);
        frozen.map_err(|_| LoadError::Malformed("a kernel with tasks"))?;
        mounts(system, &state.mounts)?;
        system.objects.inodes.restore(state.last_inode);
        processes(system, state.processes, state.actions, state.last_pid)?;
        let maker = Maker { system, standard };
        let mut loader = Loader::load(&system.mounts, state.objects, &maker)?;
        let mut mms = Vec::new();
        for id in 0..state.mms {
            if mms.len() > state.tasks.len() {
                return malformed("number of address spaces");
            }
            mms.push(memory(id, &loader)?);
        }
        let parts = Shared::empty(system, state.tables.len(), state.views.len(), mms);
        let mut ready = tasks(system, &state.tasks, &parts)?;
        // What tells of tasks, and of their descriptors, is opened when these are there.
        parts.fill_tables(&state.tables, &loader)?;
        loader.finish(&maker)?;
        if parts.fill_tables(&state.tables, &loader)? > 0 {
            return malformed("number of an open file");
        }
        files_of_calls(&mut ready, &state.tasks, &loader)?;
        let tells = |file: &&Arc<Description>| file.signals().is_some();
        for file in loader.descriptions().filter(tells) {
            crate::async_io::watch(system, file);
        }
        let locks = &system.mounts.vfs().locks;
        locks.load(&state.locks, &parts.tables, &loader)?;
        parts.fill_views(system, &state.views, &mut loader)?;
        system.process_timers.load(state.timers);
        system.snapshot_requests.load(state.requests);
        for (task, cpu, call) in ready {
            let started = run::spawn_in(Arc::clone(system), task, cpu, call);
            started.map_err(|e| LoadError::Failed {
                what: String::from("a thread for a task"),
                errno: e.into(),
            })?;
        }
        Ok(())
    }
}

struct Shared {
    tables: Vec<Arc<FdTable>>,
    views: Vec<Arc<RwLock<FsContext>>>,
    mms: Vec<Arc<Mm>>,
}

impl Shared {
    /// Descriptor tables and directories that tasks refer to; what is in them comes later.
    fn empty(system: &System, tables: usize, views: usize, mms: Vec<Arc<Mm>>) -> Shared {
        let view = || Arc::new(RwLock::new(FsContext::new(Arc::clone(&system.mounts))));
        Shared {
            tables: (0..tables).map(|_| Arc::new(FdTable::new())).collect(),
            views: (0..views).map(|_| view()).collect(),
            mms,
        }
    }

    /// Puts in what is open already; says how many descriptors are left.
    fn fill_tables(&self, saved: &[Vec<FdState>], loader: &Loader) -> Result<usize, LoadError> {
        let mut left = 0;
        for (table, saved) in self.tables.iter().zip(saved) {
            for one in saved.iter().filter(|one| table.get(one.fd).is_err()) {
                let Ok(description) = loader.description(one.description) else {
                    left += 1;
                    continue;
                };
                let flags = FdFlags::from_bits_truncate(one.flags);
                let put = table.insert_at(one.fd, description, flags, u64::MAX);
                put.map_err(LoadError::failed("descriptor"))?;
            }
        }
        Ok(left)
    }

    fn fill_views(
        &self,
        system: &System,
        saved: &[ViewState],
        loader: &mut Loader,
    ) -> Result<(), LoadError> {
        for (view, saved) in self.views.iter().zip(saved) {
            let (root, cwd) = (loader.place(&saved.root)?, loader.place(&saved.cwd)?);
            let built = FsContext::restored(Arc::clone(&system.mounts), root, cwd, saved.umask);
            *view.write() = built.map_err(LoadError::failed("working directory"))?;
        }
        Ok(())
    }
}

fn nth<T>(all: &[Arc<T>], number: u32) -> Result<Arc<T>, LoadError> {
    let index = usize::try_from(number).ok();
    let found = index.and_then(|i| all.get(i)).map(Arc::clone);
    found.ok_or(LoadError::Malformed("number of an object"))
}

fn mounts(system: &System, saved: &[MountState]) -> Result<(), LoadError> {
    let list = system.mounts.list();
    if list.len() != saved.len() {
        return Err(LoadError::Differs(String::from("mounts")));
    }
    for (mount, saved) in list.iter().zip(saved) {
        let point = mount.point().map(|p| p.text(system.mounts.root()));
        if mount.fs().name() != saved.fs || point != saved.point {
            return Err(LoadError::Differs(format!("mount of {}", saved.fs)));
        }
        if let Some(changes) = &saved.changes {
            mount.fs().load(changes)?;
            mount.forget_absent();
        }
    }
    Ok(())
}

fn processes(
    system: &System,
    saved: Vec<ProcessState>,
    actions: Vec<Vec<base_abi::structs::SigAction>>,
    last_pid: i32,
) -> Result<(), LoadError> {
    let wrong = || LoadError::Malformed("signal actions");
    let actions: Option<Vec<Arc<Mutex<Actions>>>> = actions
        .into_iter()
        .map(|all| Some(Arc::new(Mutex::new(Actions::restored(all)?))))
        .collect();
    let actions = actions.ok_or_else(wrong)?;
    let mut tree = system.kernel.tree.lock();
    let mut pids = BTreeSet::new();
    for process in &saved {
        let fits = (1..=kernel_core::task::PID_MAX).contains(&process.pid);
        if !fits || process.parent == process.pid || !pids.insert(process.pid) {
            return malformed("number of a process");
        }
        let actions = nth(&actions, process.actions)?;
        tree.put_back(process.links(actions), last_pid);
    }
    for process in &saved {
        if let Some(parent) = tree.links_mut(process.parent) {
            parent.children.insert(process.pid);
        }
    }
    Ok(())
}

/// Makes all tasks, enters them into the tree and gives each a processor with its registers.
fn tasks(system: &System, saved: &[TaskState], shared: &Shared) -> Result<Vec<Ready>, LoadError> {
    let mut tree = system.kernel.tree.lock();
    let mut made = BTreeMap::new();
    for state in saved {
        let process = tree.links(state.pid).map(|l| Arc::clone(&l.process));
        let process = process.ok_or(LoadError::Malformed("process of a task"))?;
        let task = Arc::new(Task::new(TaskParts {
            tid: state.tid,
            process,
            mm: nth(&shared.mms, state.mm)?,
            files: nth(&shared.tables, state.files)?,
            fs: nth(&shared.views, state.fs)?,
            signals: state.signals(),
            fields: state.fields(),
            started: state.started,
        }));
        state.finish(&task);
        if made.insert(state.tid, Arc::clone(&task)).is_some() || state.tid < 1 {
            return malformed("number of a task");
        }
        tree.add_task(&task);
    }
    drop(tree);
    let mut ready = Vec::with_capacity(saved.len());
    for state in saved {
        let task = nth_task(&made, state.tid)?;
        let cpu = state.at.cpu.clone();
        let cpu = cpu.ok_or(LoadError::Malformed("registers of a task"))?;
        let context = task.mm().space().new_context(cpu);
        let context = context.map_err(|e| LoadError::Failed {
            what: String::from("a processor for a task"),
            errno: e.errno(),
        })?;
        let call = state.at.call.as_ref().map(|saved| {
            let mut restart = saved.restart(&task.parker);
            if let Some(child) = saved.vfork_child() {
                restart.vfork = Some(vfork_of(made.get(&child)));
            }
            if let Some(addr) = saved.queued_at {
                restart.futex = crate::futex::queue_again(system, &task, &saved.args, addr);
            }
            let call = Syscall {
                nr: saved.nr,
                args: saved.args,
                ip: saved.ip,
            };
            (call, restart)
        });
        // Signals that came before are looked at first.
        task.parker.raise_attention();
        ready.push((task, context, call));
    }
    Ok(ready)
}

/// Gives the calls that tasks sleep in the open files they are about.
fn files_of_calls(
    ready: &mut [Ready],
    saved: &[TaskState],
    loader: &Loader,
) -> Result<(), LoadError> {
    for ((_, _, call), state) in ready.iter_mut().zip(saved) {
        let (Some((_, restart)), Some(saved)) = (call, &state.at.call) else {
            continue;
        };
        if saved.files.len() > MAX_OBJECTS {
            return malformed("number of open files of a call");
        }
        let found = saved.files.iter().map(|file| {
            let description = loader.description(file.description)?;
            Ok(file.called(description))
        });
        restart.files = CalledFiles::restored(found.collect::<Result<_, LoadError>>()?);
    }
    Ok(())
}

fn nth_task(made: &BTreeMap<i32, Arc<Task>>, tid: i32) -> Result<Arc<Task>, LoadError> {
    let found = made.get(&tid).map(Arc::clone);
    found.ok_or(LoadError::Malformed("number of a task"))
}

/// What the parent of a vfork waits for: over already when the child is gone.
fn vfork_of(child: Option<&Arc<Task>>) -> Arc<VforkDone> {
    let done = Arc::new(VforkDone::default());
    match child {
        Some(child) => *child.vfork_done.lock() = Some(Arc::clone(&done)),
        None => done.done.store(true, Ordering::SeqCst),
    }
    done
}
