//! The first stub: a copy of this process that gives up everything, from which all others are forked.
//!
//! It is made once, before this process is confined. What runs here between the fork and the jump into the code page
//! makes raw system calls only: the copy has one thread, and locks of the others may be held forever.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use host_sys::call::{check, syscall6};
use host_sys::process::{self, Patience, Pid, PidFd};
use host_sys::ptrace;
use platform_api::ProcessorFeatures;

use crate::blob;
use crate::layout::{CODE, CODE_LEN, TASK_END};

/// Which network namespace stubs live in. None of them can make a socket, whichever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// One of their own, which takes the host half a millisecond.
    Own,
    /// The caller's, which the caller made empty for itself.
    Callers,
}

/// The first stub, and what it told about the processor.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) pid: Pid,
    pub(crate) pidfd: PidFd,
    /// Bytes of an XSAVE area as the host gives and takes it.
    pub(crate) host_xstate_size: usize,
    /// The components that are guests'.
    pub(crate) xcr0: u64,
    /// Bytes of an XSAVE area with those alone.
    pub(crate) xstate_size: usize,
    pub(crate) processor: ProcessorFeatures,
}

/// What the copy needs to know; it lives in the memory that is copied.
struct Plan {
    page: Box<[u8; CODE_LEN as usize]>,
    arena_fd: i32,
    go_fd: i32,
    parent: Pid,
    child: i64,
    network: Network,
}

const STACK_BYTES: usize = 64 * 1024;

/// Makes the first stub, traced by the calling thread and stopped in its spawner loop.
pub(crate) fn create(arena: &File, network: Network) -> io::Result<Pid> {
    // SAFETY: needed because eventfd is a C function; it takes no pointers.
    let go = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if go < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: needed to own the descriptor just returned.
    let go = unsafe { OwnedFd::from_raw_fd(go) };
    let mut plan = Plan {
        page: blob::page(),
        arena_fd: arena.as_raw_fd(),
        go_fd: go.as_raw_fd(),
        parent: std::process::id() as Pid,
        child: -i64::from(libc::EAGAIN),
        network,
    };
    let mut stack = vec![0u128; STACK_BYTES / 16];
    // A thread of the C library has a registered rseq area that a plain fork would inherit, and whose unmapping
    // kills. A child that shares our memory has none (clone clears it), nor has the fork of that child.
    //
    // SAFETY: needed because clone is a C function. The child runs `intermediate` on a stack of its own, which,
    // like `plan`, outlives it: CLONE_VFORK suspends this thread until the child has exited.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.len());
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        libc::clone(intermediate, top.cast(), flags, (&raw mut plan).cast())
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    process::wait(pid, Patience::Block)?;
    let child = check(plan.child)? as Pid;
    drop(stack);
    let options =
        ptrace::Options::EXIT_KILL | ptrace::Options::TRACE_CLONE | ptrace::Options::TRACE_FORK;
    let seized = ptrace::seize(child, options);
    let one = 1u64.to_ne_bytes();
    // SAFETY: needed because write is a C function; it reads eight bytes from `one`.
    unsafe { libc::write(go.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    seized?;
    Ok(child)
}

/// Runs in the memory of this process, on its own stack, without thread-local storage of its own: forks the template and exits.
extern "C" fn intermediate(plan: *mut libc::c_void) -> libc::c_int {
    // SAFETY: needed because clone passes a pointer; it is the plan of `create`, whose thread is suspended.
    let plan = unsafe { &mut *plan.cast::<Plan>() };
    let flags = (libc::CLONE_PARENT | libc::SIGCHLD) as u64;
    // SAFETY: needed to fork without the C library's handlers. The copy runs on its copy of this stack.
    let child = unsafe { syscall6(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]) };
    if child == 0 {
        become_template(plan);
    }
    plan.child = child;
    exit(0)
}

fn exit(code: u64) -> ! {
    loop {
        // SAFETY: needed to end this process without running the C library's exit handlers.
        unsafe { syscall6(libc::SYS_exit, [code, 0, 0, 0, 0, 0]) };
    }
}

/// A raw call of the copy, whose failure either does not matter or ends it.
fn call(nr: i64, args: [u64; 6]) -> i64 {
    // SAFETY: needed because the copy must not use the C library. Only this module calls this, with
    // pointers to live data or null; the copy has memory of its own, so nothing it does reaches us.
    unsafe { syscall6(nr, args) }
}

fn must(nr: i64, args: [u64; 6], step: u64) -> i64 {
    let ret = call(nr, args);
    if ret < 0 {
        exit(step);
    }
    ret
}

fn become_template(plan: &Plan) -> ! {
    must(
        libc::SYS_prctl,
        [
            libc::PR_SET_PDEATHSIG as u64,
            libc::SIGKILL as u64,
            0,
            0,
            0,
            0,
        ],
        10,
    );
    if call(libc::SYS_getppid, [0; 6]) != i64::from(plan.parent) {
        exit(11);
    }
    let everything = u64::MAX;
    let mask = (&raw const everything) as u64;
    // Signals from outside wait forever; faults unblock themselves and stop the thread for its tracer.
    must(
        libc::SYS_rt_sigprocmask,
        [libc::SIG_SETMASK as u64, mask, 0, 8, 0, 0],
        12,
    );
    forget_handlers();
    let mut go = 0u64;
    must(
        libc::SYS_read,
        [plan.go_fd as u64, (&raw mut go) as u64, 8, 0, 0, 0],
        13,
    );
    call(libc::SYS_setsid, [0; 6]);
    leave_namespaces(plan.network);
    if plan.arena_fd != 0 {
        must(libc::SYS_dup2, [plan.arena_fd as u64, 0, 0, 0, 0, 0], 14);
    }
    must(
        libc::SYS_close_range,
        [1, u64::from(u32::MAX), 0, 0, 0, 0],
        15,
    );
    drop_rights();
    must(
        libc::SYS_mmap,
        [
            CODE,
            CODE_LEN,
            3,
            (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64,
            u64::MAX,
            0,
        ],
        18,
    );
    // SAFETY: needed to fill the page that was just mapped there, in this copy alone; both are CODE_LEN long.
    unsafe {
        std::ptr::copy_nonoverlapping(plan.page.as_ptr(), CODE as *mut u8, CODE_LEN as usize)
    };
    must(libc::SYS_mprotect, [CODE, CODE_LEN, 5, 0, 0, 0], 19);
    let end = CODE + CODE_LEN;
    // SAFETY: needed to leave Rust for good: the code page unmaps this function, its stack and all else.
    unsafe {
        core::arch::asm!(
            "jmp {to}",
            to = in(reg) blob::teardown(),
            in("r12") CODE,
            in("r13") end,
            in("r14") TASK_END - end,
            options(noreturn),
        );
    }
}

/// Back to default actions: handlers would run code that is not there.
fn forget_handlers() {
    let default = [0u64; 4];
    for signal in 1..=64 {
        call(
            libc::SYS_rt_sigaction,
            [signal, default.as_ptr() as u64, 0, 8, 0, 0],
        );
    }
}

/// An empty view of the host, as far as the host permits.
fn leave_namespaces(network: Network) {
    let network = match network {
        Network::Own => libc::CLONE_NEWNET,
        Network::Callers => 0,
    };
    let plain = libc::CLONE_NEWNS | network | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    let unshared = [libc::CLONE_NEWUSER | plain, plain]
        .iter()
        .any(|flags| call(libc::SYS_unshare, [*flags as u64, 0, 0, 0, 0, 0]) == 0);
    if !unshared {
        call(
            libc::SYS_unshare,
            [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0],
        );
        return;
    }
    let (root, none, kind, options) = (c"/", c"none", c"tmpfs", c"size=4k,mode=0");
    let text = |s: &std::ffi::CStr| s.as_ptr() as u64;
    call(
        libc::SYS_mount,
        [
            text(none),
            text(root),
            0,
            libc::MS_REC | libc::MS_PRIVATE,
            0,
            0,
        ],
    );
    for place in [c"/proc", c"/tmp", c"/dev"] {
        let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        if call(
            libc::SYS_mount,
            [text(none), text(place), text(kind), flags, text(options), 0],
        ) == 0
        {
            call(libc::SYS_chdir, [text(place), 0, 0, 0, 0, 0]);
            let here = c".";
            if call(libc::SYS_pivot_root, [text(here), text(here), 0, 0, 0, 0]) == 0 {
                call(
                    libc::SYS_umount2,
                    [text(here), libc::MNT_DETACH as u64, 0, 0, 0, 0],
                );
                call(libc::SYS_chdir, [text(root), 0, 0, 0, 0, 0]);
            }
            return;
        }
    }
}

/// No privileges, no way to get any, no core files.
fn drop_rights() {
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_TILE_DATA: u64 = 18;
    // Let guests use AMX where the host has it; refused elsewhere.
    call(
        libc::SYS_arch_prctl,
        [ARCH_REQ_XCOMP_PERM, XFEATURE_TILE_DATA, 0, 0, 0, 0],
    );
    let no_core = [0u64; 2];
    call(
        libc::SYS_prlimit64,
        [
            0,
            u64::from(libc::RLIMIT_CORE),
            no_core.as_ptr() as u64,
            0,
            0,
            0,
        ],
    );
    let header = [0x2008_0522u32, 0];
    let none = [0u32; 6];
    must(
        libc::SYS_capset,
        [header.as_ptr() as u64, none.as_ptr() as u64, 0, 0, 0, 0],
        16,
    );
    must(
        libc::SYS_prctl,
        [libc::PR_SET_NO_NEW_PRIVS as u64, 1, 0, 0, 0, 0],
        17,
    );
    // Losing rights makes a process undumpable, and then its own user could not trace it.
    call(
        libc::SYS_prctl,
        [libc::PR_SET_DUMPABLE as u64, 1, 0, 0, 0, 0],
    );
    call(
        libc::SYS_prctl,
        [
            libc::PR_SET_NAME as u64,
            c"guest".as_ptr() as u64,
            0,
            0,
            0,
            0,
        ],
    );
}
