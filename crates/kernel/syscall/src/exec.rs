//! New programs: execve(2), execveat(2), and the first program of a sandbox.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base_abi::Errno;
use base_abi::structs::SigAltStack;
use kernel_core::task::{Changed, Creds, FileIds, OnSignal, Process, Resource, Task};
use kernel_loader::{ExecIdentity, ExecRequest, Loaded, Program};
use kernel_mm::{CommitBudget, Mm, MmLimits, UNLIMITED};
use kernel_vfs::{At, Credentials, Description, Events, FsContext, LastLink, Path, PollTable};
use parking_lot::Mutex;
use platform_api::{CpuState, Registers};

use crate::System;
use crate::call::{Args, Stop, Sys, SysResult};
use crate::entry::Entry;

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
pub(crate) fn open_program(
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
    let fs = sys.fs().read().clone();
    let limits = limits_of(sys.system, sys.process());
    let exe = Arc::clone(&program.description);
    let new = NewProgram {
        fs: &fs,
        creds: &creds,
        limits,
        program,
        name,
        argv,
        envp,
    };
    let image = load_when_there(sys, &new)?;
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
    crate::cpu_time::follow_guest(&task, sys.cpu.cpu_clock());
    crate::exit::forget_user_words(&task);
    drop(task.replace_mm(Arc::new(image.mm)));
    unshare_for_exec(sys, &task);
    task.fields.lock().name = image.loaded.comm;
    take_credentials(sys, &task, image.creds);
    if let Some(links) = sys.kernel().tree.lock().links_mut(task.pid()) {
        links.execed = true;
        links.exit_signal = Some(kernel_core::signal::Signal::CHLD);
    }
    Err(Stop::Resume)
}

/// The new program's credentials. What is another's than its caller's tells nobody of its memory (`commit_creds`).
fn take_credentials(sys: &Sys<'_>, task: &Task, new: Changed) {
    let process = sys.process();
    let old = process.creds();
    let own = new.creds.euid == new.creds.uid && new.creds.egid == new.creds.gid;
    let same = new.creds.euid == old.euid && new.creds.egid == old.egid;
    let dumpable = own && (same || !new.secure);
    process
        .dumpable
        .store(u32::from(dumpable), Ordering::Relaxed);
    if new.secure || !same {
        task.fields.lock().parent_death_signal = None;
    }
    *process.creds.write() = Arc::new(new.creds);
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
pub(crate) struct Image {
    pub(crate) mm: Mm,
    pub(crate) loaded: Loaded,
    /// Whose program it is.
    pub(crate) creds: Changed,
}

impl Image {
    /// The registers that it begins with.
    pub(crate) fn state(&self) -> CpuState {
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

/// The limits of a process that count for its memory.
pub(crate) fn limits_of(system: &System, process: &Process) -> MmLimits {
    let limits = process.limits.read();
    let soft = |r| limits.get(r).soft;
    MmLimits {
        address_space: soft(Resource::As),
        data: soft(Resource::Data),
        stack: soft(Resource::Stack),
        memlock: soft(Resource::Memlock),
        max_map_count: MAX_MAPPINGS,
        budget: Arc::new(CommitBudget::new(UNLIMITED)),
        shared: Arc::clone(&system.memory.shared),
        aslr_seed: system.kernel.rng.u64(),
    }
}

/// What an address space is filled with.
pub(crate) struct NewProgram<'a> {
    /// Where interpreters are looked for.
    pub(crate) fs: &'a FsContext,
    /// Whose right to execute counts.
    pub(crate) creds: &'a Creds,
    /// Of the new address space.
    pub(crate) limits: MmLimits,
    pub(crate) program: Program,
    /// `AT_EXECFN`.
    pub(crate) name: &'a [u8],
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) envp: Vec<Vec<u8>>,
}

/// Files that a program was loaded from, as far as it came.
#[derive(Default)]
pub(crate) struct Opened(RefCell<Vec<Arc<Description>>>);

impl Opened {
    /// Whether any content may come later.
    pub(crate) fn any_lazy(&self) -> bool {
        self.0.borrow().iter().any(|d| d.file().lazy())
    }

    /// Registers with the lazy ones; true when content that was asked for is not there yet.
    pub(crate) fn awaits(&self, table: &mut PollTable) -> bool {
        let files = self.0.borrow();
        let lazy = files.iter().map(|d| d.file()).filter(|file| file.lazy());
        let missing = lazy.map(|file| !file.poll(table).intersects(Events::READABLE));
        missing.fold(false, |any, one| any | one)
    }
}

/// Times that a program is loaded anew because something came meanwhile.
const LOAD_ATTEMPTS: usize = 64;

/// Loads a program whose files may be lazy: what is missing is waited for.
fn load_when_there(sys: &mut Sys<'_>, new: &NewProgram<'_>) -> Result<Image, Stop> {
    for _ in 0..LOAD_ATTEMPTS {
        let opened = Opened::default();
        match load(sys.system, new, &opened) {
            Err(Errno::EAGAIN) => {}
            other => return Ok(other?),
        }
        let mut table = sys.waiting_table(Events::READABLE);
        if opened.awaits(&mut table) {
            return Err(sys.block(table, OnSignal::Restart));
        }
        if !opened.any_lazy() {
            break;
        }
    }
    Err(Errno::EAGAIN.into())
}

/// Loads a program into an address space of its own.
///
/// # Errors
/// Those of execve(2).
pub(crate) fn load(system: &System, new: &NewProgram<'_>, opened: &Opened) -> Result<Image, Errno> {
    let NewProgram { fs, creds, .. } = *new;
    let who = creds.for_files();
    let platform = &system.kernel.platform;
    let features = platform.features();
    let space = platform.new_address_space().map_err(|e| e.errno())?;
    let mm = Mm::new(space, &features, new.limits.clone());
    let changed = RefCell::default();
    let mut random = [0u8; 16];
    system.kernel.rng.fill(&mut random);
    let request = ExecRequest {
        program: new.program.clone(),
        name: new.name,
        argv: new.argv.clone(),
        envp: new.envp.clone(),
        identity: &|program| {
            let place = Path::of(&program.description)?;
            let [uid, gid] = place.set_ids()?;
            let new = creds.for_program(FileIds { uid, gid });
            let identity = identity(&new);
            *changed.borrow_mut() = Some(new);
            Ok(identity)
        },
        random,
        cpu: system.cpu_words(),
        vdso: system.vdso.as_ref(),
    };
    opened
        .0
        .borrow_mut()
        .push(Arc::clone(&new.program.description));
    let open = |path: &[u8]| {
        let program = open_program(fs, &who, &At::cwd(fs, &who), path, LastLink::Follow)?;
        opened.0.borrow_mut().push(Arc::clone(&program.description));
        Ok(program)
    };
    let loaded = kernel_loader::load(&mm, &open, request)?;
    let creds = changed.take().ok_or(Errno::ENOEXEC)?;
    Ok(Image { mm, loaded, creds })
}

fn identity(new: &Changed) -> ExecIdentity {
    ExecIdentity {
        uid: new.creds.uid,
        euid: new.creds.euid,
        gid: new.creds.gid,
        egid: new.creds.egid,
        secure: new.secure,
    }
}
