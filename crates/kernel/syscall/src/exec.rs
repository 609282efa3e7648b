//! New programs: execve(2), execveat(2), and the first program of a sandbox.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base_abi::Errno;
use base_abi::structs::SigAltStack;
use kernel_core::signal::SignalSet;
use kernel_core::task::{
    Creds, Process, Resource, Rlimits, Task, TaskFields, TaskParts, TaskSignals,
};
use kernel_loader::{ExecIdentity, ExecRequest, Loaded, Program};
use kernel_mm::{CommitBudget, Mm, MmLimits, UNLIMITED};
use kernel_vfs::{At, Credentials, FdTable, FsContext, LastLink, Path};
use parking_lot::{Mutex, RwLock};
use platform_api::{Context, CpuState, Registers};

use crate::call::{Args, Stop, Sys, SysResult};
use crate::table::Entry;
use crate::{System, run};

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::full(59, "execve", "spp", execve),
    Entry::full(322, "execveat", "dsppx", execveat),
];

const AT_EMPTY_PATH: u32 = 0x1000;
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const STRING_MAX: usize = 128 << 10;
const STRINGS_MAX: usize = 64 << 10;
/// IF and the always-one bit: the flags every program starts with.
const RFLAGS_INITIAL: u64 = 0x202;
/// How long execve waits for the other threads of its process to go.
const SIBLINGS_LIMIT: Duration = Duration::from_secs(30);

fn execve(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let path = sys.read_path(args.u64(0))?;
    let program = {
        let (fs, who) = (sys.fs(), sys.process().creds().for_files());
        let fs = fs.read();
        open_program(&fs, &who, &At::cwd(&fs, &who), &path, LastLink::Follow)?
    };
    replace(sys, program, &path, args.u64(1), args.u64(2))
}

fn execveat(sys: &mut Sys<'_>, args: Args) -> SysResult {
    let flags = args.u32(4);
    if flags & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path = sys.read_path_or_empty(args.u64(1))?;
    let fd = args.i32(0);
    let last = if flags & AT_SYMLINK_NOFOLLOW != 0 {
        LastLink::Keep
    } else {
        LastLink::Follow
    };
    let (fs, who) = (sys.fs(), sys.process().creds().for_files());
    let fs = fs.read();
    let at = sys.at(&fs, &who, fd, &path)?;
    let (program, name) = if path.is_empty() {
        if flags & AT_EMPTY_PATH == 0 {
            return Err(Errno::ENOENT.into());
        }
        let place = Path::of(&*sys.files().get(fd)?)?;
        (
            open_place(&fs, &at, &who, place)?,
            format!("/dev/fd/{fd}").into_bytes(),
        )
    } else {
        let name = match fd {
            crate::paths::AT_FDCWD => path.clone(),
            _ if path.starts_with(b"/") => path.clone(),
            fd => [format!("/dev/fd/{fd}/").as_bytes(), &path].concat(),
        };
        (open_program(&fs, &who, &at, &path, last)?, name)
    };
    drop(fs);
    replace(sys, program, &name, args.u64(2), args.u64(3))
}

/// Opens what is to be executed: a regular file with execute permission.
fn open_program(
    fs: &FsContext,
    who: &Credentials,
    at: &At<'_>,
    path: &[u8],
    last: LastLink,
) -> Result<Program, Errno> {
    let place = at.find(path, last)?;
    open_place(fs, at, who, place)
}

fn open_place(
    fs: &FsContext,
    at: &At<'_>,
    who: &Credentials,
    place: Path,
) -> Result<Program, Errno> {
    place.executable(who)?;
    let text = String::from_utf8_lossy(&place.text(fs.root())).into_owned();
    let description = at.reopen(place, 0)?;
    Ok(Program {
        description,
        path: text.into(),
    })
}

fn read_strings(mm: &Mm, at: u64) -> Result<Vec<Vec<u8>>, Errno> {
    let mut strings = Vec::new();
    if at == 0 {
        return Ok(strings);
    }
    let mut total = 0usize;
    for index in 0..STRINGS_MAX as u64 {
        let pointer: u64 = mm.read_obj(at.wrapping_add(index * 8))?;
        if pointer == 0 {
            return Ok(strings);
        }
        let text = mm.read_cstr(pointer, STRING_MAX).map_err(|e| match e {
            Errno::ENAMETOOLONG => Errno::E2BIG,
            other => other,
        })?;
        total = total.saturating_add(text.len() + 1);
        if total > 8 << 20 {
            return Err(Errno::E2BIG);
        }
        strings.push(text);
    }
    Err(Errno::E2BIG)
}

/// The point of no return lies after the new program is loaded completely: until then every
/// error leaves the caller as it was, except that its sibling threads are gone.
fn replace(sys: &mut Sys<'_>, program: Program, name: &[u8], argv: u64, envp: u64) -> SysResult {
    let old = sys.mm();
    let (argv, envp) = (read_strings(&old, argv)?, read_strings(&old, envp)?);
    let creds = sys.process().creds();
    let (fs, who) = (sys.fs(), creds.for_files());
    let fs = fs.read().clone();
    let limits = limits_of(sys.system, sys.process());
    let exe = Arc::clone(&program.description);
    let image = load(
        sys.system, &fs, &who, &creds, limits, program, name, argv, envp,
    )?;
    let cpu = image
        .mm
        .space()
        .new_context(image.state())
        .map_err(|e| e.errno())?;
    leave_siblings(sys)?;

    image.mm.set_exe(exe);
    let task = Arc::clone(sys.task);
    task.release_vfork();
    task.set_interrupter(cpu.interrupter());
    // The old context goes before its address space.
    *sys.cpu = cpu;
    crate::exit::forget_user_words(&task);
    drop(task.replace_mm(Arc::new(image.mm)));
    unshare_for_exec(sys, &task);
    task.fields.lock().name = image.loaded.comm;
    if let Some(links) = sys.kernel().tree.lock().links_mut(task.pid()) {
        links.execed = true;
        links.exit_signal = Some(kernel_core::signal::Signal::CHLD);
    }
    sys.process().dumpable.store(1, Ordering::Relaxed);
    Err(Stop::Resume)
}

/// Descriptors and signal actions are this process's own after execve, whoever shared them before.
fn unshare_for_exec(sys: &Sys<'_>, task: &Task) {
    let files = Arc::new(task.files().fork());
    files.close_for_exec();
    let old = task.replace_files(files);
    if Arc::strong_count(&old) == 1 {
        old.close_all();
    }
    let mut actions = sys.process().with_actions(|a| a.clone());
    actions.reset_for_exec();
    *sys.process().actions.write() = Arc::new(Mutex::new(actions));
    sys.system.process_timers.forget_posix(task.pid());
    let mut signals = task.signals.lock();
    signals.alt_stack = SigAltStack {
        flags: 2,
        ..SigAltStack::default()
    };
    signals.saved_mask = None;
}

/// Ends the other threads of the process and waits until they are gone.
fn leave_siblings(sys: &mut Sys<'_>) -> Result<(), Errno> {
    let process = Arc::clone(sys.process());
    let pid = process.pid();
    let own = sys.task.tid();
    let others = || {
        sys.kernel()
            .tree
            .lock()
            .threads_of(pid)
            .iter()
            .any(|t| t.tid() != own)
    };
    if !others() {
        return Ok(());
    }
    if !process.begin_exec(own) {
        return Err(Errno::EAGAIN);
    }
    let deadline = Instant::now() + SIBLINGS_LIMIT;
    while others() {
        for task in sys
            .kernel()
            .tree
            .lock()
            .threads_of(pid)
            .iter()
            .filter(|t| t.tid() != own)
        {
            task.kick();
        }
        // The last one to leave wakes this queue.
        sys.task
            .parker
            .park(Some(Instant::now() + Duration::from_millis(5)));
        if process.exiting().is_some() || Instant::now() > deadline {
            process.end_exec();
            return Err(Errno::EAGAIN);
        }
    }
    if own != pid {
        sys.task.become_leader();
        sys.kernel().tree.lock().rename_task(own, sys.task);
    }
    process.end_exec();
    Ok(())
}

/// A program in its address space.
struct Image {
    mm: Mm,
    loaded: Loaded,
}

impl Image {
    fn state(&self) -> CpuState {
        CpuState {
            regs: Registers {
                rip: self.loaded.rip,
                rsp: self.loaded.rsp,
                rflags: RFLAGS_INITIAL,
                ..Registers::default()
            },
            xstate: Vec::new(),
        }
    }
}

/// Mappings of one address space; half of what hosts allow by default, since one of ours may be several of theirs.
pub(crate) const MAX_MAPPINGS: usize = 32_768;

fn limits_of(system: &System, process: &Process) -> MmLimits {
    let limits = process.limits.read();
    let soft = |r| limits.get(r).soft;
    MmLimits {
        address_space: soft(Resource::As),
        data: soft(Resource::Data),
        stack: soft(Resource::Stack),
        memlock: soft(Resource::Memlock),
        max_map_count: MAX_MAPPINGS,
        budget: Arc::new(CommitBudget::new(UNLIMITED)),
        aslr_seed: system.kernel.rng.u64(),
    }
}

#[expect(clippy::too_many_arguments, reason = "execve has that many inputs")]
fn load(
    system: &System,
    fs: &FsContext,
    who: &Credentials,
    creds: &Creds,
    limits: MmLimits,
    program: Program,
    name: &[u8],
    argv: Vec<Vec<u8>>,
    envp: Vec<Vec<u8>>,
) -> Result<Image, Errno> {
    let platform = &system.kernel.platform;
    let features = platform.features();
    let space = platform.new_address_space().map_err(|e| e.errno())?;
    let mm = Mm::new(space, &features, limits);
    let mut random = [0u8; 16];
    system.kernel.rng.fill(&mut random);
    let request = ExecRequest {
        program,
        name,
        argv,
        envp,
        identity: ExecIdentity {
            uid: creds.uid,
            euid: creds.euid,
            gid: creds.gid,
            egid: creds.egid,
            secure: false,
        },
        random,
        cpu: system.cpu_words(),
        vdso: system.vdso.as_ref(),
    };
    let open = |path: &[u8]| open_program(fs, who, &At::cwd(fs, who), path, LastLink::Follow);
    let loaded = kernel_loader::load(&mm, &open, request)?;
    Ok(Image { mm, loaded })
}

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
    let limits = limits_of(system, &process);
    let image = load(
        system,
        &fs,
        &who,
        &creds,
        limits,
        program,
        &path,
        init.argv.clone(),
        init.envp.clone(),
    )
    .map_err(refused)?;
    let cpu: Box<dyn Context> = image
        .mm
        .space()
        .new_context(image.state())
        .map_err(|e| StartError::Host(e.errno()))?;
    image.mm.set_exe(exe);
    let task = Arc::new(Task::new(TaskParts {
        tid: 1,
        process: Arc::clone(&process),
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
    }));
    {
        let mut tree = system.kernel.tree.lock();
        tree.allocate(usize::MAX);
        tree.add_process(process, 0, None);
        tree.add_task(&task);
    }
    run::spawn(Arc::clone(system), task, cpu).map_err(|e| StartError::Host(e.into()))
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
