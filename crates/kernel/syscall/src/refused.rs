//! Calls that are refused on purpose, each as Linux refuses it where the feature is not there or not permitted.

use base_abi::Errno;

use crate::call::{Args, Sys, SysResult};
use crate::entry::Entry;

const NO_IO_URING: &str = "no io_uring: libraries fall back to epoll";
const NO_PTRACE: &str = "guests do not trace each other";

pub(crate) const ENTRIES: &[Entry] = &[
    Entry::refused(334, "rseq", "pudx", enosys, "the C library does without"),
    Entry::refused(425, "io_uring_setup", "up", enosys, NO_IO_URING),
    Entry::refused(426, "io_uring_enter", "duuxp", enosys, NO_IO_URING),
    Entry::refused(427, "io_uring_register", "dupu", enosys, NO_IO_URING),
    Entry::refused(101, "ptrace", "ddpp", eperm, NO_PTRACE),
    Entry::refused(310, "process_vm_readv", "dpupux", eperm, NO_PTRACE),
    Entry::refused(311, "process_vm_writev", "dpupux", eperm, NO_PTRACE),
    Entry::refused(312, "kcmp", "ddduu", eperm, NO_PTRACE),
    Entry::refused(
        317,
        "seccomp",
        "xxp",
        einval,
        "the sandbox itself is the filter",
    ),
    Entry::refused(
        298,
        "perf_event_open",
        "pdddx",
        eacces,
        "no performance counters",
    ),
    Entry::refused(321, "bpf", "dpu", eperm, "no BPF"),
    Entry::refused(
        323,
        "userfaultfd",
        "x",
        eperm,
        "as with vm.unprivileged_userfaultfd = 0",
    ),
    Entry::refused(
        444,
        "landlock_create_ruleset",
        "pux",
        enosys,
        "not built in",
    ),
    Entry::refused(165, "mount", "ssspp", eperm, "the file tree is fixed"),
    Entry::refused(166, "umount2", "sx", eperm, "the file tree is fixed"),
    Entry::refused(155, "pivot_root", "ss", eperm, "the file tree is fixed"),
    Entry::refused(308, "setns", "dx", eperm, "no namespaces"),
    Entry::refused(
        170,
        "sethostname",
        "su",
        eperm,
        "the name is the platform's",
    ),
    Entry::refused(
        171,
        "setdomainname",
        "su",
        eperm,
        "the name is the platform's",
    ),
    Entry::refused(169, "reboot", "xxdp", eperm, "not a machine"),
    Entry::refused(167, "swapon", "sx", eperm, "no swap"),
    Entry::refused(168, "swapoff", "s", eperm, "no swap"),
    Entry::refused(175, "init_module", "pus", eperm, "no modules"),
    Entry::refused(313, "finit_module", "dsx", eperm, "no modules"),
    Entry::refused(176, "delete_module", "sx", eperm, "no modules"),
    Entry::refused(172, "iopl", "d", eperm, "no ports"),
    Entry::refused(173, "ioperm", "uud", eperm, "no ports"),
    Entry::refused(163, "acct", "s", eperm, "no accounting"),
    Entry::refused(179, "quotactl", "dspp", eperm, "no quotas"),
    Entry::refused(103, "syslog", "dpd", eperm, "no kernel log"),
    Entry::refused(246, "kexec_load", "uupx", eperm, "not a machine"),
    Entry::refused(248, "add_key", "sspud", enosys, "no key rings"),
    Entry::refused(249, "request_key", "sssd", enosys, "no key rings"),
    Entry::refused(250, "keyctl", "dxxxx", enosys, "no key rings"),
    Entry::refused(153, "vhangup", "", eperm, "no terminals of its own"),
    Entry::refused(154, "modify_ldt", "dpu", enosys, "no segments"),
    Entry::refused(205, "set_thread_area", "p", enosys, "32-bit only"),
    Entry::refused(211, "get_thread_area", "p", enosys, "32-bit only"),
];

fn enosys(_: &mut Sys<'_>, _: Args) -> SysResult {
    Err(Errno::ENOSYS.into())
}

fn eperm(_: &mut Sys<'_>, _: Args) -> SysResult {
    Err(Errno::EPERM.into())
}

fn eacces(_: &mut Sys<'_>, _: Args) -> SysResult {
    Err(Errno::EACCES.into())
}

fn einval(_: &mut Sys<'_>, _: Args) -> SysResult {
    Err(Errno::EINVAL.into())
}
