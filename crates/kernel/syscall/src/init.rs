//! The first program of a sandbox.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base_abi::Errno;
use kernel_core::park::Parker;
use kernel_core::signal::SignalSet;
use kernel_core::task::{
    Creds, Process, Protection, Rlimits, Task, TaskFields, TaskParts, TaskSignals,
};
use kernel_loader::Program;
use kernel_vfs::{At, Credentials, Events, FdTable, FsContext, LastLink, PollTable};
use parking_lot::RwLock;
use platform_api::Context;

use crate::exec::{Image, NewProgram, Opened, limits_of, load, open_program};
use crate::{System, run};

/// The first program of a sandbox.
#[derive(Clone, Debug)]
pub struct Init {
    /// Path, or a name looked up in `PATH` of `envp`.
    pub program: Vec<u8>,
    /// Arguments, the name first.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
    /// Working directory.
    pub cwd: Vec<u8>,
    /// User and group.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Resource limits.
    pub limits: Rlimits,
    /// Whose signals do nothing to it.
    pub protection: Protection,
}

/// Why the first program could not be started.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartError {
    /// No such program in `PATH`, or not executable.
    #[error("cannot execute {program:?}: {errno}")]
    Program {
        /// As it was asked for.
        program: String,
        /// Why.
        errno: Errno,
    },
    /// The working directory is not there.
    #[error("cannot enter working directory {path:?}: {errno}")]
    Directory {
        /// The directory.
        path: String,
        /// Why.
        errno: Errno,
    },
    /// The host refused a thread or an address space.
    #[error("cannot start the first task: {0}")]
    Host(Errno),
}

/// Starts process 1 with these descriptors.
///
/// # Errors
/// [`StartError`].
pub fn start_init(system: &Arc<System>, init: Init, files: Arc<FdTable>) -> Result<(), StartError> {
    let creds = Creds::new(init.uid, init.gid);
    let who = creds.for_files();
    let mut fs = FsContext::new(Arc::clone(&system.mounts));
    let enter = At::cwd(&fs, &who)
        .find(&init.cwd, LastLink::Follow)
        .and_then(|place| fs.set_cwd(place, &who));
    enter.map_err(|errno| StartError::Directory {
        path: lossy(&init.cwd),
        errno,
    })?;
    let refused = |errno| StartError::Program {
        program: lossy(&init.program),
        errno,
    };
    let (path, program) = find_in_path(&fs, &who, &init).map_err(refused)?;
    let exe = Arc::clone(&program.description);
    let actions = Arc::default();
    let process = Arc::new(Process::new(
        1,
        system.monotonic(),
        Arc::new(creds.clone()),
        init.limits.clone(),
        actions,
    ));
    *process.protection.lock() = init.protection;
    let limits = limits_of(system, &process);
    let new = NewProgram {
        fs: &fs,
        creds: &creds,
        limits,
        program,
        name: &path,
        argv: init.argv.clone(),
        envp: init.envp.clone(),
    };
    let image = load_when_there(system, &new).map_err(refused)?;
    let cpu: Box<dyn Context> = image
        .mm
        .space()
        .new_context(image.state())
        .map_err(|e| StartError::Host(e.errno()))?;
    *process.creds.write() = Arc::new(image.creds.creds.clone());
    image.mm.set_exe(exe);
    let task = first_task(system, &process, image, files, fs);
    {
        let mut tree = system.kernel.tree.lock();
        tree.allocate(usize::MAX);
        tree.add_process(process, 0, None);
        tree.add_task(&task);
    }
    run::spawn(Arc::clone(system), task, cpu).map_err(|e| StartError::Host(e.into()))
}

/// The only thread of process 1.
fn first_task(
    system: &System,
    process: &Arc<Process>,
    image: Image,
    files: Arc<FdTable>,
    fs: FsContext,
) -> Arc<Task> {
    Arc::new(Task::new(TaskParts {
        tid: 1,
        process: Arc::clone(process),
        mm: Arc::new(image.mm),
        files,
        fs: Arc::new(RwLock::new(fs)),
        signals: TaskSignals {
            mask: SignalSet::EMPTY,
            ..TaskSignals::default()
        },
        fields: TaskFields {
            name: image.loaded.comm,
            timer_slack: 50_000,
            ..TaskFields::default()
        },
        started: system.monotonic(),
    }))
}

/// Longest wait for content of the first program and its interpreter.
const CONTENT_LIMIT: Duration = Duration::from_secs(60);

/// Loads a program whose files may be lazy; there is no task yet that could sleep.
fn load_when_there(system: &System, new: &NewProgram<'_>) -> Result<Image, Errno> {
    let deadline = Instant::now() + CONTENT_LIMIT;
    let parker = Arc::new(Parker::default());
    loop {
        let opened = Opened::default();
        match load(system, new, &opened) {
            Err(Errno::EAGAIN) if Instant::now() < deadline => {}
            other => return other,
        }
        let mut table = PollTable::waiting(parker.clone(), Events::READABLE);
        if !opened.awaits(&mut table) && !opened.any_lazy() {
            return Err(Errno::EAGAIN);
        }
        if opened.awaits(&mut PollTable::look()) {
            parker.park(Some(deadline));
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn find_in_path(
    fs: &FsContext,
    who: &Credentials,
    init: &Init,
) -> Result<(Vec<u8>, Program), Errno> {
    let at = At::cwd(fs, who);
    if init.program.contains(&b'/') {
        let program = open_program(fs, who, &at, &init.program, LastLink::Follow)?;
        return Ok((init.program.clone(), program));
    }
    let path = init
        .envp
        .iter()
        .find_map(|e| e.strip_prefix(b"PATH="))
        .unwrap_or(b"/usr/local/bin:/usr/bin:/bin");
    let mut error = Errno::ENOENT;
    for directory in path.split(|b| *b == b':').filter(|d| !d.is_empty()) {
        let full = [directory, b"/", &init.program].concat();
        match open_program(fs, who, &at, &full, LastLink::Follow) {
            Ok(program) => return Ok((full, program)),
            Err(Errno::EACCES) => error = Errno::EACCES,
            Err(_) => {}
        }
    }
    Err(error)
}
