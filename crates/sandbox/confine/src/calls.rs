//! Every host call that the kernel process may make once it runs guest code, with its reason.
//!
//! Whatever is not here kills the process. What is missing on purpose: anything that
//! creates a socket, opens by path from the root, executes a program, or maps memory as code.

use base_abi::general as nr;

use crate::rule::{Check, Rule};

const fn rule(nr: u32, name: &'static str, check: Check, reason: &'static str) -> Rule {
    Rule {
        nr,
        name,
        check,
        reason,
    }
}

/// `PROT_EXEC`.
const EXEC: u32 = 4;

/// `CLONE_VM | CLONE_SIGHAND | CLONE_THREAD`: what makes it a thread and not a process.
const THREAD: u32 = 0x0000_0100 | 0x0000_0800 | 0x0001_0000;

/// `SECCOMP_IOCTL_NOTIF_{RECV, SEND, ID_VALID, ADDFD, SET_FLAGS}` (`linux/seccomp.h`),
/// `PAGEMAP_SCAN` (`linux/fs.h`), `FIONREAD`, `FIONBIO`.
const IOCTLS: &[u32] = &[
    0xc050_2100,
    0xc018_2101,
    0x4008_2102,
    0x4018_2103,
    0x4008_2104,
    0xc060_6610,
    0x541b,
    0x5421,
];

/// Of ptrace(2): `PEEKDATA POKEDATA CONT KILL GETREGS SETREGS DETACH SYSCALL SETOPTIONS
/// GETEVENTMSG GETSIGINFO SETSIGINFO GETREGSET SETREGSET SEIZE INTERRUPT LISTEN
/// PEEKSIGINFO GETSIGMASK SETSIGMASK`; not `TRACEME` or `ATTACH`.
const PTRACE: &[u32] = &[
    2, 5, 7, 8, 9, 12, 13, 17, 24, 0x4200, 0x4201, 0x4202, 0x4203, 0x4204, 0x4205, 0x4206, 0x4207,
    0x4208, 0x4209, 0x420a, 0x420b,
];

/// `PR_SET_NAME`, `PR_GET_NAME`, `PR_SET_VMA` (names of threads and memory), `PR_SET_TIMERSLACK`.
const PRCTLS: &[u32] = &[15, 16, 0x5356_4d41, 29];

/// `F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_DUPFD_CLOEXEC F_ADD_SEALS F_GET_SEALS`.
const FCNTLS: &[u32] = &[0, 1, 2, 3, 4, 1030, 1033, 1034];

/// `ENOSYS`: glibc starts threads with `clone` then, whose flags a filter can see.
const ENOSYS: u16 = 38;

const MEMORY: &str =
    "memory of the kernel's own heap and thread stacks, and windows on guest memory files";
const GUEST: &str = "reads and writes of guest memory in the stub";
const LAYER: &str = "files of image layers, beneath a directory that was opened before";
const FILE: &str = "contents of layer files and guest memory files";
const STREAM: &str = "the guest's standard streams and the socket to the node";
const WAIT: &str = "waiting for guests, for the node and for timers";
const THREADS: &str = "one host thread for each guest thread";
const STUB: &str = "the stubs' processes and threads";
const TIME: &str = "the guest's clocks";
const RUST: &str = "what the language runtime asks when threads come, go or panic";

/// The allow-list. The most frequent calls come first.
pub const ALLOWED: &[Rule] = &[
    rule(
        nr::__NR_ioctl,
        "ioctl",
        Check::OneOf(1, IOCTLS),
        "receiving and answering guest system calls; nothing else",
    ),
    rule(
        nr::__NR_process_vm_readv,
        "process_vm_readv",
        Check::Any,
        GUEST,
    ),
    rule(
        nr::__NR_process_vm_writev,
        "process_vm_writev",
        Check::Any,
        GUEST,
    ),
    rule(nr::__NR_futex, "futex", Check::Any, WAIT),
    rule(
        nr::__NR_ptrace,
        "ptrace",
        Check::OneOf(0, PTRACE),
        "registers, faults, threads and forks of stubs",
    ),
    rule(nr::__NR_wait4, "wait4", Check::Any, STUB),
    rule(nr::__NR_waitid, "waitid", Check::Any, STUB),
    rule(nr::__NR_clock_gettime, "clock_gettime", Check::Any, TIME),
    rule(nr::__NR_clock_getres, "clock_getres", Check::Any, TIME),
    rule(nr::__NR_gettimeofday, "gettimeofday", Check::Any, TIME),
    rule(nr::__NR_nanosleep, "nanosleep", Check::Any, WAIT),
    rule(
        nr::__NR_clock_nanosleep,
        "clock_nanosleep",
        Check::Any,
        WAIT,
    ),
    rule(
        nr::__NR_restart_syscall,
        "restart_syscall",
        Check::Any,
        WAIT,
    ),
    rule(nr::__NR_read, "read", Check::Any, STREAM),
    rule(nr::__NR_write, "write", Check::Any, STREAM),
    rule(nr::__NR_readv, "readv", Check::Any, STREAM),
    rule(nr::__NR_writev, "writev", Check::Any, STREAM),
    rule(nr::__NR_recvfrom, "recvfrom", Check::Any, STREAM),
    rule(nr::__NR_sendto, "sendto", Check::Any, STREAM),
    rule(nr::__NR_recvmsg, "recvmsg", Check::Any, STREAM),
    rule(nr::__NR_sendmsg, "sendmsg", Check::Any, STREAM),
    rule(nr::__NR_shutdown, "shutdown", Check::Any, STREAM),
    rule(nr::__NR_poll, "poll", Check::Any, WAIT),
    rule(nr::__NR_ppoll, "ppoll", Check::Any, WAIT),
    rule(nr::__NR_epoll_create1, "epoll_create1", Check::Any, WAIT),
    rule(nr::__NR_epoll_ctl, "epoll_ctl", Check::Any, WAIT),
    rule(nr::__NR_epoll_wait, "epoll_wait", Check::Any, WAIT),
    rule(nr::__NR_epoll_pwait, "epoll_pwait", Check::Any, WAIT),
    rule(nr::__NR_eventfd2, "eventfd2", Check::Any, WAIT),
    rule(nr::__NR_pread64, "pread64", Check::Any, FILE),
    rule(nr::__NR_pwrite64, "pwrite64", Check::Any, FILE),
    rule(nr::__NR_preadv, "preadv", Check::Any, FILE),
    rule(nr::__NR_pwritev, "pwritev", Check::Any, FILE),
    rule(nr::__NR_lseek, "lseek", Check::Any, FILE),
    rule(nr::__NR_fstat, "fstat", Check::Any, FILE),
    rule(nr::__NR_newfstatat, "newfstatat", Check::Any, LAYER),
    rule(nr::__NR_statx, "statx", Check::Any, LAYER),
    rule(
        nr::__NR_openat,
        "openat",
        Check::Without(2, 0o1103),
        "memory figures of stubs, read below the jail's own /proc",
    ),
    rule(nr::__NR_openat2, "openat2", Check::Any, LAYER),
    rule(nr::__NR_readlinkat, "readlinkat", Check::Any, LAYER),
    rule(nr::__NR_getdents64, "getdents64", Check::Any, LAYER),
    rule(nr::__NR_fstatfs, "fstatfs", Check::Any, LAYER),
    rule(
        nr::__NR_memfd_create,
        "memfd_create",
        Check::Any,
        "guest memory that is shared, and files in memory",
    ),
    rule(nr::__NR_ftruncate, "ftruncate", Check::Any, FILE),
    rule(
        nr::__NR_fallocate,
        "fallocate",
        Check::Any,
        "giving back ranges of memory files",
    ),
    rule(
        nr::__NR_copy_file_range,
        "copy_file_range",
        Check::Any,
        FILE,
    ),
    rule(
        nr::__NR_fcntl,
        "fcntl",
        Check::OneOf(1, FCNTLS),
        "descriptor flags, copies of descriptors, seals of memory files",
    ),
    rule(nr::__NR_close, "close", Check::Any, FILE),
    rule(nr::__NR_mmap, "mmap", Check::Without(2, EXEC), MEMORY),
    rule(
        nr::__NR_mprotect,
        "mprotect",
        Check::Without(2, EXEC),
        MEMORY,
    ),
    rule(nr::__NR_munmap, "munmap", Check::Any, MEMORY),
    rule(nr::__NR_mremap, "mremap", Check::Any, MEMORY),
    rule(nr::__NR_madvise, "madvise", Check::Any, MEMORY),
    rule(nr::__NR_brk, "brk", Check::Any, MEMORY),
    rule(
        nr::__NR_process_madvise,
        "process_madvise",
        Check::Any,
        "advice on guest memory in the stub",
    ),
    rule(nr::__NR_clone, "clone", Check::With(0, THREAD), THREADS),
    rule(
        nr::__NR_clone3,
        "clone3",
        Check::Refuse(ENOSYS),
        "its flags lie in memory where no filter sees them",
    ),
    rule(
        nr::__NR_set_robust_list,
        "set_robust_list",
        Check::Any,
        THREADS,
    ),
    rule(nr::__NR_rseq, "rseq", Check::Any, THREADS),
    rule(nr::__NR_gettid, "gettid", Check::Any, THREADS),
    rule(nr::__NR_getpid, "getpid", Check::Any, THREADS),
    rule(nr::__NR_sched_yield, "sched_yield", Check::Any, THREADS),
    rule(
        nr::__NR_sched_getaffinity,
        "sched_getaffinity",
        Check::Any,
        THREADS,
    ),
    rule(
        nr::__NR_sched_setaffinity,
        "sched_setaffinity",
        Check::Any,
        "keeping a guest thread and its server on one processor",
    ),
    rule(nr::__NR_membarrier, "membarrier", Check::Any, THREADS),
    rule(
        nr::__NR_prctl,
        "prctl",
        Check::OneOf(0, PRCTLS),
        "names of threads and memory ranges",
    ),
    rule(
        nr::__NR_tgkill,
        "tgkill",
        Check::OwnPid(0),
        "interrupting an own thread that waits for its guest; abort",
    ),
    rule(
        nr::__NR_kill,
        "kill",
        Check::Any,
        "ending a stub; other processes are out of reach in the process namespace",
    ),
    rule(nr::__NR_pidfd_open, "pidfd_open", Check::Any, STUB),
    rule(
        nr::__NR_pidfd_getfd,
        "pidfd_getfd",
        Check::Any,
        "taking over the listener of a stub thread",
    ),
    rule(
        nr::__NR_pidfd_send_signal,
        "pidfd_send_signal",
        Check::Any,
        STUB,
    ),
    rule(nr::__NR_rt_sigaction, "rt_sigaction", Check::Any, RUST),
    rule(nr::__NR_rt_sigprocmask, "rt_sigprocmask", Check::Any, RUST),
    rule(nr::__NR_rt_sigreturn, "rt_sigreturn", Check::Any, RUST),
    rule(
        nr::__NR_rt_sigtimedwait,
        "rt_sigtimedwait",
        Check::Any,
        RUST,
    ),
    rule(nr::__NR_sigaltstack, "sigaltstack", Check::Any, RUST),
    rule(
        nr::__NR_getrandom,
        "getrandom",
        Check::Any,
        "random numbers for the guest and for hash tables",
    ),
    rule(
        nr::__NR_getrusage,
        "getrusage",
        Check::Any,
        "processor time of guests",
    ),
    rule(nr::__NR_exit, "exit", Check::Any, THREADS),
    rule(nr::__NR_exit_group, "exit_group", Check::Any, "the end"),
];
