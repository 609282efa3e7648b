//! Every host call that the kernel process may make once it runs guest code, with its reason and its caller.
//!
//! Whatever is not here kills the process. What is missing on purpose: anything that
//! creates a socket, opens by path from the root, executes a program, or maps memory as code.
//!
//! A row that nobody needs is a hole for nothing. Each row, and each allowed value of an argument, therefore names one place
//! that makes the call in a running sandbox, as `by(file below crates/, function, what stands in it)`. `tools/code/callers.py` reads
//! these rows and finds the places in the sources; a wrapper in `host/sys` counts only as far as somebody in
//! the sandbox calls it.

use base_abi::{Errno, general as linux};

use crate::rule::{Caller, Check, Rule, by, rule};
use crate::values::{FCNTLS, IOCTLS, PRCTLS, PTRACE};

/// What makes a thread and not a process.
const THREAD: u32 = linux::CLONE_VM | linux::CLONE_SIGHAND | linux::CLONE_THREAD;

/// Where a thread is made, which has the C library make many a call.
const THREAD_START: Caller = by(
    "sandbox/instance/src/memory.rs",
    "start",
    "std::thread::Builder::new()",
);
/// Where the heap grows.
const HEAP: Caller = by("host/sys/src/dir.rs", "list", "entries.push(");

const MEMORY: &str =
    "memory of the kernel's own heap and thread stacks, and windows on guest memory files";
const GUEST: &str = "reads and writes of guest memory in the stub";
const LAYER: &str = "files of image layers, beneath a directory that was opened before";
const FILE: &str = "contents of layer files and guest memory files";
const STREAM: &str = "the guest's standard streams and the socket to the node";
const WAIT: &str = "waiting for guests, for the node and for timers";
const THREADS: &str = "one host thread for each guest thread";
const STUB: &str = "the stubs' processes and threads";
const RUST: &str = "what the language runtime asks when threads come, go or panic";

/// The allow-list. The most frequent calls come first.
pub const ALLOWED: &[Rule] = &[
    rule(
        linux::__NR_ioctl,
        "ioctl",
        Check::OneOf(1, IOCTLS),
        "receiving and answering guest system calls, and finding written pages; nothing else",
        by("host/sys/src/seccomp.rs", "receive", "SYS_ioctl"),
    ),
    rule(
        linux::__NR_process_vm_readv,
        "process_vm_readv",
        Check::Any,
        GUEST,
        by("host/sys/src/vm.rs", "read", "SYS_process_vm_readv"),
    ),
    rule(
        linux::__NR_process_vm_writev,
        "process_vm_writev",
        Check::Any,
        GUEST,
        by("host/sys/src/vm.rs", "write", "SYS_process_vm_writev"),
    ),
    rule(
        linux::__NR_futex,
        "futex",
        Check::Any,
        WAIT,
        by(
            "kernel/core/src/freeze.rs",
            "wait_active",
            "active.wait_until(",
        ),
    ),
    rule(
        linux::__NR_ptrace,
        "ptrace",
        Check::OneOf(0, PTRACE),
        "registers, faults, threads and forks of stubs",
        by("host/sys/src/ptrace.rs", "resume", "libc::ptrace("),
    ),
    rule(
        linux::__NR_wait4,
        "wait4",
        Check::Any,
        STUB,
        by("host/sys/src/process.rs", "wait", "libc::waitpid("),
    ),
    rule(
        linux::__NR_waitid,
        "waitid",
        Check::Any,
        STUB,
        by("host/sys/src/process.rs", "has_changed", "libc::waitid("),
    ),
    rule(
        linux::__NR_clock_gettime,
        "clock_gettime",
        Check::Any,
        "the guest's clocks, where the host's vDSO does not answer, and CPU time of guests' threads",
        by("host/sys/src/clock.rs", "now", "libc::clock_gettime("),
    ),
    rule(
        linux::__NR_clock_nanosleep,
        "clock_nanosleep",
        Check::Any,
        WAIT,
        by(
            "sandbox/instance/src/memory.rs",
            "sleep",
            "std::thread::sleep(",
        ),
    ),
    rule(
        linux::__NR_restart_syscall,
        "restart_syscall",
        Check::Any,
        "a wait with a limit goes on after a stop from outside: the host's kernel makes it",
        by("kernel/core/src/kernel.rs", "wait_ended", "wait_until("),
    ),
    rule(
        linux::__NR_read,
        "read",
        Check::Any,
        STREAM,
        by("host/sys/src/proc.rs", "private_bytes", "file.read("),
    ),
    rule(
        linux::__NR_write,
        "write",
        Check::Any,
        STREAM,
        by("sandbox/instance/src/stdio.rs", "move_out", "write_all("),
    ),
    rule(
        linux::__NR_sendto,
        "sendto",
        Check::Any,
        STREAM,
        by("sandbox/instance/src/outbox.rs", "send", "write_message("),
    ),
    rule(
        linux::__NR_recvmsg,
        "recvmsg",
        Check::Any,
        STREAM,
        by("proto/sandbox/src/rights.rs", "read", "recvmsg("),
    ),
    rule(
        linux::__NR_ppoll,
        "ppoll",
        Check::Any,
        "waiting for the node and for what happens in the guest, whichever comes first",
        by("sandbox/instance/src/inbox.rs", "wait", "poll("),
    ),
    rule(
        linux::__NR_poll,
        "poll",
        Check::Any,
        "whether a stub has ended, where older hosts do not wake a receiver",
        by("platform/process/src/mapper.rs", "poll", "libc::poll("),
    ),
    rule(
        linux::__NR_pread64,
        "pread64",
        Check::Any,
        FILE,
        by("kernel/fs/src/tmpfs/content.rs", "read", "file.read_at("),
    ),
    rule(
        linux::__NR_pwrite64,
        "pwrite64",
        Check::Any,
        FILE,
        by("kernel/mm/src/writer.rs", "flush", "write_all_at("),
    ),
    rule(
        linux::__NR_lseek,
        "lseek",
        Check::Any,
        FILE,
        by("host/sys/src/sparse.rs", "next_data", "seek("),
    ),
    rule(
        linux::__NR_statx,
        "statx",
        Check::Any,
        LAYER,
        by("host/sys/src/dir.rs", "stat_entry", "statx("),
    ),
    rule(
        linux::__NR_openat,
        "openat",
        Check::Refuse(Errno::ENOENT),
        "how many processors there are, which the C library asks when threads share heaps; it looks elsewhere then",
        THREAD_START,
    ),
    rule(
        linux::__NR_openat2,
        "openat2",
        Check::Any,
        LAYER,
        by("host/sys/src/dir.rs", "open_file", "openat2("),
    ),
    rule(
        linux::__NR_readlinkat,
        "readlinkat",
        Check::Any,
        LAYER,
        by("host/sys/src/dir.rs", "read_link", "readlinkat("),
    ),
    rule(
        linux::__NR_getdents64,
        "getdents64",
        Check::Any,
        LAYER,
        by("host/sys/src/dir.rs", "list", "RawDir::new("),
    ),
    rule(
        linux::__NR_memfd_create,
        "memfd_create",
        Check::Any,
        "guest memory that is shared, and files in memory",
        by(
            "host/sys/src/memory_file.rs",
            "create",
            "libc::memfd_create(",
        ),
    ),
    rule(
        linux::__NR_ftruncate,
        "ftruncate",
        Check::Any,
        FILE,
        by("host/sys/src/memory_file.rs", "create", "set_len("),
    ),
    rule(
        linux::__NR_fallocate,
        "fallocate",
        Check::Any,
        "giving back ranges of memory files",
        by(
            "host/sys/src/memory_file.rs",
            "punch_hole",
            "libc::fallocate(",
        ),
    ),
    rule(
        linux::__NR_fcntl,
        "fcntl",
        Check::OneOf(1, FCNTLS),
        "seals of memory files",
        by("host/sys/src/seal.rs", "add_seals", "libc::fcntl("),
    ),
    rule(
        linux::__NR_close,
        "close",
        Check::Any,
        FILE,
        by("host/sys/src/dir.rs", "list", "let readable = openat2("),
    ),
    rule(
        linux::__NR_mmap,
        "mmap",
        Check::Without(2, linux::PROT_EXEC),
        MEMORY,
        THREAD_START,
    ),
    rule(
        linux::__NR_mprotect,
        "mprotect",
        Check::Without(2, linux::PROT_EXEC),
        MEMORY,
        THREAD_START,
    ),
    rule(
        linux::__NR_munmap,
        "munmap",
        Check::Any,
        MEMORY,
        THREAD_START,
    ),
    rule(linux::__NR_mremap, "mremap", Check::Any, MEMORY, HEAP),
    rule(
        linux::__NR_madvise,
        "madvise",
        Check::Any,
        MEMORY,
        THREAD_START,
    ),
    rule(linux::__NR_brk, "brk", Check::Any, MEMORY, HEAP),
    rule(
        linux::__NR_clone,
        "clone",
        Check::With(0, THREAD),
        THREADS,
        THREAD_START,
    ),
    rule(
        linux::__NR_clone3,
        "clone3",
        Check::Refuse(Errno::ENOSYS),
        "its flags lie in memory where no filter sees them; the C library takes clone then",
        THREAD_START,
    ),
    rule(
        linux::__NR_set_robust_list,
        "set_robust_list",
        Check::Any,
        THREADS,
        THREAD_START,
    ),
    rule(linux::__NR_rseq, "rseq", Check::Any, THREADS, THREAD_START),
    rule(
        linux::__NR_gettid,
        "gettid",
        Check::Any,
        THREADS,
        by("host/sys/src/process.rs", "thread_id", "libc::gettid("),
    ),
    rule(
        linux::__NR_getpid,
        "getpid",
        Check::Any,
        THREADS,
        by(
            "host/sys/src/signal.rs",
            "send_to_thread",
            "std::process::id(",
        ),
    ),
    rule(
        linux::__NR_sched_yield,
        "sched_yield",
        Check::Any,
        "a lock that is held for a moment",
        by("kernel/core/src/freeze.rs", "wait_active", "lock.lock("),
    ),
    rule(
        linux::__NR_sched_getaffinity,
        "sched_getaffinity",
        Check::Any,
        THREADS,
        THREAD_START,
    ),
    rule(
        linux::__NR_prctl,
        "prctl",
        Check::OneOf(0, PRCTLS),
        "names of threads",
        THREAD_START,
    ),
    rule(
        linux::__NR_tgkill,
        "tgkill",
        Check::OwnPid(0),
        "interrupting an own thread that waits for its guest; abort",
        by("host/sys/src/signal.rs", "send_to_thread", "SYS_tgkill"),
    ),
    rule(
        linux::__NR_pidfd_open,
        "pidfd_open",
        Check::Any,
        STUB,
        by("host/sys/src/process.rs", "open", "SYS_pidfd_open"),
    ),
    rule(
        linux::__NR_pidfd_getfd,
        "pidfd_getfd",
        Check::Any,
        "taking over the listener of a stub thread",
        by(
            "host/sys/src/process.rs",
            "take_descriptor",
            "SYS_pidfd_getfd",
        ),
    ),
    rule(
        linux::__NR_pidfd_send_signal,
        "pidfd_send_signal",
        Check::Any,
        STUB,
        by("host/sys/src/process.rs", "kill", "SYS_pidfd_send_signal"),
    ),
    rule(
        linux::__NR_rt_sigaction,
        "rt_sigaction",
        Check::Any,
        RUST,
        THREAD_START,
    ),
    rule(
        linux::__NR_rt_sigprocmask,
        "rt_sigprocmask",
        Check::Any,
        RUST,
        THREAD_START,
    ),
    rule(
        linux::__NR_rt_sigreturn,
        "rt_sigreturn",
        Check::Any,
        "the end of a handler that an interruption ran",
        by("host/sys/src/signal.rs", "send_to_thread", "SYS_tgkill"),
    ),
    rule(
        linux::__NR_sigaltstack,
        "sigaltstack",
        Check::Any,
        RUST,
        THREAD_START,
    ),
    rule(
        linux::__NR_getrandom,
        "getrandom",
        Check::Any,
        "keys of hash tables",
        by("kernel/vfs/src/mount.rs", "new", "HashMap::new()"),
    ),
    rule(linux::__NR_exit, "exit", Check::Any, THREADS, THREAD_START),
    rule(
        linux::__NR_exit_group,
        "exit_group",
        Check::Any,
        "the end",
        by("sandbox/instance/src/child.rs", "run_in", "Ok(())"),
    ),
];
