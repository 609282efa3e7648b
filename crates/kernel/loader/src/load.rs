//! The steps of execve(2): find the image, map it, build the stack.

use std::fs::File as HostFile;
use std::sync::Arc;

use base_abi::Errno;
use base_abi::auxvec::{
    AT_BASE, AT_CLKTCK, AT_EGID, AT_ENTRY, AT_EUID, AT_EXECFN, AT_FLAGS, AT_GID, AT_HWCAP,
    AT_HWCAP2, AT_MINSIGSTKSZ, AT_PAGESZ, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PLATFORM, AT_RANDOM,
    AT_SECURE, AT_SYSINFO_EHDR, AT_UID,
};
use base_abi::general::{MAP_ANONYMOUS, MAP_FIXED, MAP_GROWSDOWN, MAP_NORESERVE, MAP_PRIVATE};
use base_abi::general::{MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE};
use base_abi::page::{PAGE_SIZE, page_ceil, page_floor};
use kernel_mm::{ExecLayout, MapRequest, Mm, Source};
use kernel_vfs::{Result, UserMemory};
use platform_api::Protection;

use crate::elf::Elf;
use crate::program::Program;
use crate::read;
use crate::script::{self, HEAD};
use crate::segments::{Placed, Placement};
use crate::stack::{self, BuiltStack, CpuWords, StackContents};

/// Most interpreters behind interpreters (`exec_binprm`).
const SCRIPT_DEPTH: usize = 5;
/// Bounds of the main stack: what any program needs, what `ulimit -s unlimited` gets.
const STACK_BOUNDS: (u64, u64) = (256 << 10, 1 << 30);
/// Longest task name without its zero byte (`TASK_COMM_LEN`).
const COMM_MAX: usize = 15;

/// User and group ids as the auxiliary vector tells them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExecIdentity {
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub euid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective group.
    pub egid: u32,
    /// `AT_SECURE`: privileges were gained.
    pub secure: bool,
}

/// Memory with the vDSO: `data_len` bytes of clock data, then `code_len` bytes of ELF image.
#[derive(Clone, Debug)]
pub struct VdsoPages {
    /// The memory file with both.
    pub memory: Arc<HostFile>,
    /// Bytes before the image, a page multiple.
    pub data_len: u64,
    /// Bytes of the image, a page multiple.
    pub code_len: u64,
}

/// What execve(2) was asked to do.
pub struct ExecRequest<'a> {
    /// The file.
    pub program: Program,
    /// The path as it was given, for `AT_EXECFN`, the task's name and scripts.
    pub name: &'a [u8],
    /// Arguments; an empty list becomes one empty argument as on Linux.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
    /// Whose the program is that is run in the end: the file, or the interpreter of a script.
    pub identity: &'a dyn Fn(&Program) -> Result<ExecIdentity>,
    /// `AT_RANDOM`.
    pub random: [u8; 16],
    /// Words about the processor.
    pub cpu: CpuWords,
    /// The vDSO; without one there is no `AT_SYSINFO_EHDR`.
    pub vdso: Option<&'a VdsoPages>,
}

/// A program ready to run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// First instruction.
    pub rip: u64,
    /// Initial stack pointer.
    pub rsp: u64,
    /// The task's new name, at most 15 bytes.
    pub comm: Vec<u8>,
    /// Where the vDSO image is; 0 without one.
    pub vdso: u64,
}

/// Loads a program into an empty address space. `open` opens interpreters as execve(2) opens files
/// (execute permission, regular file).
///
/// # Errors
/// execve(2)'s: `ENOEXEC`, `ELIBBAD`, `E2BIG`, `ELOOP`, `ENOMEM`, what `open` and the file system say.
pub fn load(
    mm: &Mm,
    open: &dyn Fn(&[u8]) -> Result<Program>,
    request: ExecRequest<'_>,
) -> Result<Loaded> {
    let limit = stack::argument_limit(mm.limits().stack);
    let (program, argv, head) = resolve_scripts(open, &request)?;
    stack::check_arguments(&argv, &request.envp, limit)?;
    let file = program.description.file().as_ref();
    let elf = Elf::parse(file, &head)?;
    let identity = (request.identity)(&program)?;
    let interpreter = open_interpreter(open, &program, &elf)?;

    let place = match interpreter {
        Some(_) => Placement::ProgramBase,
        None => Placement::MappingArea,
    };
    let main = Placed::choose(mm, &program, &elf, place)?;
    mm.populate(main.requests.clone())?;
    let mut base = 0;
    let mut rip = elf.entry.wrapping_add(main.bias);
    let mut batch = Vec::new();
    let linker = match &interpreter {
        None => None,
        Some((program, elf)) => {
            let placed = Placed::choose(mm, program, elf, Placement::MappingArea)?;
            base = placed.bias;
            rip = elf.entry.wrapping_add(base);
            mm.populate(placed.requests.clone())?;
            Some(placed)
        }
    };
    let vdso = place_vdso(mm, request.vdso, &mut batch)?;
    let top = place_stack(mm, elf.executable_stack, &mut batch)?;
    mm.populate(batch)?;
    main.clear_tails(mm)?;
    if let Some(placed) = &linker {
        placed.clear_tails(mm)?;
    }

    let auxv = auxv(&request, &identity, &elf, [main.bias, base], vdso);
    let built = StackContents {
        argv: &argv,
        envp: &request.envp,
        exec_name: request.name,
        random: request.random,
        jitter: mm.next_random() % 8192,
        auxv: &auxv,
    }
    .build(top);
    mm.write_bytes(built.sp, &built.bytes)?;
    mm.set_exec_layout(exec_layout(mm, &elf, main.bias, place, &built));
    mm.set_exe(program.description);
    Ok(Loaded {
        rip,
        rsp: built.sp,
        comm: comm(request.name),
        vdso: vdso.unwrap_or(0),
    })
}

/// Follows `#!` lines to a file that is no script; returns it with its arguments and first bytes.
fn resolve_scripts(
    open: &dyn Fn(&[u8]) -> Result<Program>,
    request: &ExecRequest<'_>,
) -> Result<(Program, Vec<Vec<u8>>, Vec<u8>)> {
    let mut program = request.program.clone();
    let mut argv = request.argv.clone();
    if argv.is_empty() {
        argv.push(Vec::new());
    }
    let mut name = request.name.to_vec();
    for _ in 0..=SCRIPT_DEPTH {
        let head = read::up_to(program.description.file().as_ref(), 0, HEAD)?;
        let Some(shebang) = script::parse(&head)? else {
            return Ok((program, argv, head));
        };
        program = open(&shebang.interpreter)?;
        let mut front = vec![shebang.interpreter.clone()];
        front.extend(shebang.argument);
        front.push(name);
        argv.splice(..1, front);
        name = shebang.interpreter;
    }
    Err(Errno::ELOOP)
}

fn open_interpreter(
    open: &dyn Fn(&[u8]) -> Result<Program>,
    program: &Program,
    elf: &Elf,
) -> Result<Option<(Program, Elf)>> {
    let Some(path) = elf.interpreter(program.description.file().as_ref())? else {
        return Ok(None);
    };
    let interpreter = open(&path)?;
    let file = interpreter.description.file().as_ref();
    let head = read::up_to(file, 0, HEAD)?;
    let elf = Elf::parse(file, &head).map_err(|errno| match errno {
        Errno::ENOEXEC => Errno::ELIBBAD,
        other => other,
    })?;
    Ok(Some((interpreter, elf)))
}

fn place_vdso(
    mm: &Mm,
    pages: Option<&VdsoPages>,
    batch: &mut Vec<MapRequest>,
) -> Result<Option<u64>> {
    let Some(pages) = pages else {
        return Ok(None);
    };
    let at = mm.find_gap(0, pages.data_len + pages.code_len, PAGE_SIZE)?;
    let mut add = |addr, len, prot, offset, name| {
        batch.push(MapRequest {
            addr,
            len,
            prot,
            flags: MAP_SHARED | MAP_FIXED,
            source: Source::Special {
                file: Arc::clone(&pages.memory),
                offset,
                name,
            },
        });
    };
    let image = at + pages.data_len;
    add(at, pages.data_len, PROT_READ, 0, "[vvar]");
    let prot = PROT_READ | PROT_EXEC;
    add(image, pages.code_len, prot, pages.data_len, "[vdso]");
    Ok(Some(image))
}

/// Adds the main stack as one mapping; returns its top.
fn place_stack(mm: &Mm, executable: bool, batch: &mut Vec<MapRequest>) -> Result<u64> {
    let limit = mm.limits().stack.clamp(STACK_BOUNDS.0, STACK_BOUNDS.1);
    let len = page_ceil(limit).ok_or(Errno::ENOMEM)?;
    let top = mm.layout().stack_top;
    let addr = top.checked_sub(len).ok_or(Errno::ENOMEM)?;
    if !mm.is_free(addr, len) {
        return Err(Errno::ENOMEM);
    }
    let exec = if executable { PROT_EXEC } else { 0 };
    batch.push(MapRequest {
        addr,
        len,
        prot: PROT_READ | PROT_WRITE | exec,
        flags: MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_NORESERVE,
        source: Source::Anonymous,
    });
    Ok(top)
}

/// In the order of Linux 6.x on x86-64, without the entries for restartable sequences.
fn auxv(
    request: &ExecRequest<'_>,
    id: &ExecIdentity,
    elf: &Elf,
    [bias, base]: [u64; 2],
    vdso: Option<u64>,
) -> Vec<(u32, u64)> {
    let phdr = if elf.phdr == 0 {
        0
    } else {
        elf.phdr.wrapping_add(bias)
    };
    let mut auxv = Vec::with_capacity(24);
    auxv.extend(vdso.map(|at| (AT_SYSINFO_EHDR, at)));
    auxv.extend([
        (AT_MINSIGSTKSZ, request.cpu.min_signal_stack),
        (AT_HWCAP, request.cpu.hwcap),
        (AT_PAGESZ, PAGE_SIZE),
        (AT_CLKTCK, 100),
        (AT_PHDR, phdr),
        (AT_PHENT, 56),
        (AT_PHNUM, u64::from(elf.phnum)),
        (AT_BASE, base),
        (AT_FLAGS, 0),
        (AT_ENTRY, elf.entry.wrapping_add(bias)),
        (AT_UID, u64::from(id.uid)),
        (AT_EUID, u64::from(id.euid)),
        (AT_GID, u64::from(id.gid)),
        (AT_EGID, u64::from(id.egid)),
        (AT_SECURE, u64::from(id.secure)),
        (AT_RANDOM, 0),
        (AT_HWCAP2, request.cpu.hwcap2),
        (AT_EXECFN, 0),
        (AT_PLATFORM, 0),
    ]);
    auxv
}

fn exec_layout(mm: &Mm, elf: &Elf, bias: u64, place: Placement, stack: &BuiltStack) -> ExecLayout {
    let mut layout = ExecLayout {
        start_code: u64::MAX,
        ..ExecLayout::default()
    };
    let mut end = 0;
    for segment in &elf.segments {
        let start = segment.vaddr.wrapping_add(bias);
        let file_end = start + segment.file_len;
        if segment.prot.contains(Protection::EXEC) {
            layout.start_code = layout.start_code.min(start);
            layout.end_code = layout.end_code.max(file_end);
        }
        layout.start_data = layout.start_data.max(start);
        layout.end_data = layout.end_data.max(file_end);
        end = end.max(start + segment.mem_len);
    }
    layout.start_code = layout.start_code.min(layout.end_code);
    let bounds = mm.layout();
    let program_end = match place {
        // Among the mappings there is no room to grow: the heap goes where programs go.
        Placement::MappingArea if elf.relocatable => bounds.pie_base,
        _ => page_ceil(end).unwrap_or(page_floor(end)),
    };
    layout.start_brk = program_end.saturating_add(bounds.brk_gap);
    layout.start_stack = stack.sp;
    layout.arg_start = stack.arg_start;
    layout.arg_end = stack.arg_end;
    layout.env_start = stack.arg_end;
    layout.env_end = stack.env_end;
    layout
}

/// The last component of the name, cut to what a task's name holds.
fn comm(name: &[u8]) -> Vec<u8> {
    let last = name.rsplit(|&b| b == b'/').next().unwrap_or(name);
    last[..last.len().min(COMM_MAX)].to_vec()
}
