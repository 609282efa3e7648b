//! Writing a kernel down.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kernel_core::signal::Actions;
use kernel_core::task::saved::{ProcessState, TaskState, save_actions};
use kernel_core::task::{Links, SavedFile, Standstill, Task};
use kernel_mm::Mm;
use kernel_vfs::save::{Saver, Unsavable, encode};
use kernel_vfs::{FdTable, FsContext};
use parking_lot::{Mutex, RwLock};

use super::{CaptureError, FdState, MountState, SaveMemory, State, VERSION, ViewState};
use crate::System;

/// Kernel state, and the address spaces that it numbers.
pub struct Captured {
    /// For [`SavedKernel::parse`](super::SavedKernel::parse).
    pub state: Vec<u8>,
    /// By [`MmId`](super::MmId).
    pub mms: Vec<Arc<Mm>>,
}

/// Stops everything, writes it down and lets it go on, unless it was frozen before. `memory` is called
/// while nothing runs: it saves the address spaces and may mention open files to the [`Saver`].
/// `limit` bounds each of the two waits for tasks.
///
/// # Errors
/// When a task does not come to rest or something cannot be saved; nothing has changed then.
pub fn capture(
    system: &Arc<System>,
    limit: Duration,
    memory: &mut SaveMemory<'_>,
) -> Result<Captured, CaptureError> {
    let kernel = &system.kernel;
    let frozen_before = kernel.freezer.wanted();
    let outcome = kernel
        .freeze(limit)
        .map_err(CaptureError::from)
        .and_then(|()| frozen(system, limit, memory));
    if !frozen_before {
        kernel.thaw();
    }
    outcome
}

fn frozen(
    system: &Arc<System>,
    limit: Duration,
    memory: &mut SaveMemory<'_>,
) -> Result<Captured, CaptureError> {
    let kernel = &system.kernel;
    let tasks: Vec<Arc<Task>> = kernel.tree.lock().tasks().cloned().collect();
    let question = kernel
        .freezer
        .ask(tasks.len(), limit, || kernel.kick_all())?;
    if system.objects.jobs.any_terminal() {
        return Err(Unsavable::new("a session with a terminal").into());
    }
    let mut walk = Walk {
        saver: Saver::new(&system.mounts),
        mms: Numbered::default(),
        tables: Numbered::default(),
        views: Numbered::default(),
        actions: Numbered::default(),
    };
    let expiring = system.process_timers.hold();
    let states = walk.tasks(&tasks, question)?;
    let (processes, last_pid) = {
        let tree = kernel.tree.lock();
        let all = tree.processes().map(|(_, links)| walk.process(links));
        (all.collect(), tree.last_pid())
    };
    let timers = system.process_timers.save();
    drop(expiring);
    memory(&walk.mms.objects, &mut walk.saver)?;
    let tables = walk.tables.objects.clone();
    let tables = tables.iter().map(|table| walk.table(table)).collect();
    let views = walk.views.objects.clone();
    let views: Result<_, Unsavable> = views.iter().map(|view| walk.view(view)).collect();
    let actions = walk.actions.objects.iter();
    walk.saver.write()?;
    let locks = &system.mounts.vfs().locks;
    let state = State {
        monotonic: system.monotonic(),
        last_pid,
        last_inode: system.objects.inodes.last(),
        mounts: mounts(system)?,
        actions: actions.map(|a| save_actions(&a.lock())).collect(),
        views: views?,
        tables,
        processes,
        tasks: states,
        timers,
        requests: system.snapshot_requests.save(),
        locks: locks.save(&walk.tables.objects, &walk.saver)?,
        mms: u32::try_from(walk.mms.objects.len()).unwrap_or(u32::MAX),
        objects: walk.saver.finish()?,
    };
    let mut bytes = VERSION.to_le_bytes().to_vec();
    bytes.extend(encode(&state)?);
    Ok(Captured {
        state: bytes,
        mms: walk.mms.objects,
    })
}

/// Objects by identity, in order of first mention.
struct Numbered<T> {
    numbers: HashMap<usize, u32>,
    objects: Vec<Arc<T>>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Numbered {
            numbers: HashMap::new(),
            objects: Vec::new(),
        }
    }
}

impl<T> Numbered<T> {
    fn number(&mut self, object: &Arc<T>) -> u32 {
        let next = u32::try_from(self.objects.len()).unwrap_or(u32::MAX);
        let address = Arc::as_ptr(object) as usize;
        let number = *self.numbers.entry(address).or_insert(next);
        if number == next {
            self.objects.push(Arc::clone(object));
        }
        number
    }
}

struct Walk {
    saver: Saver,
    mms: Numbered<Mm>,
    tables: Numbered<FdTable>,
    views: Numbered<RwLock<FsContext>>,
    actions: Numbered<Mutex<Actions>>,
}

impl Walk {
    /// Tasks that answered the question where they stand.
    fn tasks(
        &mut self,
        tasks: &[Arc<Task>],
        question: u64,
    ) -> Result<Vec<TaskState>, CaptureError> {
        let mut states = Vec::with_capacity(tasks.len());
        for task in tasks {
            let missing = CaptureError::Registers { tid: task.tid() };
            let at = match task.standstill.lock().take() {
                Some((number, at)) if number == question && at.cpu.is_some() => at,
                _ => return Err(missing),
            };
            states.push(self.task(task, at));
        }
        Ok(states)
    }

    fn task(&mut self, task: &Task, mut at: Standstill) -> TaskState {
        let saver = &mut self.saver;
        let number = |file| SavedFile::new(file, saver.description(&file.description));
        if let Some(call) = &mut at.call {
            call.files = at.files.iter().map(number).collect();
        }
        let mm = self.mms.number(&task.mm());
        let files = self.tables.number(&task.files());
        let fs = self.views.number(&task.fs());
        TaskState::of(task, at, [mm, files, fs])
    }

    fn process(&mut self, links: &Links) -> ProcessState {
        let actions = self.actions.number(&links.process.actions.read());
        ProcessState::of(links, actions)
    }

    fn table(&mut self, table: &FdTable) -> Vec<FdState> {
        let mut all = Vec::new();
        let mut from = 0;
        while let Some((fd, description, flags)) = table.next(from) {
            all.push(FdState {
                fd,
                flags: flags.bits(),
                description: self.saver.description(&description),
            });
            from = fd.saturating_add(1);
        }
        all
    }

    fn view(&mut self, view: &RwLock<FsContext>) -> Result<ViewState, Unsavable> {
        let view = view.read();
        Ok(ViewState {
            root: self.saver.place(view.root())?,
            cwd: self.saver.place(view.cwd())?,
            umask: view.umask(),
        })
    }
}

/// Every mount; a file system that is mounted several times is written with its first mount.
fn mounts(system: &System) -> Result<Vec<MountState>, Unsavable> {
    let mut seen = Vec::new();
    let list = system.mounts.list();
    let one = |mount: &Arc<kernel_vfs::Mount>| {
        let fs = mount.fs();
        let first = !seen.contains(&fs.dev());
        seen.push(fs.dev());
        let point = mount.point().map(|p| p.text(system.mounts.root()));
        Ok(MountState {
            fs: fs.name().to_owned(),
            point,
            changes: if first { fs.save()? } else { None },
        })
    };
    list.iter().map(one).collect()
}
