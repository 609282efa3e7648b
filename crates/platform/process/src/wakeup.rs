//! How a thread that waits for a guest call learns of anything else: faults, deaths, interruptions.
//!
//! The host kernel tells a tracer with `SIGCHLD`. It prefers the tracing thread itself, so the handler usually
//! runs on the owner of the guest thread and ends its wait at once. Pending `SIGCHLD`s merge, therefore one may
//! be meant for several owners: whenever there could be another, the handler wakes the tracer, which looks at
//! every running guest thread. An interruption from another thread is the same signal, sent to the owner.
//!
//! No wake-up is lost and nothing is polled: an owner waits inside a *restartable section*, a flag test followed by the system
//! call (as in rseq(2)). The handler sets the flag, and moves a thread that it finds inside the section to the exit.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use host_sys::call::syscall6;
use host_sys::process::Pid;

core::arch::global_asm!(
    r#"
    .pushsection .text.platform_process_section, "ax", @progbits
    .balign 16
    .hidden platform_process_section
    .globl platform_process_section
    .type platform_process_section, @function
    # rdi = flag, esi = descriptor, rdx = request, rcx = argument of ioctl
platform_process_section:
    mov r8, rdi
    mov edi, esi
    mov rsi, rdx
    mov rdx, rcx
    mov eax, 16
    .hidden platform_process_section_start
    .globl platform_process_section_start
platform_process_section_start:
    cmp dword ptr [r8], 0
    jne platform_process_section_cancel
    syscall
    .hidden platform_process_section_end
    .globl platform_process_section_end
platform_process_section_end:
    ret
    .hidden platform_process_section_cancel
    .globl platform_process_section_cancel
platform_process_section_cancel:
    mov rax, -4
    ret
    .size platform_process_section, . - platform_process_section
    .popsection
    "#
);

unsafe extern "C" {
    fn platform_process_section(flag: *const u32, fd: i32, request: u64, arg: *mut u8) -> i64;
    static platform_process_section_start: u8;
    static platform_process_section_end: u8;
    static platform_process_section_cancel: u8;
}

thread_local! {
    /// Set by the handler on this thread; the section does not block while it is set.
    static WOKEN: AtomicU32 = const { AtomicU32::new(0) };
    /// How many guest threads this thread owns.
    static OWNED: AtomicUsize = const { AtomicUsize::new(0) };
}

/// Guest threads bound to an owner, in the whole process.
static BOUND: AtomicUsize = AtomicUsize::new(0);
/// Reasons why the tracer must hear of every `SIGCHLD`.
static TRACER_NEEDED: AtomicUsize = AtomicUsize::new(0);
/// The tracer sleeps on this word; it changes with every wake-up.
static WAKEUPS: AtomicU32 = AtomicU32::new(0);

const SIGNAL: i32 = libc::SIGCHLD;

/// Waits for a system call on a listener unless this thread was woken; `-EINTR` in `Err` when it was.
#[inline]
pub(crate) fn receive(fd: i32, into: &mut host_sys::seccomp::Notification) -> Result<(), i32> {
    *into = host_sys::seccomp::Notification::default();
    let arg = std::ptr::from_mut(into).cast::<u8>();
    // SAFETY: needed because the section is assembly; the flag is this thread's own static, and the request
    // writes one struct seccomp_notif to `arg`, which points to one.
    let ret = WOKEN.with(|flag| unsafe {
        platform_process_section(flag.as_ptr(), fd, host_sys::seccomp::IOCTL_RECEIVE, arg)
    });
    if ret < 0 { Err(-ret as i32) } else { Ok(()) }
}

/// Forgets earlier wake-ups of this thread; the caller looks at everything one can mean afterwards.
pub(crate) fn clear() {
    WOKEN.with(|flag| flag.store(0, Ordering::SeqCst));
}

/// Counts a guest thread that the calling thread owns from now on, and lets the signal reach this thread.
pub(crate) fn bind() {
    // SAFETY: needed because signal sets are C structures; `set` is initialised by sigemptyset before use.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, SIGNAL);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
    }
    BOUND.fetch_add(1, Ordering::SeqCst);
    OWNED.with(|n| n.fetch_add(1, Ordering::SeqCst));
}

/// Undoes [`bind`], on the same thread. Where that is impossible it is left out: then the tracer is woken too often.
pub(crate) fn unbind() {
    // In this order, as in `bind` the other way round: a signal in between wakes the tracer rather than not.
    OWNED.with(|n| n.fetch_sub(1, Ordering::SeqCst));
    BOUND.fetch_sub(1, Ordering::SeqCst);
}

/// While this lives, every `SIGCHLD` wakes the tracer.
pub(crate) struct TracerNeeded;

impl TracerNeeded {
    pub(crate) fn new() -> TracerNeeded {
        TRACER_NEEDED.fetch_add(1, Ordering::SeqCst);
        TracerNeeded
    }
}

impl Drop for TracerNeeded {
    fn drop(&mut self) {
        TRACER_NEEDED.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Ends the wait of `owner`, or the next one when it is not waiting.
pub(crate) fn wake_owner(owner: Pid) {
    // The thread may have ended; then nobody waits.
    let _ = host_sys::signal::send_to_thread(owner, SIGNAL);
}

/// Makes the tracer look at its queue and its children.
pub(crate) fn wake_tracer() {
    WAKEUPS.fetch_add(1, Ordering::SeqCst);
    let args = [
        WAKEUPS.as_ptr() as u64,
        (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64,
        1,
        0,
        0,
        0,
    ];
    // SAFETY: needed because futex is a raw call; the word is a static. Async-signal-safe: no locks, no errno.
    unsafe { syscall6(libc::SYS_futex, args) };
}

/// How many wake-ups the tracer had, to be read before looking around.
pub(crate) fn wakeups_seen() -> u32 {
    WAKEUPS.load(Ordering::SeqCst)
}

/// Blocks the tracer until there are others than those `seen`.
pub(crate) fn tracer_sleep(seen: u32) {
    let args = [
        WAKEUPS.as_ptr() as u64,
        (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64,
        u64::from(seen),
        0,
        0,
        0,
    ];
    // SAFETY: needed because futex is a raw call; the word is a static and the timeout pointer is null.
    unsafe { syscall6(libc::SYS_futex, args) };
}

extern "C" fn handler(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    WOKEN.with(|flag| flag.store(1, Ordering::SeqCst));
    // SAFETY: needed because the kernel passes the interrupted state by pointer; with SA_SIGINFO it is a valid
    // ucontext_t for the duration of the handler, on this thread's stack, referenced by nobody else.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let ip = registers[libc::REG_RIP as usize] as u64;
    let section = (&raw const platform_process_section_start as u64)
        ..(&raw const platform_process_section_end as u64);
    if section.contains(&ip) {
        registers[libc::REG_RIP as usize] = &raw const platform_process_section_cancel as i64;
    }
    // SAFETY: needed to read what the kernel passes by pointer; with SA_SIGINFO it is a valid siginfo_t.
    let code = unsafe { (*info).si_code };
    if code == libc::SI_TKILL {
        return;
    }
    let others = BOUND.load(Ordering::SeqCst) > OWNED.with(|n| n.load(Ordering::SeqCst));
    if others || TRACER_NEEDED.load(Ordering::SeqCst) > 0 {
        wake_tracer();
    }
    if let Some(Previous(Some(previous))) = PREVIOUS.get() {
        previous(signal, info, context);
    }
}

type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

/// The handler that was there before ours, called after ours.
struct Previous(Option<Handler>);

static PREVIOUS: OnceLock<Previous> = OnceLock::new();

/// Installs the handler for the whole process, once.
pub(crate) fn install() -> io::Result<()> {
    // SAFETY: needed because signal actions are C structures: zeroed ones are valid, and pointers to live locals are passed.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(SIGNAL, std::ptr::null(), &raw mut old) != 0 {
            return Err(io::Error::last_os_error());
        }
        let previous = match old.sa_sigaction {
            libc::SIG_DFL | libc::SIG_IGN => None,
            // SAFETY: needed to call it later; a handler that is no constant is a function. One without SA_SIGINFO
            // takes the first argument only, and passing more is harmless in the C calling convention of x86-64.
            address => Some(std::mem::transmute::<usize, Handler>(address)),
        };
        if PREVIOUS.set(Previous(previous)).is_err() {
            return Ok(());
        }
        let mut new: libc::sigaction = std::mem::zeroed();
        new.sa_sigaction = handler as *const () as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut new.sa_mask);
        if libc::sigaction(SIGNAL, &raw const new, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
